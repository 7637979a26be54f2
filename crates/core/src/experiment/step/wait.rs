//! Waiting for balance.

use std::time::Duration;

use super::super::facts::seconds;
use super::super::round::Round;
use super::super::status::Outcome;
use super::Progress;
use crate::id::ShardId;

impl Round<'_> {
    pub(super) fn wait(
        &mut self,
        index: usize,
        imbalance_max: u32,
        per_worker_max: Option<u32>,
        stable_for: Duration,
    ) -> Progress {
        if let Err(why) = self.balanced(imbalance_max, per_worker_max) {
            self.status.steps[index].balanced_since = None;
            return Progress::Waiting(why);
        }
        let now = self.now;
        let first = self.status.steps[index].balanced_since.is_none();
        let since = *self.status.steps[index].balanced_since.get_or_insert(now);
        let held_up = now.since(since);
        if first {
            self.note("balance is reached".to_owned());
        }
        if held_up < stable_for {
            return Progress::Waiting(format!("balanced; it has to last {stable_for:?}"));
        }
        let (from, paused_before) = self.converges_from(index);
        let took = self.elapsed(from, paused_before).saturating_sub(held_up);
        self.status.steps[index].convergence_seconds = Some(seconds(took));
        Progress::Done(Outcome::Pass, None)
    }

    /// What is missing for balance.
    fn balanced(&self, imbalance_max: u32, per_worker_max: Option<u32>) -> Result<(), String> {
        self.all_workers_stand(self.status.replicas_wanted.unwrap_or(self.spec.replicas))?;
        let census = &self.census;
        if census.active == 0 {
            return Err("there are no leases yet".to_owned());
        }
        // A shard without a row is one that nobody reads.
        let rows = |id: &ShardId| self.world.leases.iter().any(|lease| lease.key == *id);
        if let Some(shard) = self
            .world
            .stream
            .shards
            .iter()
            .find(|shard| shard.open && !rows(&shard.id))
        {
            return Err(format!("shard {} has no lease yet", shard.id));
        }
        if census.unassigned() > 0 {
            return Err(format!(
                "{} of {} leases have no live owner",
                census.unassigned(),
                census.active
            ));
        }
        if census.imbalance() > imbalance_max {
            return Err(format!(
                "the imbalance is {}, and {imbalance_max} is allowed",
                census.imbalance()
            ));
        }
        if let Some(most) = per_worker_max.filter(|&most| census.max() > most) {
            return Err(format!("a worker has {} leases, and {most} are allowed", census.max()));
        }
        if census.pending > 0 {
            return Err(format!("{} leases are being handed over", census.pending));
        }
        Ok(())
    }
}
