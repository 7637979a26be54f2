//! The ports of kinex-kcl on Amazon Kinesis and DynamoDB, and what the programs need of a stream beside them.
//!
//! This is the only crate that uses the AWS SDK, and no type of the SDK leaves it. It decides nothing: it turns a value
//! into a request and an answer into a value.
//!
//! # Which role uses which API
//! | role | Kinesis | DynamoDB |
//! |---|---|---|
//! | consumer ([`Reader`], [`Leases`], [`Facts`]) | `ListShards` `DescribeStreamSummary` `GetShardIterator` `GetRecords` | `GetItem` `Query` `Scan` `UpdateItem` `DeleteItem` |
//! | producer ([`Sender`], [`Facts`]) | `PutRecords` | `UpdateItem` `Query` `DeleteItem` |
//! | operator ([`StreamAdmin`], [`Leases`], [`Facts`]) | `DescribeStreamSummary` `ListShards` `SplitShard` `MergeShards` `UpdateShardCount` | `GetItem` `Query` `Scan` `UpdateItem` |
//! | set-up ([`StreamAdmin::create`], [`Tables::ensure`]) | `CreateStream` `DescribeStreamSummary` `ListStreams` | `DescribeTable` `CreateTable` |
//! | cleaning ([`StreamAdmin::delete`], [`Tables::delete`]) | `DeleteStream` `DescribeStreamSummary` | `DeleteTable` `DescribeTable` |

mod access;
mod clients;
mod expression;
mod facts;
mod fault;
mod item;
mod lease_row;
mod lease_write;
mod leases;
mod patience;
mod reader;
mod requests;
mod sender;
mod shards;
mod stream_admin;
mod table;
mod tables;
mod worker_row;
mod worker_write;

pub use access::Access;
pub use clients::Clients;
pub use facts::Facts;
pub use leases::Leases;
pub use patience::{in_time, patiently};
pub use reader::Reader;
pub use requests::{RequestCount, Requests};
pub use sender::{Entry, Outcome, Sender};
pub use stream_admin::{StreamAdmin, StreamIdentity, StreamStatus, StreamSummary};
pub use tables::Tables;

pub use kinex_kcl::ports::{Fault, FaultKind};
