//! A Kinesis client library: workers that share the shards of a stream by leases.

mod aggregate;
mod board;
mod bucket;
mod budget;
mod call;
mod checkpointer;
mod clock;
mod config;
mod consumer;
pub mod contract;
mod control;
mod driver;
mod events;
mod fetch;
mod log;
pub mod memory;
mod message;
pub mod ports;
mod processor;
mod request;
mod syncer;
mod unfold;
mod worker;

pub use checkpointer::{CheckpointError, Checkpointer};
pub use config::{ConfigError, InitialPosition, OutOfRange, WorkerConfig};
pub use events::WorkerEvent;
pub use processor::{ProcessorError, ProcessorFactory, Record, RecordBatch, RecordProcessor, ShardStart};
pub use worker::{Ended, Error, HoldState, HoldStatus, Status, Worker, WorkerBuilder, WorkerHandle};

pub use kinex_core::id::{Epoch, HashRange, Incarnation, SequenceNumber, ShardId, WorkerId};
pub use kinex_core::lease::{Checkpoint, Position};
pub use kinex_core::member::{Config as ProtocolConfig, StopReason};
pub use kinex_core::worker::{Departure, RenewalMode};
