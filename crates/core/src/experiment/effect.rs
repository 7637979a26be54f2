//! What an experiment wants done to the world.

use serde::{Deserialize, Serialize};

use super::spec::{KillMode, Restart};
use super::status::PlannedPod;
use super::timestamp::Timestamp;
use crate::id::ShardId;

/// One thing to do. Every one may be carried out twice, or late, without harm; the shell need not remember which it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// Creates the stream with this many shards. One that exists already is left as it is.
    CreateStream {
        /// Open shards to begin with.
        shards: u32,
    },
    /// Deletes the stream *if* it is still the one created at `created`, and the application's lease and worker tables.
    DeleteStream {
        /// The creation time of the stream that is meant.
        created: Timestamp,
    },
    /// Wants this many workers, through the scale interface; with the version that was seen as its condition, so that it
    /// is refused when somebody scaled since.
    Scale {
        /// Workers wanted.
        replicas: u32,
    },
    /// Copies a scaling that somebody else did to the manifest's `spec.replicas`.
    MirrorReplicas {
        /// What was seen.
        replicas: u32,
    },
    /// Sends records at this rate from now on; 0 stops. One that is carried out late, behind a newer one, is put right
    /// while the run goes on, and stands when the run has ended.
    SetProducer {
        /// Records per second, all producers together.
        records_per_second: u32,
    },
    /// Splits a shard. A shard that is closed already stays as it is.
    SplitShard {
        /// The shard.
        shard: ShardId,
        /// `NewStartingHashKey`, as decimal text.
        at: String,
    },
    /// Merges two adjacent shards. Shards that are closed already stay as they are.
    MergeShards {
        /// The shard with the lower hash keys.
        shard: ShardId,
        /// The shard next to it.
        adjacent: ShardId,
    },
    /// Asks the stream for this many open shards (uniform scaling). It names no shard, so that a call which is still
    /// under way when its step has ended may undo what a later step does: a shell gives it up with its step.
    UpdateShardCount {
        /// Open shards wanted.
        target: u32,
    },
    /// Ends one process of a worker, and no other process of the same name.
    Kill {
        /// The process.
        pod: PlannedPod,
        /// How.
        mode: KillMode,
        /// When another process takes its place, as far as the shell decides that.
        restart: Restart,
    },
    /// Stops one process of a worker as a whole (SIGSTOP). The shell lets it go on at [`Effect::Thaw`]; where the process
    /// stops itself, a helper beside it lets it go on after `milliseconds`.
    Freeze {
        /// The process.
        pod: PlannedPod,
        /// How long it shall stand still.
        milliseconds: u64,
    },
    /// Lets a stopped process go on (SIGCONT).
    Thaw {
        /// The process.
        pod: PlannedPod,
    },
}

impl Effect {
    /// A short name for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateStream { .. } => "create-stream",
            Self::DeleteStream { .. } => "delete-stream",
            Self::Scale { .. } => "scale",
            Self::MirrorReplicas { .. } => "mirror-replicas",
            Self::SetProducer { .. } => "set-producer",
            Self::SplitShard { .. } => "split-shard",
            Self::MergeShards { .. } => "merge-shards",
            Self::UpdateShardCount { .. } => "update-shard-count",
            Self::Kill { .. } => "kill",
            Self::Freeze { .. } => "freeze",
            Self::Thaw { .. } => "thaw",
        }
    }
}
