//! What the user of the library writes: the processor of one shard's records, and the factory that makes them.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use kinex_core::id::{Epoch, HashRange, ShardId};
use kinex_core::lease::{Checkpoint, Position};

use crate::checkpointer::Checkpointer;
use crate::poison::{Poison, PoisonAction};

/// Why a processor could not do its work; its text appears in the event [`crate::WorkerEvent::ProcessorFailed`].
pub type ProcessorError = Box<dyn std::error::Error + Send + Sync>;

/// A shard as its processor finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStart {
    /// The shard.
    pub shard: ShardId,
    /// Grows with every change of the lease's owner: of two processors of one shard the one with the larger epoch is
    /// the later one.
    pub epoch: Epoch,
    /// Records after this one will be delivered.
    pub checkpoint: Checkpoint,
    /// The shards that this one was split off or merged from.
    pub parents: BTreeSet<ShardId>,
    /// The hash keys of the shard, when they are known.
    pub hash_range: Option<HashRange>,
}

/// A user record: one that was sent as it is, or one that was taken out of an aggregate of the producer library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the shard, for checkpoints.
    pub position: Position,
    /// The key that chose the shard. A stream with the record distribution `AUTO` takes records without one, which is not
    /// the same as an empty one.
    pub partition_key: Option<Arc<str>>,
    /// The hash key that chose the shard instead of the partition key, when an aggregated record names one.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Bytes,
    /// When Kinesis took it, in milliseconds since 1970.
    pub arrived_millis: i64,
    /// Whether it was taken out of an aggregate.
    pub aggregated: bool,
}

/// Records of one shard, in their order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    /// The shard.
    pub shard: ShardId,
    /// The records.
    pub records: Vec<Record>,
    /// How far the read that they came from was behind the newest record.
    pub behind_millis: u64,
}

/// Processes the records of one shard while this worker holds its lease.
///
/// # Expected flow
/// `initialize` once, then `process` for each batch, and at the end one of `shard_ended`, `shutdown_requested` or
/// `lease_lost`. The calls of one processor never overlap.
///
/// # Guarantees
/// Every record is delivered at least once; records of one processor come in order. A record comes again only after a
/// failed call, or when its predecessor in another process died or lost the lease before a checkpoint.
///
/// # Errors
/// A call that returns an error or panics is made again with the same arguments after a pause that grows (a batch
/// without the records that were checkpointed meanwhile). After
/// [`processor_retries`](crate::WorkerConfig::processor_retries) of them there is an alarm,
/// [`crate::WorkerEvent::ShardFailing`], and the records of the batch come one by one. Of a record that has failed as
/// often by itself, [`poisoned`](Self::poisoned) decides. Nothing is skipped unless it says so.
///
/// A factory that panics, and a panic in any other method or in `Drop`, is a failure like these. After a panic in a
/// call the same processor is called again.
///
/// # Caveats
/// A call is cut short at its next `await` when the lease's window ends under it; its batch is delivered again. A call
/// that blocks its thread cannot be cut short, so blocking work belongs into `spawn_blocking`.
pub trait RecordProcessor: Send + 'static {
    /// Called before the first record.
    fn initialize(&mut self, start: &ShardStart) -> impl Future<Output = Result<(), ProcessorError>> + Send {
        let _ = start;
        async { Ok(()) }
    }

    /// Processes a batch. Nothing is checkpointed unless the processor says so.
    fn process(
        &mut self,
        batch: &RecordBatch,
        checkpointer: &Checkpointer,
    ) -> impl Future<Output = Result<(), ProcessorError>> + Send;

    /// Another process has the lease now, or may have it: no checkpoint can be written, and records since the last one
    /// will be delivered again elsewhere. Drop what is not yet durable.
    fn lease_lost(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Every record of the closed shard was given to `process`, and each of those calls returned `Ok`. Make durable what
    /// is not yet.
    ///
    /// `Ok` commits all of them, those without a checkpoint too: the row of the shard is marked as finished, and no
    /// worker reads the shard again. After an error the call is made again, and nothing is committed.
    fn shard_ended(&mut self, checkpointer: &Checkpointer) -> impl Future<Output = Result<(), ProcessorError>> + Send;

    /// The lease goes to another worker in good order, or this worker leaves. Make durable what is not yet.
    ///
    /// `Ok` commits every record of every `process` call that returned `Ok`, those without a checkpoint too: the last
    /// of them becomes the final checkpoint, which is written together with the transfer, and the next owner begins
    /// after it. A processor that buffers and cannot flush returns an error: then the last written checkpoint stands,
    /// and everything after it is delivered again.
    fn shutdown_requested(
        &mut self,
        checkpointer: &Checkpointer,
    ) -> impl Future<Output = Result<(), ProcessorError>> + Send;

    /// Decides what becomes of a record whose call has failed every time. By default what
    /// [`on_poison`](crate::WorkerConfig::on_poison) says.
    ///
    /// After [`PoisonAction::Retry`] it is asked again when the call has failed as many times more. An error or a panic
    /// in here decides nothing: it is told, and the question is asked again after a pause.
    fn poisoned(&mut self, poison: &Poison) -> impl Future<Output = Result<PoisonAction, ProcessorError>> + Send {
        let action = poison.configured;
        async move { Ok(action) }
    }

    /// Stores a record elsewhere that is given up, after `poisoned` has returned [`PoisonAction::DeadLetter`]. Make it
    /// durable: after `Ok` the record counts as processed. It may come again if the worker ends before the next
    /// checkpoint.
    ///
    /// # Errors
    /// Then nothing is given up, and `poisoned` is asked again after a pause. So does the default, which has no store.
    fn dead_letter(&mut self, poison: &Poison) -> impl Future<Output = Result<(), ProcessorError>> + Send {
        let _ = poison;
        async { Err("this processor has no dead-letter store: implement `dead_letter`".into()) }
    }
}

/// Makes a processor for each shard whose lease comes to this worker.
///
/// Every `Fn(&ShardId) -> impl RecordProcessor` is one.
pub trait ProcessorFactory: Send + Sync + 'static {
    /// The processors that it makes.
    type Processor: RecordProcessor;

    /// A new processor, also when this worker had the shard before. A panic in here is a failure of `initialize`: it is
    /// told, and made good by another try.
    fn create(&self, shard: &ShardId) -> Self::Processor;
}

impl<F, P> ProcessorFactory for F
where
    F: Fn(&ShardId) -> P + Send + Sync + 'static,
    P: RecordProcessor,
{
    type Processor = P;

    fn create(&self, shard: &ShardId) -> P {
        self(shard)
    }
}
