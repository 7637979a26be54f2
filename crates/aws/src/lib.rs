//! The ports of kinex-kcl on Amazon Kinesis and DynamoDB, and what the programs need of a stream beside them.
//!
//! This is the only crate that uses the AWS SDK. No type of the SDK leaves it, and one goes in: a user's own
//! configuration ([`Clients::with_config`]). It decides nothing: it turns a value into a request and an answer into a
//! value.
//!
//! A program that reads one stream, with a processor as `kinex-kcl` describes it:
//!
//! ```no_run
//! use kinex_aws::{Access, Clients};
//! use kinex_kcl::{ProcessorFactory, Worker};
//!
//! async fn read(factory: impl ProcessorFactory) -> Result<(), Box<dyn std::error::Error>> {
//!     // Real AWS, as the environment configures it. Clients::with_config takes configurations of your own.
//!     let clients = Clients::connect(&Access::default()).await?;
//!     let tables = clients.tables("orders-reader");
//!     tables.ensure().await?;
//!     // A name, or an ARN.
//!     let reader = clients.reader("orders");
//!     let worker = Worker::builder(clients.leases("orders-reader"), reader, factory).worker_id("pod-0").build()?;
//!     worker.run().await?;
//!     Ok(())
//! }
//! ```
//!
//! Which program uses which API: [`iam`].

mod access;
mod clients;
mod connections;
mod credentials;
mod expression;
mod facts;
mod fault;
pub mod iam;
mod item;
mod lease_row;
mod lease_write;
mod leases;
mod patience;
mod reader;
mod requests;
mod resolver;
mod sender;
mod service_clock;
mod shards;
mod slots;
mod stream_admin;
mod stream_ref;
mod table;
mod tables;
mod worker_row;
mod worker_write;

pub use access::Access;
pub use clients::Clients;
pub use facts::Facts;
pub use kinex_core::id::StreamIdentity;
pub use leases::Leases;
pub use patience::{in_time, patiently};
pub use reader::Reader;
pub use requests::{RequestCount, Requests};
pub use resolver::AddressRule;
pub use sender::{Entry, Outcome, Sender};
pub use stream_admin::{Distribution, StreamAdmin, StreamStatus, StreamSummary};
pub use stream_ref::stream_name;
pub use tables::{Deleted, TableIdentity, Tables, TablesMade};

pub use aws_config::SdkConfig;

pub use kinex_kcl::ports::{Fault, FaultKind};
