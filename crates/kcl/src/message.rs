//! What the shard consumers and the handle say to the driver.

use std::collections::BTreeSet;
use std::sync::Arc;

use kinex_core::id::ShardId;
use kinex_core::lease::Checkpoint;
use kinex_core::member::Hold;
use kinex_core::worker::Departure;
use tokio::sync::oneshot;

use crate::checkpointer::CheckpointError;
use crate::ports::ChildShard;

/// To the driver, which alone talks to the tables.
#[derive(Debug)]
pub(crate) enum Message {
    /// Write progress, and say how it ended.
    Checkpoint {
        hold: Arc<Hold>,
        checkpoint: Checkpoint,
        children: BTreeSet<ShardId>,
        reply: oneshot::Sender<Result<(), CheckpointError>>,
    },
    /// List the shards and add the missing rows now, because this shard is at its end, or seems to be gone.
    Sync {
        ended: ShardId,
        /// What the last read of the shard said of its children.
        children: BTreeSet<ChildShard>,
        reply: oneshot::Sender<Result<Lineage, String>>,
    },
    /// The processor of the hold rests, and this is its final checkpoint.
    Drained {
        hold: Arc<Hold>,
        checkpoint: Option<Checkpoint>,
        /// The processor did not come to a rest in time.
        hung: bool,
    },
    /// Lease rows were added or removed.
    LineageChanged,
    /// The shard's end is written.
    ShardEnded { hold: Arc<Hold> },
    /// Let a shard that failed go on now; says whether this worker has it.
    Resume {
        shard: ShardId,
        reply: oneshot::Sender<bool>,
    },
    /// Leave.
    Depart(Departure),
}

/// What a complete listing says about a shard that is at its end.
#[derive(Clone, Debug)]
pub(crate) struct Lineage {
    /// Its children; each has a lease row.
    pub(crate) children: BTreeSet<ShardId>,
    /// Retention has removed the shard: two listings lacked it.
    pub(crate) trimmed: bool,
}
