//! The ten kinds of step: what each plans, what it does with its plan, and when it is done.

mod measure;
mod pods;
mod reshard;
mod wait;

pub(super) use pods::ordinal;

use std::time::Duration;

use super::assertion::{self, Facts};
use super::round::Round;
use super::spec::{Action, Assertion};
use super::status::{Outcome, Plan};

/// A record that is neither delivered nor overdue after this time, with what the audit's rows may lag behind, says that
/// the audit cannot be read.
const JUDGED_WITHIN: Duration = Duration::from_secs(60);

/// How a step stands.
pub(super) enum Progress {
    /// Not done; what it waits for.
    Waiting(String),
    /// Done, and how.
    Done(Outcome, Option<String>),
}

impl Progress {
    fn pass() -> Self {
        Self::Done(Outcome::Pass, None)
    }
}

impl Round<'_> {
    /// Writes down what the step will do. Gives no effect; without sight of what it needs, it waits.
    pub(super) fn make_plan(&mut self, index: usize) -> Progress {
        let spec = self.spec;
        let plan = match &spec.steps[index].action {
            Action::Split { count, select } => self.plan_splits(*count, select),
            Action::Merge { count } => self.plan_merges(*count),
            Action::UpdateShardCount { target } => self.plan_target(*target),
            Action::KillPod { count, select, .. } | Action::FreezePod { count, select, .. } => {
                self.plan_pods(index, *count, *select)
            }
            Action::Scale { replicas } => {
                self.status.replicas_wanted = Some(*replicas);
                self.status.replicas_pending = self.world.replicas.wanted != *replicas;
                Ok(Plan {
                    replicas: Some(*replicas),
                    ..Plan::default()
                })
            }
            Action::Producer { records_per_second } => {
                self.status.producer_rate = Some(*records_per_second);
                Ok(Plan {
                    records_per_second: Some(*records_per_second),
                    ..Plan::default()
                })
            }
            Action::Pause { .. } | Action::WaitUntilBalanced { .. } | Action::Assert { .. } => Ok(Plan::default()),
        };
        match plan {
            Ok(plan) => {
                self.status.steps[index].plan = Some(plan);
                if self.status.steps[index].started_at != Some(self.now) {
                    self.note(format!("step {} is planned", spec.steps[index].name));
                }
                Progress::Waiting("planned".to_owned())
            }
            Err(progress) => progress,
        }
    }

    /// Carries the step on.
    pub(super) fn advance(&mut self, index: usize) -> Progress {
        if let Some(failure) = self.world.failures.iter().find(|failure| failure.lasting) {
            let message = format!("{} was refused: {}", failure.effect, failure.message);
            return Progress::Done(Outcome::Inconclusive, Some(message));
        }
        if self.status.steps[index].plan.is_none() {
            return self.make_plan(index);
        }
        let spec = self.spec;
        match &spec.steps[index].action {
            Action::Split { .. } => self.split(index),
            Action::Merge { .. } => self.merge(index),
            Action::UpdateShardCount { target } => self.update_shard_count(*target),
            Action::Scale { .. } => self.scale(),
            Action::KillPod { mode, restart, .. } => self.kill(index, *mode, *restart),
            Action::FreezePod { lasting, .. } => self.freeze(index, *lasting),
            Action::Pause { lasting } => self.pause(index, *lasting),
            Action::Producer { records_per_second } => self.set_producer(*records_per_second),
            Action::WaitUntilBalanced {
                max_imbalance,
                max_per_worker,
                stable_for,
            } => self.wait(index, *max_imbalance, *max_per_worker, *stable_for),
            Action::Assert { all } => self.assert(index, all),
        }
    }

    /// The effect itself is a standing wish of the run.
    fn scale(&mut self) -> Progress {
        let wanted = self.status.replicas_wanted.unwrap_or_default();
        match self.all_workers_stand(wanted) {
            Ok(()) if !self.status.replicas_pending => Progress::pass(),
            Ok(()) => Progress::Waiting(format!("waiting for {wanted} workers")),
            Err(message) => Progress::Waiting(message),
        }
    }

    fn pause(&self, index: usize, lasting: Duration) -> Progress {
        if self.step_elapsed(index) >= lasting {
            return Progress::pass();
        }
        Progress::Waiting(format!("letting {lasting:?} pass"))
    }

    /// The effect itself is a standing wish of the run.
    fn set_producer(&self, records_per_second: u32) -> Progress {
        if self.world.producer_rate.unwrap_or(0) == records_per_second {
            return Progress::pass();
        }
        Progress::Waiting(format!(
            "waiting for the producer to send {records_per_second} records per second"
        ))
    }

    /// Holds as soon as all assertions do; what is seen may lag behind what is so, up to the step's timeout.
    ///
    /// One about records is not judged before every record that was sent before it is delivered or overdue.
    fn assert(&mut self, index: usize, all: &[Assertion]) -> Progress {
        if self.unjudged(index) {
            let begun = self.status.steps[index].started_at;
            if self.world.records.judged_to < begun {
                let message = "waiting until the records that were sent before it are delivered or overdue";
                return Progress::Waiting(message.to_owned());
            }
            self.status.steps[index].judged_since = Some(self.now);
        }
        let facts = Facts::of(self.world, &self.status, &self.census, self.now);
        let failed: Vec<String> = all
            .iter()
            .filter_map(|one| {
                assertion::evaluate(&one.expr, &facts)
                    .err()
                    .map(|why| format!("{}: {why}", one.name))
            })
            .collect();
        if failed.is_empty() {
            Progress::pass()
        } else {
            Progress::Waiting(failed.join("; "))
        }
    }

    /// Whether a step has used up its time. That of an assertion about records begins when it can be judged.
    pub(super) fn out_of_step_time(&self, index: usize) -> bool {
        let result = &self.status.steps[index];
        let spent = match result.judged_since {
            Some(since) => self.elapsed(since, result.paused_millis_before),
            None => self.step_elapsed(index),
        };
        spent >= self.step_limit(index)
    }

    /// How long a step may take; an assertion about records, until it can be judged.
    fn step_limit(&self, index: usize) -> Duration {
        let step = &self.spec.steps[index];
        if self.unjudged(index) {
            step.timeout.max(JUDGED_WITHIN)
        } else {
            step.timeout
        }
    }

    /// Whether a step is an assertion about records that cannot be judged yet.
    fn unjudged(&self, index: usize) -> bool {
        let Action::Assert { all } = &self.spec.steps[index].action else {
            return false;
        };
        about_records(all) && self.status.steps[index].judged_since.is_none()
    }

    /// How a step ends that ran out of time: it failed where all that it needs from outside was there.
    pub(super) fn timed_out(&self, index: usize, waiting_for: &str) -> (Outcome, String) {
        let step = &self.spec.steps[index];
        let refused = self
            .world
            .failures
            .first()
            .map(|failure| format!("; {} was refused: {}", failure.effect, failure.message));
        let message = format!(
            "not within {:?}: {waiting_for}{}",
            self.step_limit(index),
            refused.unwrap_or_default()
        );
        match step.action {
            Action::Assert { .. } if self.unjudged(index) => (Outcome::Inconclusive, message),
            Action::Assert { .. } => (Outcome::Fail, waiting_for.to_owned()),
            Action::WaitUntilBalanced { .. } => {
                match self.all_workers_stand(self.status.replicas_wanted.unwrap_or(self.spec.replicas)) {
                    Ok(()) => (Outcome::Fail, message),
                    Err(workers) => (Outcome::Inconclusive, format!("{message}; {workers}")),
                }
            }
            _ => (Outcome::Inconclusive, message),
        }
    }
}

/// Whether some assertion is about the delivery of records.
pub(super) fn about_records(all: &[Assertion]) -> bool {
    all.iter().any(|one| assertion::names_records(&one.expr))
}
