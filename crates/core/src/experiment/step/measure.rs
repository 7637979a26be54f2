//! What is measured when a step ends.

use super::super::facts;
use super::super::round::Round;
use super::super::spec::Action;
use super::super::timestamp::Timestamp;
use super::about_records;

impl Round<'_> {
    /// From when a step's moves count. A wait answers for all that was done since the wait before it: leases move while
    /// the workers of a scale step are still starting.
    pub(in crate::experiment) fn counted_from(&self, index: usize) -> Timestamp {
        let wait = |index: usize| matches!(self.spec.steps[index].action, Action::WaitUntilBalanced { .. });
        if !wait(index) {
            return self.now;
        }
        let last_wait = (0..index.min(self.status.steps.len()))
            .rev()
            .find(|&before| wait(before));
        let from = match last_wait {
            Some(before) => self.status.steps[before].finished_at,
            None => self.status.started_at,
        };
        from.unwrap_or(self.now)
    }

    /// From when a wait's convergence counts, and how long the run had been held before: the first action since the wait
    /// before it, the time when the workers stood for the first wait of all, or else its own beginning.
    pub(in crate::experiment) fn converges_from(&self, index: usize) -> (Timestamp, u64) {
        let steps = self.spec.steps.iter().zip(&self.status.steps).take(index);
        let mut first = true;
        let mut acted = None;
        for (step, result) in steps {
            match step.action {
                Action::WaitUntilBalanced { .. } => (first, acted) = (false, None),
                // Records change nothing about who reads what.
                Action::Producer { .. } => {}
                _ => acted = acted.or(result.acted_at.map(|at| (at, result.paused_millis_before))),
            }
        }
        let ready = self.status.readers_awaited.filter(|_| first).map(|at| (at, 0));
        let own = &self.status.steps[index];
        let begun = (own.started_at.unwrap_or(self.now), own.paused_millis_before);
        acted.or(ready).unwrap_or(begun)
    }

    pub(in crate::experiment) fn measure(&mut self, index: usize) {
        let from = self.status.steps[index].counted_from.unwrap_or(self.now);
        let children_wait = self.spec.consumers.process_parent_shard_before_children;
        let (moves, minimum) = facts::moves_since(self.world, &self.census, children_wait, from);
        let missing = match &self.spec.steps[index].action {
            Action::Assert { all } if about_records(all) => Some(self.world.records.missing),
            _ => None,
        };
        let step = &mut self.status.steps[index];
        step.missing = missing;
        step.leases_per_worker.clone_from(&self.census.by_live_worker);
        step.imbalance = Some(self.census.imbalance());
        step.moves = Some(moves);
        step.moves_minimum = Some(minimum);
        step.unread_seconds_max = Some(facts::unread_max(self.world, Some(from), self.now));
        step.stream = Some(facts::stream_summary(self.world));
    }
}
