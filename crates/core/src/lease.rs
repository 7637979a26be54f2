//! A lease row, the writes there are on it, and what each write requires and does.
//!
//! [`LeaseWrite::apply`] is the meaning of every write: the store in DynamoDB expresses the same condition and the same
//! change as one `UpdateItem`, the store in memory calls it, and the contract suite holds one against the other.
//! Safety rests here, never on a plan: each change of owner and each checkpoint is one conditional write.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, HashRange, Incarnation, SequenceNumber, ShardId, WorkerId};

/// How far the records of a shard have been processed. The order is that of progress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Checkpoint {
    /// Nothing yet; start behind the newest record.
    Latest,
    /// Nothing yet; start at the oldest record.
    TrimHorizon,
    /// Nothing yet; start at the time that the application is configured with.
    AtTimestamp,
    /// Nothing yet; start with the first record that arrived at or after this time, in milliseconds since 1970. It is
    /// what [`Self::Latest`] meant when the application first saw the shard.
    Since(i64),
    /// Everything up to and with this record.
    At(Position),
    /// The shard is closed and all of its records are processed.
    ShardEnd,
}

impl Checkpoint {
    /// Whether a checkpoint may be replaced by `next`: positions only move forward, and nothing follows the shard's end.
    pub fn may_become(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::ShardEnd, next) => *next == Self::ShardEnd,
            (Self::At(have), Self::At(next)) => have <= next,
            (Self::At(_), next) => *next == Self::ShardEnd,
            (Self::Latest | Self::TrimHorizon | Self::AtTimestamp | Self::Since(_), _) => true,
        }
    }
}

/// A record inside a shard: its sequence number, and its place inside an aggregated record (0 when it is not in one).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Sequence number of the Kinesis record.
    pub sequence: SequenceNumber,
    /// Index of the user record inside it.
    pub sub: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence, self.sub)
    }
}

/// A row of the lease table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `leaseKey`: the shard.
    pub key: ShardId,
    /// `leaseOwner`: who has the lease, or, while a hand-off runs, who shall have it. Absent: nobody.
    pub owner: Option<WorkerId>,
    /// `leaseCounter`: grows with every write of an owner, never shrinks.
    pub counter: u64,
    /// `epoch`: grows with every change of owner.
    pub epoch: Epoch,
    /// `incarnation`: the process that has the lease.
    pub incarnation: Option<Incarnation>,
    /// `checkpointOwner`: a hand-off is running, and this worker still has the lease.
    pub checkpoint_owner: Option<WorkerId>,
    /// `nextIncarnation`: the process that asked for the lease.
    pub next_incarnation: Option<Incarnation>,
    /// `checkpoint` and `checkpointSubSequenceNumber`.
    pub checkpoint: Checkpoint,
    /// `ownerSwitchesSinceCheckpoint`.
    pub owner_switches: u64,
    /// `parentShardId` (a set, in spite of its name).
    pub parents: BTreeSet<ShardId>,
    /// `childShardIds`.
    pub children: BTreeSet<ShardId>,
    /// `startingHashKey` and `endingHashKey`.
    pub hash_range: Option<HashRange>,
}

impl Lease {
    /// A lease that nobody has, at `checkpoint`, with the given first epoch.
    ///
    /// The caller draws the epoch at random, so that a table that is deleted and made again never repeats one.
    pub fn unowned(key: ShardId, checkpoint: Checkpoint, epoch: Epoch) -> Self {
        Self {
            key,
            owner: None,
            counter: 0,
            epoch,
            incarnation: None,
            checkpoint_owner: None,
            next_incarnation: None,
            checkpoint,
            owner_switches: 0,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            hash_range: None,
        }
    }

    /// Who may deliver records at present: the worker that a running hand-off takes the lease from, else the owner.
    pub fn present_owner(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }

    /// Whether somebody has asked the present owner for the lease.
    pub fn handoff_pending(&self) -> bool {
        self.checkpoint_owner.is_some()
    }

    /// Whether every record of the shard is processed. Such a lease is nobody's load.
    pub fn finished(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }

    /// Whether this process has the lease in this epoch, with or without a hand-off running.
    pub fn held_by(&self, fence: &Fence) -> bool {
        self.present_owner() == Some(&fence.worker)
            && self.incarnation.as_ref() == Some(&fence.incarnation)
            && self.epoch == fence.epoch
    }

    /// What a take must find unchanged.
    pub fn seen(&self) -> Seen {
        Seen {
            counter: self.counter,
            epoch: self.epoch,
            checkpoint_owner: self.checkpoint_owner.clone(),
            next_incarnation: self.next_incarnation.clone(),
        }
    }
}

/// A process: a worker's name and which start of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// The worker's name.
    pub worker: WorkerId,
    /// The process start.
    pub incarnation: Incarnation,
}

