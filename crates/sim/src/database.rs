//! The two tables, as the core says that each write means.

use std::collections::BTreeMap;

use kinex_core::id::{Incarnation, ShardId, WorkerId};
use kinex_core::lease::{Lease, LeaseWrite, Process};
use kinex_core::member::{Reply, Written};
use kinex_core::worker::{Departure, Group, RenewalMode, WorkerRow, WorkerWrite};

/// The lease table and the workers' table.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) leases: BTreeMap<ShardId, Lease>,
    /// Each row as it was before its last write.
    previous: BTreeMap<ShardId, Lease>,
    pub(crate) workers: BTreeMap<WorkerId, WorkerRow>,
    pub(crate) group: Option<Group>,
}

/// What a write of a lease row did.
pub(crate) struct Change {
    pub(crate) before: Option<Lease>,
    pub(crate) written: Written<Lease>,
}

impl Database {
    pub(crate) fn open_group(&mut self, renewal: RenewalMode) -> Reply {
        let group = self.group.get_or_insert(Group { renewal, lineage: 0 });
        Reply::Group(group.clone())
    }

    /// Rows of workers that have left in good order.
    pub(crate) fn leave_behind(&mut self, workers: usize) {
        for number in 0..workers {
            let process = Process {
                worker: WorkerId::from(format!("gone-{number:05}")),
                incarnation: Incarnation::from(format!("gone-{number:05}")),
            };
            let row = WorkerRow {
                departing: Some(Departure::Release),
                departed: true,
                ..WorkerRow::starting(process, None, None, String::new())
            };
            self.workers.insert(row.id.clone(), row);
        }
    }

    pub(crate) fn bump_lineage(&mut self) {
        if let Some(group) = &mut self.group {
            group.lineage += 1;
        }
    }

    pub(crate) fn members(&self) -> Reply {
        self.members_that(|_| true)
    }

    pub(crate) fn members_present(&self) -> Reply {
        self.members_that(|row| !row.left_for_good())
    }

    fn members_that(&self, shown: impl Fn(&WorkerRow) -> bool) -> Reply {
        Reply::Members {
            group: self.group.clone(),
            workers: self.workers.values().filter(|row| shown(row)).cloned().collect(),
        }
    }

    pub(crate) fn write_lease(&mut self, write: &LeaseWrite) -> Change {
        let before = self.leases.get(write.key()).cloned();
        let written = match write.apply(before.as_ref()) {
            Ok(after) => {
                match &after {
                    Some(row) => drop(self.leases.insert(row.key.clone(), row.clone())),
                    None => drop(self.leases.remove(write.key())),
                }
                if let Some(before) = &before {
                    self.previous.insert(before.key.clone(), before.clone());
                }
                Written::Done(after)
            }
            Err(refused) => Written::Refused(refused.0.map(|row| *row)),
        };
        Change { before, written }
    }

    pub(crate) fn write_worker(&mut self, write: &WorkerWrite) -> Written<WorkerRow> {
        match write.apply(self.workers.get(write.worker())) {
            Ok(Some(row)) => {
                self.workers.insert(row.id.clone(), row.clone());
                Written::Done(Some(row))
            }
            Ok(None) => {
                self.workers.remove(write.worker());
                Written::Done(None)
            }
            Err(refused) => Written::Refused(refused.0.map(|row| *row)),
        }
    }

    /// An older version of a row, when neither it nor the present one is any business of `reader`.
    pub(crate) fn stale(&self, key: &ShardId, reader: &WorkerId) -> Option<&Lease> {
        let foreign = |row: &Lease| row.owner.as_ref() != Some(reader) && row.checkpoint_owner.as_ref() != Some(reader);
        let old = self.previous.get(key).filter(|row| foreign(row))?;
        self.leases.get(key).filter(|row| foreign(row)).map(|_| old)
    }
}
