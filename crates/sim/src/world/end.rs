//! What is true at the end, for the checks.

use super::World;
use crate::checks;

impl World<'_> {
    /// What is true at the end, for the checks.
    pub(super) fn final_view(&self) -> checks::Final {
        let rate = self.scenario.rate;
        let live: Vec<usize> = (0..self.processes.len()).filter(|p| self.processes[*p].alive).collect();
        checks::Final {
            produced: self
                .shards
                .iter()
                .map(|shard| (shard.id.clone(), shard.records(self.now, rate, self.last_record())))
                .collect(),
            open: self
                .shards
                .iter()
                .filter(|shard| shard.closed.is_none())
                .map(|shard| shard.id.clone())
                .collect(),
            live: live
                .iter()
                .map(|process| self.processes[*process].identity.clone())
                .collect(),
            delivering: live
                .iter()
                .flat_map(|process| {
                    let actor = &self.processes[*process];
                    let keys = actor.consumers.keys().filter(|key| actor.delivers(key, self.now));
                    keys.map(|key| (key.clone(), actor.identity.worker.clone()))
                })
                .collect(),
            rows: self.database.leases.clone(),
        }
    }
}
