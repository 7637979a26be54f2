//! Rows of workers that are no more: they go when nobody needs them any longer.
//!
//! A row that stays for ever costs every worker a part of every read. The row of a process that has left or was proved to
//! have ended stays for [`GONE_KEPT`] failover times, so that every worker has seen it, tools can show it, and leases that
//! name it are taken without a wait. The row of a process that merely fell silent stays for [`SILENT_KEPT`]: most sleeps
//! are shorter, and a process that wakes to find its row gone writes it again with a beat that nobody has seen.
//!
//! No row is removed that a lease names, as of a read of all leases that was sent after the process was seen to be no
//! more: for what such a process might still have under way, a missing row is silent for the failover time like any
//! other. A name without a row may be used at once, which is as safe as with the row of a process that is gone.

use std::collections::BTreeSet;

use super::wire::Purpose;
use super::{Member, Reply, Request, Written};
use crate::id::WorkerId;
use crate::lease::{Lease, Process};
use crate::time::Moment;
use crate::worker::WorkerWrite;

/// How long the row of a process that is gone is kept, in failover times.
pub(super) const GONE_KEPT: u32 = 6;

/// How long the row of a process that fell silent is kept, in failover times.
const SILENT_KEPT: u32 = 60;

/// The most rows that one round removes: with one round a second a small part of what a table on demand takes.
const REMOVALS_MAX: usize = 25;

impl Member {
    /// Whether this worker removes rows: the first one of those that share the leases does it, so that it is one worker
    /// at a time while all see the same set. Two of them do no harm, because every write is conditional.
    pub(super) fn removes_rows(&self) -> bool {
        self.leaving.is_none() && self.round.sharing.first() == Some(&self.profile.process.worker)
    }

    /// Removes some rows, when no removal is under way.
    pub(super) fn remove_rows(&mut self, now: Moment) {
        let under_way = self.wire.any(|purpose| matches!(purpose, Purpose::Remove(_)));
        let (Some(scanned), true, false) = (self.round.last_scan(), self.removes_rows(), under_way) else {
            return;
        };
        let failover_after = self.config.failover_after;
        let gone_before = (now - failover_after * GONE_KEPT).min(scanned);
        let silent_before = now - failover_after * SILENT_KEPT;
        let named = names(self.round.rows());
        let old = self.peers.removable(now, gone_before, silent_before);
        let writes: Vec<WorkerWrite> = old
            .filter(|row| row.id != self.profile.process.worker && !named.contains(&row.id))
            .take(REMOVALS_MAX)
            .map(|row| WorkerWrite::Remove {
                process: Process {
                    worker: row.id.clone(),
                    incarnation: row.incarnation.clone(),
                },
                beat: row.beat,
            })
            .collect();
        for write in writes {
            let WorkerWrite::Remove { process, .. } = &write else {
                continue;
            };
            self.send(now, Purpose::Remove(process.clone()), Request::WriteWorker(write));
        }
    }

    pub(super) fn row_removed(&mut self, process: &Process, reply: &Reply) {
        // What was refused has changed, and the next read shows how; what failed is tried again.
        if let Reply::WorkerWritten(Written::Done(_) | Written::Refused(None)) = reply {
            self.peers.removed(process);
        }
    }
}

/// The workers that some lease names.
pub(super) fn names(rows: &[Lease]) -> BTreeSet<&WorkerId> {
    rows.iter()
        .flat_map(|row| row.owner.iter().chain(&row.checkpoint_owner))
        .collect()
}