/// The ground on which a process writes to a lease: it had it in this epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// The worker's name.
    pub worker: WorkerId,
    /// The process start.
    pub incarnation: Incarnation,
    /// The epoch in which it got the lease.
    pub epoch: Epoch,
}

/// The columns of a row that a take rests on. (A late renewal or checkpoint of the old owner changes the counter.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `leaseCounter` as read.
    pub counter: u64,
    /// `epoch` as read.
    pub epoch: Epoch,
    /// `checkpointOwner` as read.
    pub checkpoint_owner: Option<WorkerId>,
    /// `nextIncarnation` as read.
    pub next_incarnation: Option<Incarnation>,
}

/// One conditional write of one lease row. Every one but [`Create`](Self::Create) leaves attributes that it does not
/// know untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseWrite {
    /// Adds the row unless there is one.
    Create(Box<Lease>),
    /// Gets an orphan, a dead worker's lease, or (after the hand-off timeout) an asked-for one, whose row is as `seen`.
    Take {
        /// The lease.
        key: ShardId,
        /// Who gets it.
        to: Process,
        /// What the row must still be.
        seen: Seen,
    },
    /// Asks the live owner `from`, who goes on until it yields.
    Ask {
        /// The lease.
        key: ShardId,
        /// The present owner.
        from: WorkerId,
        /// Who shall have it.
        to: Process,
        /// The epoch of the present owner.
        epoch: Epoch,
    },
    /// Asks in the place of an asker that is gone.
    AskOver {
        /// The lease.
        key: ShardId,
        /// The present owner.
        from: WorkerId,
        /// Who shall have it.
        to: Process,
        /// The asker that is gone.
        gone: Incarnation,
        /// The epoch of the present owner.
        epoch: Epoch,
    },
    /// The present owner takes back a lease whose asker is gone.
    Reclaim {
        /// The lease.
        key: ShardId,
        /// The present owner.
        by: Fence,
        /// The asker that is gone.
        gone: Incarnation,
    },
    /// Proves that the owner still has the lease and that nobody asks for it.
    Renew {
        /// The lease.
        key: ShardId,
        /// The owner.
        by: Fence,
    },
    /// Proves that the owner still has a lease that another worker has asked for, while it finishes the batch in flight.
    Extend {
        /// The lease.
        key: ShardId,
        /// The present owner.
        by: Fence,
    },
    /// Ends a hand-off: the final checkpoint, which is only ever forward, and the transfer in one write.
    Yield {
        /// The lease.
        key: ShardId,
        /// The present owner.
        by: Fence,
        /// The final checkpoint; `None` leaves the last one.
        checkpoint: Option<Checkpoint>,
    },
    /// Gives the lease up to nobody, with the final checkpoint, which is only ever forward: a departing worker whom
    /// nobody has asked.
    Release {
        /// The lease.
        key: ShardId,
        /// The owner.
        by: Fence,
        /// The final checkpoint; `None` leaves the last one.
        checkpoint: Option<Checkpoint>,
    },
    /// Writes progress, and only forward: an earlier attempt of the same owner may arrive late, behind a newer checkpoint
    /// or even behind the shard's end. [`Checkpoint::ShardEnd`] also names the children, when they are known.
    Checkpoint {
        /// The lease.
        key: ShardId,
        /// The present owner.
        by: Fence,
        /// The progress.
        checkpoint: Checkpoint,
        /// The children of a shard that has ended.
        children: BTreeSet<ShardId>,
    },
    /// Removes the row of a finished shard.
    Delete {
        /// The lease.
        key: ShardId,
        /// The epoch of the row.
        epoch: Epoch,
    },
}

/// The condition of a write did not hold; with the row as it is, or `None` when there is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Option<Box<Lease>>);

impl LeaseWrite {
    /// The lease that is written.
    pub fn key(&self) -> &ShardId {
        match self {
            Self::Create(lease) => &lease.key,
            Self::Take { key, .. }
            | Self::Ask { key, .. }
            | Self::AskOver { key, .. }
            | Self::Reclaim { key, .. }
            | Self::Renew { key, .. }
            | Self::Extend { key, .. }
            | Self::Yield { key, .. }
            | Self::Release { key, .. }
            | Self::Checkpoint { key, .. }
            | Self::Delete { key, .. } => key,
        }
    }

