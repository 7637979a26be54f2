//! A Kinesis client library: any number of workers share the shards of a stream, evenly, by leases in a table.
//!
//! You write a [`RecordProcessor`]; a [`Worker`] calls it with the records of every shard whose lease it has. Workers
//! that come, leave, pause or die, and shards that split or merge, move as few leases as possible: all workers compute
//! the same plan from the same rows, without a leader, and every change of owner and every checkpoint is one
//! conditional write, so that of two processes that believe to have a shard only one can write.
//!
//! ```
//! use kinex_kcl::memory::{MemoryStore, MemoryStream};
//! use kinex_kcl::{Checkpointer, Departure, ProcessorError, RecordBatch, RecordProcessor, ShardId, Worker};
//!
//! struct Printer;
//!
//! impl RecordProcessor for Printer {
//!     async fn process(&mut self, batch: &RecordBatch, checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
//!         for record in &batch.records {
//!             println!("{} {}: {} bytes", batch.shard, record.position, record.data.len());
//!         }
//!         Ok(checkpointer.checkpoint().await?)
//!     }
//!
//!     // Printed is done: nothing is left to flush when the shard ends or goes to another worker.
//!     async fn shard_ended(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
//!         Ok(())
//!     }
//!
//!     async fn shutdown_requested(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! // In production: the lease table and the stream of the crate `kinex-aws`.
//! let (table, stream) = (MemoryStore::new(), MemoryStream::new(4));
//! let worker = Worker::builder(table, stream, |_: &ShardId| Printer).worker_id("orders-0").build()?;
//! let handle = worker.handle();
//! # handle.shutdown(Departure::Release).await;
//! tokio::spawn(async move {
//!     tokio::signal::ctrl_c().await.expect("a signal handler");
//!     handle.shutdown(Departure::Release).await;
//! });
//! worker.run().await?;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # What is promised
//! - Every record is delivered at least once, in the order of its shard. A graceful move delivers nothing twice.
//! - [`InitialPosition::Latest`] is resolved once, when the application first sees the shard, and written down as a time
//!   by the stream's own clock: whoever reads the shard later begins there. A second or two of earlier records may come
//!   with it.
//! - A checkpoint only moves forward, never passes what was delivered, and is refused once the lease is lost. It can
//!   stand inside an aggregated record of the producer library.
//! - Leases are kept on a thread of its own: a processor that is slow, or blocks the runtime, loses none.
//! - A processor that fails or panics is called again for as long as the lease is held, with an alarm; it may decide
//!   otherwise about a record that fails every time ([`RecordProcessor::poisoned`]). No record is skipped silently.
//! - Memory is bounded by [`WorkerConfig::memory_max`], reads by the quotas of a shard.
//!
//! # What it is not
//! - It is no client of AWS: it knows neither DynamoDB nor Kinesis but by its [`ports`]. The crate `kinex-aws` has both,
//!   [`memory`] has both for tests, and [`contract`] is the suite that every implementation passes.
//! - It has no metrics and no HTTP: [`WorkerHandle::subscribe`] gives every decision with its reason,
//!   [`WorkerHandle::status`] what a worker has and sees. Count what you need.
//! - It reads by polling; enhanced fan-out (`SubscribeToShard`) is not there.
//! - It is no exactly-once: who crashes between a side effect and its checkpoint repeats the side effect.
//!
//! # A walk through the code
//! `worker` puts it together; `driver` is the lease thread, which carries out what
//! [`Member`](kinex_core::member::Member) decides; `consumer` follows the table of [`kinex_core::shard`] for one shard;
//! `fetch` reads ahead, `deaggregate` and `aggregate` make user records of what was read, `call` calls the processor;
//! `syncer` keeps the lease rows in line with the shards of the stream.

pub mod adoption;
mod aggregate;
mod bucket;
mod budget;
mod call;
mod checkpointer;
mod clock;
mod config;
mod consumer;
pub mod contract;
mod control;
mod deaggregate;
mod driver;
mod events;
mod fetch;
mod log;
pub mod memory;
mod message;
mod poison;
pub mod ports;
mod processor;
mod progress;
mod read_size;
mod reporter;
mod request;
mod syncer;
mod worker;

pub use checkpointer::{CheckpointError, Checkpointer};
pub use config::{ConfigError, InitialPosition, OutOfRange, WorkerConfig};
pub use events::{DropReason, WorkerEvent};
pub use poison::{Poison, PoisonAction};
pub use processor::{ProcessorError, ProcessorFactory, Record, RecordBatch, RecordProcessor, ShardStart};
pub use worker::{Ended, Error, HoldState, HoldStatus, NotHeld, Stall, Status, Worker, WorkerBuilder, WorkerHandle};

pub use kinex_core::id::{Epoch, HashRange, Incarnation, SequenceNumber, ShardId, StreamIdentity, WorkerId};
pub use kinex_core::lease::{Checkpoint, Position};
pub use kinex_core::member::{Config as ProtocolConfig, StopReason};
pub use kinex_core::worker::{Departure, RenewalMode};
