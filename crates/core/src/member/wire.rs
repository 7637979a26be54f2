//! The requests of one member that are under way, and what each was sent for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::messages::RequestId;
use crate::id::{ShardId, WorkerId};
use crate::lease::Process;
use crate::time::Moment;

/// What a request was sent for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A step of joining.
    Join,
    /// A heartbeat.
    Beat,
    /// The own row again, after somebody removed it.
    Register,
    /// The rows of all workers.
    Members,
    /// The rows of the workers that have not left for good.
    MembersPresent,
    /// All lease rows; `asks` is how many asks of this worker were known when the read was sent.
    Leases {
        /// See above.
        asks: Option<u64>,
    },
    /// Whether a silent owner is silent still, after the rows of these leases were read.
    Confirm {
        /// The owner.
        owner: WorkerId,
        /// The leases.
        keys: Vec<ShardId>,
    },
    /// A write of a lease that this process has.
    Owned {
        /// The lease.
        key: ShardId,
        /// Which write.
        write: OwnWrite,
    },
    /// A step of a lease's way here.
    Move {
        /// The lease.
        key: ShardId,
    },
    /// The removal of the row of a process that is no more.
    Remove(Process),
    /// The last write.
    Depart,
}

/// A write of a lease that this process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnWrite {
    Renew,
    Reclaim,
    GiveAway,
    /// No write: a read of its row.
    Look,
}

/// The requests under way.
#[derive(Debug, Default)]
pub(super) struct Wire {
    last: u64,
    under_way: BTreeMap<RequestId, (Purpose, Moment)>,
}

impl Wire {
    /// A request was sent.
    pub(super) fn sent(&mut self, now: Moment, purpose: Purpose) -> RequestId {
        self.last += 1;
        let id = RequestId(self.last);
        self.under_way.insert(id, (purpose, now));
        id
    }

    /// An answer came: what the request was for and when it was sent; `None` when it was given up.
    pub(super) fn done(&mut self, id: RequestId) -> Option<(Purpose, Moment)> {
        self.under_way.remove(&id)
    }

    /// Gives up what has had no answer for this long. Nothing that it could still say would open a window.
    pub(super) fn expired(&mut self, now: Moment, limit: Duration) -> Vec<(Purpose, Moment)> {
        let mut expired = Vec::new();
        // Ids grow with time, so the oldest stand first.
        while let Some(oldest) = self.under_way.first_entry() {
            if now.since(oldest.get().1) < limit {
                break;
            }
            expired.push(oldest.remove());
        }
        expired
    }

    /// When the oldest request is given up.
    pub(super) fn deadline(&self, limit: Duration) -> Moment {
        self.under_way
            .values()
            .next()
            .map_or(Moment::NEVER, |(_, sent)| *sent + limit)
    }

    /// Whether a request for such a purpose is under way.
    pub(super) fn any(&self, of: impl Fn(&Purpose) -> bool) -> bool {
        self.under_way.values().any(|(purpose, _)| of(purpose))
    }
}