    /// A short name for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Take { .. } => "take",
            Self::Ask { .. } => "ask",
            Self::AskOver { .. } => "ask-over",
            Self::Reclaim { .. } => "reclaim",
            Self::Renew { .. } => "renew",
            Self::Extend { .. } => "extend",
            Self::Yield { .. } => "yield",
            Self::Release { .. } => "release",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Delete { .. } => "delete",
        }
    }

    /// What the write does to the row as it is: the row after it (`None`: deleted).
    ///
    /// # Errors
    /// [`Refused`] with the row as it is, when the write's condition does not hold.
    pub fn apply(&self, row: Option<&Lease>) -> Result<Option<Lease>, Refused> {
        let refused = || Refused(row.cloned().map(Box::new));
        if let Self::Create(lease) = self {
            return if row.is_some() {
                Err(refused())
            } else {
                Ok(Some(lease.as_ref().clone()))
            };
        }
        let row = row.ok_or(Refused(None))?;
        if !self.holds(row) {
            return Err(refused());
        }
        Ok(self.changed(row.clone()))
    }

    /// The condition, on a row that exists.
    fn holds(&self, row: &Lease) -> bool {
        match self {
            Self::Create(_) => false,
            Self::Take { seen, .. } => row.seen() == *seen,
            Self::Ask { from, epoch, .. } => {
                row.owner.as_ref() == Some(from) && row.checkpoint_owner.is_none() && row.epoch == *epoch
            }
            Self::AskOver { from, gone, epoch, .. } => {
                row.checkpoint_owner.as_ref() == Some(from)
                    && row.next_incarnation.as_ref() == Some(gone)
                    && row.epoch == *epoch
            }
            Self::Reclaim { by, gone, .. } => {
                row.checkpoint_owner.as_ref() == Some(&by.worker)
                    && row.incarnation.as_ref() == Some(&by.incarnation)
                    && row.next_incarnation.as_ref() == Some(gone)
                    && row.epoch == by.epoch
            }
            Self::Renew { by, .. } => row.held_unasked(by),
            Self::Release { by, checkpoint, .. } => row.held_unasked(by) && row.may_end_at(checkpoint.as_ref()),
            Self::Extend { by, .. } => row.held_and_asked(by),
            Self::Yield { by, checkpoint, .. } => row.held_and_asked(by) && row.may_end_at(checkpoint.as_ref()),
            Self::Checkpoint { by, checkpoint, .. } => row.held_by(by) && row.checkpoint.may_become(checkpoint),
            Self::Delete { epoch, .. } => row.finished() && row.epoch == *epoch,
        }
    }

    /// The change, on a row that fulfils the condition.
    fn changed(&self, mut row: Lease) -> Option<Lease> {
        match self {
            Self::Create(_) | Self::Delete { .. } => return None,
            Self::Take { to, .. } => {
                row.owner = Some(to.worker.clone());
                row.incarnation = Some(to.incarnation.clone());
                row.change_owner();
            }
            Self::Ask { from, to, .. } | Self::AskOver { from, to, .. } => {
                row.owner = Some(to.worker.clone());
                row.next_incarnation = Some(to.incarnation.clone());
                row.checkpoint_owner = Some(from.clone());
            }
            Self::Reclaim { by, .. } => {
                row.owner = Some(by.worker.clone());
                row.checkpoint_owner = None;
                row.next_incarnation = None;
                row.counter += 1;
            }
            Self::Renew { .. } | Self::Extend { .. } => row.counter += 1,
            Self::Yield { checkpoint, .. } => {
                row.incarnation = row.next_incarnation.take();
                row.change_owner();
                row.checkpoint = checkpoint.clone().unwrap_or(row.checkpoint);
            }
            Self::Release { checkpoint, .. } => {
                row.owner = None;
                row.incarnation = None;
                row.change_owner();
                row.checkpoint = checkpoint.clone().unwrap_or(row.checkpoint);
            }
            Self::Checkpoint {
                checkpoint, children, ..
            } => {
                row.counter += 1;
                row.checkpoint = checkpoint.clone();
                row.owner_switches = 0;
                row.children.extend(children.iter().cloned());
            }
        }
        Some(row)
    }
}

impl Lease {
    /// Whether this process has the lease, and nobody has asked for it.
    fn held_unasked(&self, fence: &Fence) -> bool {
        !self.handoff_pending() && self.held_by(fence)
    }

    /// Whether this process has the lease, and another worker has asked for it.
    fn held_and_asked(&self, fence: &Fence) -> bool {
        self.handoff_pending() && self.held_by(fence)
    }

    /// Whether the lease may be given away with this final checkpoint. The owner may not know how far the row is: the
    /// reply to its own checkpoint at the shard's end may be lost.
    fn may_end_at(&self, last: Option<&Checkpoint>) -> bool {
        last.is_none_or(|last| self.checkpoint.may_become(last))
    }

    fn change_owner(&mut self) {
        self.checkpoint_owner = None;
        self.next_incarnation = None;
        self.epoch = self.epoch.next();
        self.counter += 1;
        self.owner_switches += 1;
    }
}
