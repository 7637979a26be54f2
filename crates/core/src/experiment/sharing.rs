//! What the run shares with others: the number of workers and the stream. Somebody else's changes stand (or are undone, as
//! the policy says), are never mistaken for the run's own that are under way, and are told in the verdict.

use std::time::Duration;

use super::effect::Effect;
use super::facts;
use super::round::Round;
use super::spec::ScalePolicy;
use super::status::{Outcome, Status};
use super::step::ordinal;
use super::world::ProcessEnd;

/// How long a worker that was scaled away may take to end: longer than the grace period of its pod (35 s).
const LEAVES_WITHIN: Duration = Duration::from_secs(60);

impl Round<'_> {
    /// Somebody else's scaling stands (or not), and is never mistaken for one's own that is under way.
    pub(super) fn share_scaling(&mut self) {
        let seen = &self.world.replicas;
        if seen.generation < self.status.replicas_generation {
            return;
        }
        self.status.replicas_generation = seen.generation;
        self.follow_manifest();
        let Some(wanted) = self.status.replicas_wanted else {
            return;
        };
        let setting_up = self.status.steps.is_empty() && !self.status.phase.ended();
        if seen.wanted == wanted {
            self.status.replicas_pending = false;
        } else if setting_up || self.status.replicas_pending {
            self.status.replicas_pending = true;
        } else {
            let who = seen.by.as_deref().unwrap_or("somebody");
            let what = format!("{who} scaled the workers from {wanted} to {}", seen.wanted);
            match self.spec.consumers.scale_policy {
                ScalePolicy::Enforce => self.status.replicas_pending = true,
                ScalePolicy::Follow => self.status.replicas_wanted = Some(seen.wanted),
                ScalePolicy::Mirror => {
                    self.status.replicas_wanted = Some(seen.wanted);
                    self.status.replicas_mirror = Some(seen.wanted);
                }
            }
            self.interfere(what);
        }
    }

    /// A change of `spec.replicas` is a wish of its own; what was copied there is none.
    pub(super) fn follow_manifest(&mut self) {
        let asked = self.spec.replicas;
        if self.status.replicas_spec.is_none_or(|known| known == asked) {
            return;
        }
        self.status.replicas_spec = Some(asked);
        let copied = self.status.replicas_mirror.take() == Some(asked);
        if !copied && self.status.replicas_wanted != Some(asked) {
            let before = self.status.replicas_wanted.unwrap_or_default();
            self.status.replicas_wanted = Some(asked);
            self.status.replicas_pending = true;
            self.interfere(format!(
                "the manifest's replicas were changed to {asked} (the run wanted {before})"
            ));
        }
    }

    /// Ends of processes that no step asked for: a drain, an eviction, a crash, a kill by hand.
    pub(super) fn look_for_losses(&mut self) {
        let Some(newest) = self.world.ends.iter().map(|end| end.at).max() else {
            return;
        };
        let seen = self.status.ends_seen.replace(newest);
        let setting_up = self.status.steps.is_empty();
        if setting_up || self.status.phase.ended() {
            return;
        }
        let new = |end: &&ProcessEnd| seen.is_none_or(|seen| end.at > seen);
        let unasked = self.world.ends.iter().filter(new).filter(|end| !self.asked_for(end));
        let unasked: Vec<String> = unasked
            .map(|end| format!("worker {} ended, which no step asked for: {}", end.worker, end.why))
            .collect();
        for what in unasked {
            self.interfere(what);
        }
    }

    /// Whether a step killed or froze the process, or its worker was scaled away.
    fn asked_for(&self, end: &ProcessEnd) -> bool {
        let plans = || {
            let steps = self.status.steps.iter();
            steps.filter_map(|step| Some((step, step.plan.as_ref()?)))
        };
        let ordinal = ordinal(&end.worker);
        let above = |replicas: Option<u32>| replicas.is_some_and(|replicas| ordinal >= u64::from(replicas));
        plans().any(|(_, plan)| plan.pods.iter().any(|pod| pod.incarnation == end.incarnation))
            || above(self.status.replicas_wanted)
            || plans().any(|(step, plan)| {
                let late = step.finished_at.map_or(Duration::ZERO, |at| end.at.since(at));
                above(plan.replicas) && late <= LEAVES_WITHIN
            })
    }

    /// Shards that no plan of this run explains.
    pub(super) fn look_for_resharding(&mut self) {
        let total = facts::clip(self.world.stream.shards.len());
        let counting = self.running().is_some_and(|index| {
            self.status.steps[index]
                .plan
                .as_ref()
                .is_some_and(|p| p.target.is_some())
        });
        match self.status.shards_expected {
            Some(expected) if facts::active(self.world) && total > expected && !counting => {
                self.status.shards_expected = Some(total);
                self.interfere(format!(
                    "somebody resharded the stream: {total} shards in all instead of {expected}"
                ));
            }
            _ => {}
        }
    }

    /// What has to be so as long as the run wants it, and was wanted in the status that is stored.
    pub(super) fn standing_wishes(&mut self, stored: &Status) {
        let setting_up = self.status.steps.is_empty() && !self.status.phase.ended();
        let wanted = stored
            .replicas_wanted
            .filter(|_| stored.replicas_pending && self.status.replicas_pending);
        if let Some(replicas) = wanted.filter(|_| !setting_up && stored.replicas_wanted == self.status.replicas_wanted)
        {
            self.effects.push(Effect::Scale { replicas });
        }
        if let Some(replicas) = stored
            .replicas_mirror
            .filter(|_| stored.replicas_mirror == self.status.replicas_mirror)
        {
            self.effects.push(Effect::MirrorReplicas { replicas });
        }
        let told = self.world.producer_rate.unwrap_or(0);
        let rate = stored
            .producer_rate
            .filter(|_| stored.producer_rate == self.status.producer_rate);
        if let Some(records_per_second) = rate.filter(|&rate| rate != told && !self.status.phase.ended()) {
            self.effects.push(Effect::SetProducer { records_per_second });
        }
    }

    pub(super) fn interfere(&mut self, what: String) {
        if let Some(step) = self
            .status
            .steps
            .last_mut()
            .filter(|step| step.outcome == Outcome::Running)
        {
            step.interference.get_or_insert_with(|| what.clone());
        }
        self.record(what, true);
    }
}
