//! Owners without a worker row: workers of the Java library, and processes whose row was removed by hand.
//!
//! The Java library has no worker rows: each worker renews its leases by counting up their rows, and a lease whose
//! counter stands still is free. So such an owner lives, lease by lease, while the counter moves; it is dead when a read
//! that was sent the failover time after the counter was first seen still returns it, and when its own row has been
//! missing for as long. The take then rests on that counter, as every take does.

use super::Member;
use crate::id::{Epoch, WorkerId};
use crate::lease::Lease;
use crate::liveness::Life;
use crate::time::Moment;

/// A lease of an owner without a worker row, as last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unlisted {
    owner: WorkerId,
    epoch: Epoch,
    counter: u64,
    /// When the row was first seen so.
    since: Moment,
    /// A read that was sent the failover time later returned the same.
    still: bool,
}

impl Member {
    /// All lease rows were read by a request sent at `sent`: whose counters have moved?
    pub(super) fn watch_unlisted(&mut self, now: Moment, sent: Moment, rows: &[Lease]) {
        let failover_after = self.config.failover_after;
        let mut unlisted = std::collections::BTreeMap::new();
        for row in rows.iter().filter(|row| !row.finished()) {
            let Some(owner) = self.unlisted_owner(row) else {
                continue;
            };
            let before = self.round.unlisted.get(&row.key);
            let before =
                before.filter(|had| had.owner == *owner && had.epoch == row.epoch && had.counter == row.counter);
            let since = before.map_or(now, |had| had.since);
            let lease = Unlisted {
                owner: owner.clone(),
                epoch: row.epoch,
                counter: row.counter,
                since,
                still: sent >= since + failover_after,
            };
            if !lease.still {
                self.round.want_scan(since + failover_after);
            }
            unlisted.insert(row.key.clone(), lease);
        }
        self.round.unlisted = unlisted;
    }

    /// Whether the lease belongs to an owner without a worker row that may be alive. Nobody can ask such an owner for a
    /// lease, so it takes no part in a plan.
    pub(super) fn is_unlisted(&self, row: &Lease) -> bool {
        let Some(owner) = self.unlisted_owner(row) else {
            return false;
        };
        let still = self.round.unlisted.get(&row.key).is_some_and(|had| {
            had.still && had.owner == *owner && had.epoch == row.epoch && had.counter == row.counter
        });
        let moves = self.config.rules.counter_is_life && !still;
        moves || self.peers.life(owner) == Life::Live
    }

    fn unlisted_owner<'a>(&self, row: &'a Lease) -> Option<&'a WorkerId> {
        let owner = row.present_owner()?;
        (*owner != self.me().worker && self.peers.row(owner).is_none()).then_some(owner)
    }
}
