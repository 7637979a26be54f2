//! What is seen of the world: plain facts, read as a whole before every decision.
//!
//! A shell that could not read a part says so in [`World::unseen`]; the decision then lets time pass and nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::timestamp::Timestamp;
use crate::audit::Dropped;
use crate::id::{Incarnation, ShardId, WorkerId};
use crate::lease::Lease;
use crate::shard_map::Shard;
use crate::worker::WorkerRow;

/// Everything that a decision rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Why some part could not be read; the rest is then not to be trusted.
    pub unseen: Option<String>,
    /// When the look began, by the clock that `now` comes from; `None`: not said.
    pub seen_at: Option<Timestamp>,
    /// The stream.
    pub stream: StreamFacts,
    /// All rows of the lease table, finished ones included; empty while there is no table.
    pub leases: Vec<Lease>,
    /// The workers, by their rows and their processes.
    pub workers: Vec<WorkerFacts>,
    /// How many workers are wanted and there.
    pub replicas: Replicas,
    /// The rate that the producer was last told; `None`: it does not run, or has not said.
    pub producer_rate: Option<u32>,
    /// What the audit says about the records of this run.
    pub records: RecordFacts,
    /// Changes of owner since the run began, oldest first.
    pub moves: Vec<Move>,
    /// Times in which a runnable shard was read by nobody, since the run began.
    pub unread: Vec<UnreadGap>,
    /// The children that appeared since the run began.
    pub children: Vec<ChildFacts>,
    /// Load per open shard, for `select: Hottest`; shards left out count as idle.
    pub rates: Vec<ShardRate>,
    /// Processes of workers that ended, or are being ended, whoever asked for it, in the order in which it was seen. At
    /// least those since the last decision.
    pub ends: Vec<ProcessEnd>,
    /// Effects that were refused since the last decision.
    pub failures: Vec<Failure>,
}

/// The stream's own state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamFacts {
    /// Whether it is there, and ready.
    pub status: StreamStatus,
    /// When it was created: tells a stream from a later one of the same name.
    pub created: Option<Timestamp>,
    /// All shards of a whole listing, closed ones included.
    pub shards: Vec<Shard>,
}

/// The states of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamStatus {
    /// There is none of this name.
    #[default]
    Missing,
    /// It is being made.
    Creating,
    /// It is ready, also for the next reshard.
    Active,
    /// A reshard is under way.
    Updating,
    /// It is being deleted.
    Deleting,
}

impl StreamStatus {
    /// As the API writes it; `MISSING` when there is none.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFacts {
    /// The name: the pod's name.
    pub id: WorkerId,
    /// The newest process of that name; `None` before it has registered.
    pub incarnation: Option<Incarnation>,
    /// Its row's beat was seen to change within the failover time, and nobody knows it to be gone.
    pub live: bool,
    /// Its process is up and says that it is ready.
    pub ready: bool,
    /// Its process is stopped (SIGSTOP).
    pub frozen: bool,
    /// It is leaving.
    pub departing: bool,
}

impl WorkerFacts {
    /// The facts of a row, with what only an observer over time knows.
    pub fn of_row(row: &WorkerRow, live: bool, ready: bool, frozen: bool) -> Self {
        Self {
            id: row.id.clone(),
            incarnation: Some(row.incarnation.clone()),
            live: live && !row.gone(),
            ready,
            frozen,
            departing: row.departing.is_some(),
        }
    }
}

/// A process of a worker that ended, or is being ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessEnd {
    /// The worker.
    pub worker: WorkerId,
    /// The process start.
    pub incarnation: Incarnation,
    /// When it was first seen, by the clock that `now` comes from. Of two ends the one seen later has the later time.
    pub at: Timestamp,
    /// Why, as far as it is known: `OOMKilled with exit code 137`.
    pub why: String,
}

/// How many workers are wanted and there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// What the StatefulSet (or the local runner) is set to.
    pub wanted: u32,
    /// Grows with every change of `wanted`, whoever makes it; an observation with a smaller one is old.
    pub generation: u64,
    /// Processes that are there, ready or not.
    pub present: u32,
    /// Why some are not ready: `ImagePullBackOff on orders-consumer-2`.
    pub problem: Option<String>,
    /// Who set `wanted` last, where that is known and was not the run itself: `kubectl`.
    pub by: Option<String>,
}

/// The audit's sums over all lanes, since the run began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordFacts {
    /// Sent and acknowledged.
    pub produced: u64,
    /// Delivered at least once.
    pub delivered: u64,
    /// Sent and not delivered, after time enough: those still on their way are not missing.
    pub missing: u64,
    /// Delivered once more than needed.
    pub duplicates: u64,
    /// Delivered after a later one of the same lane.
    pub reordered: u64,
    /// Read and given to no processor, by the reason.
    pub dropped: Dropped,
    /// Every record that was sent before this time is delivered or counted as missing; `None`: nothing can be said yet.
    pub judged_to: Option<Timestamp>,
}

/// One change of a lease's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// The lease.
    pub lease: ShardId,
    /// Who had it; `None`: nobody yet. (A dead worker's lease comes *from* the dead worker.)
    pub from: Option<WorkerId>,
    /// Who has it now; `None`: nobody.
    pub to: Option<WorkerId>,
    /// When it was seen.
    pub at: Timestamp,
}

/// A time in which a runnable shard was read by nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreadGap {
    /// The shard.
    pub shard: ShardId,
    /// From when.
    pub from: Timestamp,
    /// Until when; `None`: still.
    pub until: Option<Timestamp>,
}

/// How a child shard came to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildFacts {
    /// The child.
    pub child: ShardId,
    /// When the stream was first seen to have it.
    pub appeared: Timestamp,
    /// When its reading began (its first delivery, or its consumer's start where no record came).
    pub started: Option<Timestamp>,
    /// When the last of its parents was finished (SHARD_END); `None`: not yet.
    pub parents_ended: Option<Timestamp>,
}

/// A child that is read this soon after it appeared has not waited for anybody, whatever became of its parents.
const AT_ONCE: Duration = Duration::from_secs(5);

impl ChildFacts {
    /// Whether it was read while a parent was still being read.
    pub fn overlapped(&self) -> bool {
        match (self.started, self.parents_ended) {
            (Some(started), Some(ended)) => started <= ended,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Whether it did not wait for its parents: it overlapped with them or, where they had nothing left to read, its
    /// reading began within 5 s of its appearing. Reports and assertions both count by this.
    pub fn unwaiting(&self) -> bool {
        self.overlapped() || self.start_delay().is_some_and(|delay| delay <= AT_ONCE)
    }

    /// From its appearing to its reading; `None` before that.
    pub fn start_delay(&self) -> Option<Duration> {
        Some(self.started?.since(self.appeared))
    }
}

/// The load of one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardRate {
    /// The shard.
    pub shard: ShardId,
    /// Records per second.
    pub records_per_second: f64,
}

/// An effect that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// [`super::Effect::kind`] of the effect.
    pub effect: String,
    /// What was said, with the cause.
    pub message: String,
    /// Whether trying again cannot help (a limit of the account, no permission). Others are tried again.
    pub lasting: bool,
}
