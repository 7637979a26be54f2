//! A worker of the Java library among the members: it knows nothing of worker rows, incarnations and epochs.

use std::time::Duration;

use kinex_core::id::{Epoch, Incarnation, WorkerId};

use crate::history::{Entry, Who};
use crate::world::{Happening, World};

const NAME: &str = "java";

impl World<'_> {
    /// Its rows, as that library writes them.
    pub(crate) fn foreign_begins(&mut self) {
        let Some(foreign) = self.scenario.foreign else { return };
        let failover_after = self.scenario.config.failover_after;
        for row in self.database.leases.values_mut().take(foreign.leases) {
            row.owner = Some(NAME.into());
            row.epoch = Epoch(0);
            row.counter = 10;
            self.foreign.insert(row.key.clone(), (row.counter, failover_after));
        }
        self.after(foreign.renew_every, Happening::Foreign);
    }

    /// Renews every lease that nobody took and nobody asks for.
    pub(crate) fn foreign_renews(&mut self) {
        let Some(foreign) = self.scenario.foreign else { return };
        if self.now >= foreign.dies_at {
            self.record(Entry::Fault(format!("{NAME} dies")));
            return self.foreign.clear();
        }
        let until = self.now + self.scenario.config.failover_after;
        for (key, (counter, window)) in &mut self.foreign {
            let Some(row) = self.database.leases.get_mut(key) else {
                continue;
            };
            if row.counter == *counter && row.checkpoint_owner.is_none() {
                row.counter += 1;
                (*counter, *window) = (row.counter, until);
            }
        }
        self.after(foreign.renew_every, Happening::Foreign);
    }

    /// It, when it may deliver this shard now.
    pub(crate) fn foreign_rival(&self, key: &kinex_core::id::ShardId) -> Option<Who> {
        let (_, until): &(u64, Duration) = self.foreign.get(key)?;
        (self.now < *until).then(|| Who {
            worker: WorkerId::from(NAME),
            incarnation: Incarnation::from(NAME),
            epoch: Epoch(0),
        })
    }
}
