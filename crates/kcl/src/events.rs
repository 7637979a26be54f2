//! What a worker did and why, as values that anybody may subscribe to.
//!
//! The library keeps no metrics; who wants some counts these.

use std::collections::BTreeSet;

use kinex_core::id::{Epoch, ShardId, WorkerId};
use kinex_core::lease::{Checkpoint, Position};
use kinex_core::member::StopReason;
use tokio::sync::broadcast;

/// Something that a worker did or found, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// The set of workers that share the leases is another one.
    Membership {
        /// The workers, in the order of their ids.
        workers: Vec<WorkerId>,
        /// Those of the set before that are proved or judged dead.
        dead: Vec<WorkerId>,
    },
    /// A plan was made from a full view of the tables.
    Planned {
        /// Runnable leases.
        leases: usize,
        /// Live workers.
        workers: usize,
        /// Leases that shall come to this worker.
        coming: usize,
    },
    /// There are more leases than the caps of all workers together allow.
    CapExceeded {
        /// Leases above the caps.
        by: usize,
        /// Whether they stay unowned or are dealt out evenly.
        unowned: bool,
    },
    /// A lease came to this worker.
    LeaseMoved {
        /// The lease.
        shard: ShardId,
        /// Who had it before.
        from: Option<WorkerId>,
        /// How it came: `orphan`, `dead`, `ended`, `handoff`, `handoff-timeout`, `own-name`, `steal`.
        reason: &'static str,
    },
    /// A conditional write was refused because somebody else was first.
    Conflict {
        /// The lease.
        shard: ShardId,
        /// Which write.
        write: &'static str,
    },
    /// Records of a shard are read from here on.
    ShardStarted {
        /// The shard.
        shard: ShardId,
        /// The epoch of the lease.
        epoch: Epoch,
        /// Where reading starts.
        checkpoint: Checkpoint,
        /// The shards that it was split off or merged from.
        parents: BTreeSet<ShardId>,
    },
    /// The lease is asked for, or the worker leaves: the processor comes to a rest.
    ShardDraining {
        /// The shard.
        shard: ShardId,
        /// The epoch of the lease.
        epoch: Epoch,
    },
    /// The lease is no longer this worker's.
    ShardStopped {
        /// The shard.
        shard: ShardId,
        /// The epoch of the lease.
        epoch: Epoch,
        /// Why.
        reason: StopReason,
    },
    /// The window of a lease ended before its renewal came back; nothing is delivered until one does.
    WindowLapsed {
        /// The shard.
        shard: ShardId,
        /// The epoch of the lease.
        epoch: Epoch,
    },
    /// A batch in the processor's hands was given up before it was processed; its records come again, here or at the next
    /// owner.
    BatchCut {
        /// The shard.
        shard: ShardId,
        /// The epoch of the lease.
        epoch: Epoch,
        /// `window` (it ended before it could be extended), `drain-timeout`, or `lost` (another process has the lease).
        reason: &'static str,
    },
    /// A processor made a checkpoint, or tried to.
    Checkpointed {
        /// The shard.
        shard: ShardId,
        /// The epoch of the lease.
        epoch: Epoch,
        /// Whether it is written; otherwise the lease is lost.
        written: bool,
    },
    /// Every record of a closed shard is processed.
    ShardEnded {
        /// The shard.
        shard: ShardId,
        /// The shards that follow it.
        children: BTreeSet<ShardId>,
    },
    /// The row of a shard was added to the lease table.
    LeaseCreated {
        /// The shard.
        shard: ShardId,
    },
    /// The row of a finished shard was removed from the lease table.
    LeaseDeleted {
        /// The shard.
        shard: ShardId,
    },
    /// A call of the processor failed and will be made again.
    ProcessorFailed {
        /// The shard.
        shard: ShardId,
        /// Which call.
        call: &'static str,
        /// How many times it has failed in a row.
        attempt: u32,
        /// What the processor said, or that it panicked.
        error: String,
    },
    /// ALARM: a call of the processor has failed many times in a row. It is made again all the same.
    ShardFailing {
        /// The shard.
        shard: ShardId,
        /// Which call.
        call: &'static str,
        /// How many times it has failed in a row.
        failures: u32,
        /// What the processor said, or that it panicked.
        error: String,
    },
    /// A call of the processor is taking long. It is waited for; its shard stands still meanwhile.
    ProcessorSlow {
        /// The shard.
        shard: ShardId,
        /// Which call.
        call: &'static str,
        /// How long it has taken so far, in milliseconds.
        running_millis: u64,
    },
    /// User records that no processor will be given (again).
    RecordsDropped {
        /// The shard.
        shard: ShardId,
        /// Why.
        reason: DropReason,
        /// How many.
        records: u64,
        /// The first of them.
        first: Position,
        /// The last of them.
        last: Position,
    },
    /// A shard that was halted, or whose processor failed, was told to go on.
    ShardResumed {
        /// The shard.
        shard: ShardId,
    },
    /// ALARM: a call of the processor failed too often. The shard's records stand still until
    /// [`WorkerHandle::resume`](crate::WorkerHandle::resume); its lease is kept.
    ShardHalted {
        /// The shard.
        shard: ShardId,
        /// Which call.
        call: &'static str,
        /// What the processor said, or that it panicked.
        error: String,
    },
    /// The processor did not come to a rest in time; its lease goes without a final checkpoint.
    DrainTimedOut {
        /// The shard.
        shard: ShardId,
        /// The epoch of the lease.
        epoch: Epoch,
    },
    /// Records that look like an aggregate of the producer library but cannot be taken apart; delivered as they are.
    BadAggregate {
        /// The shard.
        shard: ShardId,
        /// The Kinesis record's sequence number.
        sequence: String,
        /// The length of its payload.
        bytes: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Aggregates in which records belong to another shard by their hash keys, and that were delivered all the same.
    OutOfRange {
        /// The shard.
        shard: ShardId,
        /// How many such records one read had.
        records: u64,
    },
    /// Retention has removed the record that the checkpoint names, and whatever followed it up to the oldest one that the
    /// stream still has: records that were never read may be among them. Not reported when the worker had read everything
    /// a short while ago.
    BehindHorizon {
        /// The shard.
        shard: ShardId,
        /// Where reading should have gone on.
        checkpoint: Checkpoint,
    },
    /// A request to a table or to the stream failed; it will be made again where that helps.
    RequestFailed {
        /// The request, such as `GetRecords shardId-0`.
        request: String,
        /// What kind of failure.
        kind: crate::ports::FaultKind,
        /// What the answer was.
        message: String,
    },
    /// Rows of the lease table whose keys are no shard's: of the Java library's multi-stream mode, or of another
    /// application. They are left alone; each is reported once.
    ForeignLeases {
        /// The keys.
        keys: Vec<String>,
    },
    /// A lease row could not be read and is skipped.
    UnreadableLease {
        /// The row's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why records were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// Their call failed every time, and the processor gave them up.
    Poison,
    /// As [`Self::Poison`], after the processor had stored them elsewhere.
    DeadLetter,
    /// They came in an aggregate that was meant for another shard, where the producer sends it again: see
    /// [`OutOfRange`](crate::OutOfRange).
    OutOfRange,
}

impl DropReason {
    /// Every reason.
    pub const ALL: &[Self] = &[Self::Poison, Self::DeadLetter, Self::OutOfRange];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poison => "poison",
            Self::DeadLetter => "dead-letter",
            Self::OutOfRange => "out-of-range",
        }
    }
}

/// Hands events to whoever listens, and to the log.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<WorkerEvent>,
}

impl Events {
    pub(crate) fn new(kept: usize) -> Self {
        Self {
            sender: broadcast::channel(kept).0,
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<WorkerEvent> {
        self.sender.subscribe()
    }

    /// Without a log line.
    pub(crate) fn emit_quietly(&self, event: WorkerEvent) {
        let _ = self.sender.send(event);
    }

    /// Never waits: nobody listening, or somebody slow, is no concern of the worker's.
    pub(crate) fn emit(&self, event: WorkerEvent) {
        crate::log::event(&event);
        self.emit_quietly(event);
    }
}
