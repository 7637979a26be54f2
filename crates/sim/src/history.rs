//! What happened in a run, one entry per event, in virtual time.

use std::time::Duration;

use kinex_core::id::{Epoch, Incarnation, ShardId, WorkerId};
use kinex_core::lease::Lease;

/// One event.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A shard opened; its records come at the scenario's rate.
    Opened {
        /// The shard.
        shard: ShardId,
        /// The shards that it came out of.
        parents: Vec<ShardId>,
    },
    /// A shard closed after that many records.
    Closed {
        /// The shard.
        shard: ShardId,
        /// How many records it has for ever.
        records: u64,
    },
    /// Records `from..to` of a shard were handed to the processor.
    Deliver {
        /// Who.
        by: Who,
        /// The shard.
        shard: ShardId,
        /// The first record.
        from: u64,
        /// Behind the last record.
        to: u64,
    },
    /// A batch from this record on was given up: its window ended, or the drain took too long.
    Cut {
        /// Who.
        by: Who,
        /// The shard.
        shard: ShardId,
        /// The first record, which counts as not processed.
        from: u64,
    },
    /// A write of a lease row took effect.
    Lease {
        /// Who wrote.
        writer: WorkerId,
        /// Which process.
        incarnation: Incarnation,
        /// Which write.
        write: &'static str,
        /// The row before.
        before: Option<Box<Lease>>,
        /// The row after.
        after: Option<Box<Lease>>,
    },
    /// A write of a lease row was refused.
    Refused {
        /// Who wrote.
        writer: WorkerId,
        /// Which write.
        write: &'static str,
        /// The lease.
        shard: ShardId,
    },
    /// A process may deliver from now on.
    OwnStart {
        /// Who.
        by: Who,
        /// The shard.
        shard: ShardId,
        /// The end of its window, in the world's time.
        until: Duration,
        /// Others that may deliver the same shard at this moment.
        rivals: Vec<Who>,
    },
    /// It may deliver no more.
    OwnEnd {
        /// Who.
        by: Who,
        /// The shard.
        shard: ShardId,
    },
    /// A worker planned.
    Plan {
        /// Who.
        worker: WorkerId,
        /// Leases that shall come to it.
        coming: usize,
    },
    /// A lease came to a worker, as it says itself.
    Moved {
        /// To whom.
        worker: WorkerId,
        /// Which.
        shard: ShardId,
        /// How.
        reason: &'static str,
    },
    /// A process started.
    Started(WorkerId, Incarnation),
    /// A process ended, and what it said.
    Exited(WorkerId, Incarnation, String),
    /// Something happened to somebody.
    Fault(String),
}

/// A process with a lease, in the epoch in which it got it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// The worker.
    pub worker: WorkerId,
    /// The process.
    pub incarnation: Incarnation,
    /// The epoch.
    pub epoch: Epoch,
}

/// All events in their order.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Time since the beginning, and what happened.
    pub entries: Vec<(Duration, Entry)>,
}

impl History {
    /// One line per event, for a person.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.entries
            .iter()
            .map(|(at, entry)| format!("{:10.3} {}", at.as_secs_f64(), line(entry)))
    }
}

fn line(entry: &Entry) -> String {
    match entry {
        Entry::Lease {
            writer,
            incarnation,
            write,
            before,
            after,
        } => format!(
            "{write} by {writer}/{incarnation}: {} -> {}",
            row(before.as_deref()),
            row(after.as_deref())
        ),
        other => format!("{other:?}"),
    }
}

fn row(lease: Option<&Lease>) -> String {
    lease.map_or("none".to_owned(), |lease| {
        format!(
            "[{} owner {:?} of {:?} epoch {} counter {} from {:?} next {:?} at {:?}]",
            lease.key,
            lease.owner,
            lease.incarnation,
            lease.epoch,
            lease.counter,
            lease.checkpoint_owner,
            lease.next_incarnation,
            lease.checkpoint
        )
    })
}
