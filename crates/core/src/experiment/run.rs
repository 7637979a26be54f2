//! A run as a whole: how it begins, holds, goes on, and what is said of it at its end.

use super::facts;
use super::round::{Round, cut};
use super::status::{Outcome, Phase, RunSummary, Status, StepResult, Verdict};
use super::timestamp::Timestamp;

impl Round<'_> {
    /// A new run forgets everything but ended runs, what the shell keeps, and what the service counts by the day.
    pub(super) fn begin_run(&mut self) {
        let old = std::mem::take(&mut self.status);
        let mut history = old.history.clone();
        if old.run_nonce.is_some() && !old.phase.ended() {
            history.push(summary(&old, Verdict::Aborted, self.now));
        }
        self.status = Status {
            phase: Phase::Setup,
            message: Some("a new run begins".to_owned()),
            run_nonce: Some(self.spec.run.nonce),
            started_at: Some(self.now),
            observed_generation: old.observed_generation,
            selector: old.selector,
            replicas: old.replicas,
            ready_replicas: old.ready_replicas,
            replicas_wanted: Some(self.spec.replicas),
            replicas_spec: Some(self.spec.replicas),
            replicas_pending: true,
            replicas_generation: old.replicas_generation,
            conditions: old.conditions,
            history,
            reshard_times: old.reshard_times,
            ..Status::default()
        };
        self.bound_history();
        self.note(format!("run {} begins", self.spec.run.nonce));
    }

    pub(super) fn abort(&mut self) {
        if let Some(index) = self.running() {
            self.end_step(index, Outcome::Aborted, Some("the run was aborted".to_owned()), false);
        }
        self.end_run(Verdict::Aborted, Some("aborted by run.state".to_owned()));
    }

    pub(super) fn hold(&mut self) {
        if self.status.paused_at.is_none() {
            self.status.paused_at = Some(self.now);
            self.status.phase = Phase::Paused;
            self.status.message = Some("held by run.state: Paused".to_owned());
            self.note("held".to_owned());
        }
        self.thaw_due();
    }

    pub(super) fn resume(&mut self) {
        let Some(since) = self.status.paused_at.take() else {
            return;
        };
        let held = self.now.since(since);
        self.status.paused_millis += u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
        self.status.phase = if self.status.steps.is_empty() {
            Phase::Setup
        } else {
            Phase::Running
        };
        if let Some(step) = self.status.steps.last_mut() {
            step.balanced_since = None;
        }
        self.note("goes on".to_owned());
    }

    /// The verdict of a run that carries out no more steps.
    pub(super) fn judge(&mut self) {
        let interfered = self.status.steps.iter().find(|step| step.interference.is_some());
        let of = |outcome| self.status.steps.iter().find(|step| step.outcome == outcome);
        let said = |step: &StepResult, what: &Option<String>| {
            format!(
                "step {}: {}",
                step.name,
                what.as_deref().unwrap_or("did not do what it should")
            )
        };
        let (verdict, message) = match (interfered, of(Outcome::Fail), of(Outcome::Inconclusive)) {
            (Some(step), _, _) => (Verdict::Inconclusive, said(step, &step.interference)),
            (None, Some(step), _) => (Verdict::Fail, said(step, &step.message)),
            (None, None, Some(step)) => (Verdict::Inconclusive, said(step, &step.message)),
            (None, None, None) => {
                let passed = match self.spec.steps.len() {
                    1 => "the one step passed".to_owned(),
                    steps => format!("all {steps} steps passed"),
                };
                (Verdict::Pass, passed)
            }
        };
        self.end_run(verdict, Some(message));
    }

    /// Ends a run whose present step cannot be judged any more.
    pub(super) fn end_run_early(&mut self, reason: String) {
        if let Some(index) = self.running() {
            self.end_step(index, Outcome::Inconclusive, Some(reason.clone()), false);
        }
        if !self.status.phase.ended() {
            let failed = self.status.steps.iter().any(|step| step.outcome == Outcome::Fail);
            let interfered = self.status.steps.iter().any(|step| step.interference.is_some());
            let verdict = if failed && !interfered {
                Verdict::Fail
            } else {
                Verdict::Inconclusive
            };
            self.end_run(verdict, Some(reason));
        }
    }

    pub(super) fn end_run(&mut self, verdict: Verdict, message: Option<String>) {
        self.skip_the_rest();
        self.status.verdict = verdict;
        self.status.phase = match verdict {
            Verdict::Pass => Phase::Succeeded,
            Verdict::Aborted => Phase::Aborted,
            Verdict::Fail | Verdict::Inconclusive | Verdict::Awaited => Phase::Failed,
        };
        self.status.finished_at = Some(self.now);
        self.status.message = message;
        self.status.paused_at = None;
        let ended = summary(&self.status, verdict, self.now);
        self.status.history.push(ended);
        self.bound_history();
        self.note(format!("run ends: {verdict:?}"));
        self.thaw_all();
    }

    pub(super) fn skip_the_rest(&mut self) {
        for step in self.spec.steps.iter().skip(self.status.steps.len()) {
            self.status.steps.push(StepResult {
                name: step.name.clone(),
                kind: step.action.kind().to_owned(),
                outcome: Outcome::Skipped,
                ..StepResult::default()
            });
        }
    }

    pub(super) fn bound_history(&mut self) {
        let above = self.status.history.len().saturating_sub(self.spec.history as usize);
        self.status.history.drain(..above);
    }
}

fn summary(status: &Status, verdict: Verdict, now: Timestamp) -> RunSummary {
    RunSummary {
        nonce: status.run_nonce.unwrap_or(0),
        verdict,
        started_at: status.started_at,
        finished_at: Some(status.finished_at.unwrap_or(now)),
        steps_passed: facts::clip(status.steps.iter().filter(|step| step.outcome == Outcome::Pass).count()),
        steps_total: facts::clip(status.steps.len()),
        message: status.message.clone().map(cut),
        report: status.report.clone(),
    }
}
