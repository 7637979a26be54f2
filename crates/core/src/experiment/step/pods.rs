//! Ending and stopping processes of workers.

use std::cmp::Reverse;
use std::time::Duration;

use super::super::effect::Effect;
use super::super::facts;
use super::super::round::Round;
use super::super::spec::{Action, KillMode, PodSelect, Restart};
use super::super::status::{Outcome, Plan, PlannedPod};
use super::super::world::WorkerFacts;
use super::Progress;
use crate::balance::stable_hash;
use crate::id::WorkerId;

impl Round<'_> {
    pub(super) fn plan_pods(&self, index: usize, count: u32, select: PodSelect) -> Result<Plan, Progress> {
        let mut able: Vec<(&WorkerFacts, PlannedPod)> = self
            .world
            .workers
            .iter()
            .filter(|worker| worker.live && !worker.frozen && !worker.departing)
            .filter_map(|worker| {
                let incarnation = worker.incarnation.clone()?;
                Some((
                    worker,
                    PlannedPod {
                        worker: worker.id.clone(),
                        incarnation,
                    },
                ))
            })
            .collect();
        if able.len() < count as usize {
            let message = format!(
                "waiting for {count} live workers to choose from; there are {}",
                able.len()
            );
            return Err(Progress::Waiting(message));
        }
        let leases = |id: &WorkerId| self.census.by_live_worker.get(id).copied().unwrap_or(0);
        let lot = |id: &WorkerId| {
            let nonce = self.spec.run.nonce.to_string();
            stable_hash(&[&nonce, &self.spec.steps[index].name, id.as_str()])
        };
        able.sort_by_key(|(worker, _)| {
            let rank = match select {
                PodSelect::MostLeases => Reverse(u64::from(leases(&worker.id))),
                PodSelect::Random => Reverse(lot(&worker.id)),
                PodSelect::HighestOrdinal => Reverse(ordinal(&worker.id)),
            };
            (rank, worker.id.clone())
        });
        let pods = able.into_iter().take(count as usize).map(|(_, pod)| pod).collect();
        Ok(Plan {
            pods,
            ..Plan::default()
        })
    }

    pub(super) fn kill(&mut self, index: usize, mode: KillMode, restart: Restart) -> Progress {
        let left: Vec<PlannedPod> = self
            .pods(index)
            .into_iter()
            .filter(|pod| self.alive(pod).is_some())
            .collect();
        if left.is_empty() {
            return Progress::pass();
        }
        let names: Vec<_> = left.iter().map(|pod| pod.worker.to_string()).collect();
        self.effects
            .extend(left.into_iter().map(|pod| Effect::Kill { pod, mode, restart }));
        Progress::Waiting(format!("waiting for the end of {}", names.join(", ")))
    }

    pub(super) fn freeze(&mut self, index: usize, lasting: Duration) -> Progress {
        let pods = self.pods(index);
        let Some(since) = self.status.steps[index].plan.as_ref().and_then(|plan| plan.frozen_at) else {
            return self.stop(index, pods, lasting);
        };
        if self.now.since(since) < lasting {
            return Progress::Waiting(format!("standing still for {lasting:?}"));
        }
        let frozen: Vec<PlannedPod> = pods.into_iter().filter(|pod| self.frozen(pod)).collect();
        if frozen.is_empty() {
            return Progress::pass();
        }
        self.effects.extend(frozen.into_iter().map(|pod| Effect::Thaw { pod }));
        Progress::Waiting("letting them go on".to_owned())
    }

    fn stop(&mut self, index: usize, pods: Vec<PlannedPod>, lasting: Duration) -> Progress {
        let left: Vec<PlannedPod> = pods
            .iter()
            .filter(|pod| self.present(pod) && !self.frozen(pod))
            .cloned()
            .collect();
        if !left.is_empty() {
            let milliseconds = u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX);
            self.effects
                .extend(left.into_iter().map(|pod| Effect::Freeze { pod, milliseconds }));
            return Progress::Waiting("waiting for the processes to stand still".to_owned());
        }
        if !pods.iter().any(|pod| self.frozen(pod)) {
            let message = "the processes to stop ended by themselves".to_owned();
            return Progress::Done(Outcome::Inconclusive, Some(message));
        }
        let now = self.now;
        if let Some(plan) = &mut self.status.steps[index].plan {
            plan.frozen_at = Some(now);
        }
        self.note("the processes stand still".to_owned());
        Progress::Waiting(format!("standing still for {lasting:?}"))
    }

    /// Lets go on, while the run is on hold, what has stood still long enough.
    pub(in crate::experiment) fn thaw_due(&mut self) {
        let Some(index) = self.running() else { return };
        let spec = self.spec;
        if let Action::FreezePod { lasting, .. } = &spec.steps[index].action
            && self.status.steps[index]
                .plan
                .as_ref()
                .is_some_and(|plan| plan.frozen_at.is_some())
        {
            let _ = self.freeze(index, *lasting);
        }
    }

    /// Lets everything go on that this run has stopped.
    pub(in crate::experiment) fn thaw_all(&mut self) {
        let planned = self.status.steps.iter().filter(|step| step.kind == "freezePod");
        let pods: Vec<PlannedPod> = planned
            .filter_map(|step| step.plan.as_ref())
            .flat_map(|plan| plan.pods.clone())
            .collect();
        let frozen = pods.into_iter().filter(|pod| self.frozen(pod));
        let thaws: Vec<Effect> = frozen.map(|pod| Effect::Thaw { pod }).collect();
        self.effects.extend(thaws);
    }

    /// How many workers were ended for good since the number of workers was last set.
    pub(in crate::experiment) fn lost(&self) -> u32 {
        let steps = self.spec.steps.iter().zip(&self.status.steps);
        let since_scaled = steps
            .rev()
            .take_while(|(step, _)| !matches!(step.action, Action::Scale { .. }));
        let for_good = since_scaled.filter(|(step, _)| {
            let never = Restart::Never;
            matches!(step.action, Action::KillPod { restart, .. } if restart == never)
        });
        let pods = for_good
            .filter_map(|(_, result)| result.plan.as_ref())
            .flat_map(|plan| &plan.pods);
        facts::clip(pods.filter(|pod| self.alive(pod).is_none()).count())
    }

    fn pods(&self, index: usize) -> Vec<PlannedPod> {
        self.status.steps[index]
            .plan
            .as_ref()
            .map(|plan| plan.pods.clone())
            .unwrap_or_default()
    }

    fn worker(&self, pod: &PlannedPod) -> Option<&WorkerFacts> {
        self.world
            .workers
            .iter()
            .find(|worker| worker.id == pod.worker && worker.incarnation.as_ref() == Some(&pod.incarnation))
    }

    fn alive(&self, pod: &PlannedPod) -> Option<&WorkerFacts> {
        self.worker(pod).filter(|worker| worker.live)
    }

    /// A process that stands still longer than the failover time is live no more, and still there.
    fn present(&self, pod: &PlannedPod) -> bool {
        self.worker(pod).is_some_and(|worker| worker.live || worker.frozen)
    }

    fn frozen(&self, pod: &PlannedPod) -> bool {
        self.worker(pod).is_some_and(|worker| worker.frozen)
    }
}

/// The number at the end of a pod's name.
pub(in crate::experiment) fn ordinal(id: &WorkerId) -> u64 {
    id.as_str()
        .rsplit('-')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
