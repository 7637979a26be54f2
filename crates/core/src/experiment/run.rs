//! A run as a whole: how it begins, holds, goes on, and what is said of it at its end.

use super::assertion::{self, Facts};
use super::round::{Round, cut};
use super::spec::Action;
use super::status::{Agreed, Outcome, Phase, RunSummary, Status, StepResult, Verdict};
use super::timestamp::Timestamp;
use super::world::{RecordFacts, World};
use super::{conditions, facts};

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
            agreed: Some(Agreed::of(self.spec)),
            started_at: Some(self.now),
            observed_generation: old.observed_generation,
            selector: old.selector,
            operator: old.operator,
            replicas: old.replicas,
            ready_replicas: old.ready_replicas,
            replicas_wanted: Some(self.spec.replicas),
            replicas_spec: Some(self.spec.replicas),
            replicas_pending: true,
            replicas_generation: old.replicas_generation,
            conditions: old.conditions,
            created: old.created,
            history,
            reshard_times: old.reshard_times,
            ..Status::default()
        };
        self.bound_history();
        conditions::update_run(self);
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

    /// Takes back a Pass that the audit of the whole run contradicts; says whether it did.
    ///
    /// An assertion about records was judged by what was sent before it. What was sent later, or was lost later, shows
    /// in the last audit only: an assertion that holds with nothing missing, and not with what is missing, has failed.
    pub(super) fn overrule(&mut self) -> bool {
        let lost = self.world.records.clone();
        if self.status.verdict != Verdict::Pass || lost.missing == 0 {
            return false;
        }
        let whole = World {
            records: RecordFacts {
                delivered: lost.delivered + lost.missing,
                missing: 0,
                ..lost.clone()
            },
            ..self.world.clone()
        };
        let facts = |world: &World| Facts::of(world, &self.status, &self.census, self.now);
        let (whole, found) = (facts(&whole), facts(self.world));
        let steps = self.spec.steps.iter().enumerate();
        let broken = steps.filter_map(|(index, step)| match &step.action {
            Action::Assert { all } => Some((index, all)),
            _ => None,
        });
        let broken = broken.flat_map(|(index, all)| all.iter().map(move |one| (index, one)));
        let broken = broken.filter(|(_, one)| assertion::names_records(&one.expr));
        let judged = broken.filter_map(|(index, one)| {
            let holds = |facts: &Facts| assertion::evaluate(&one.expr, facts).is_ok();
            match (holds(&whole), holds(&found)) {
                (_, true) => None,
                (true, false) => Some((Verdict::Fail, index, one)),
                // What else it names was so in its step, and is no more.
                (false, false) => Some((Verdict::Inconclusive, index, one)),
            }
        });
        let Some((verdict, index, one)) = judged.min_by_key(|(verdict, ..)| *verdict != Verdict::Fail) else {
            return false;
        };
        let then = self.status.steps[index].missing.unwrap_or(0);
        let message = format!(
            "{}: `{}` was judged with {then} records missing, and the last audit found {} of {} missing",
            one.name, one.expr, lost.missing, lost.produced
        );
        let step = &mut self.status.steps[index];
        step.outcome = match verdict {
            Verdict::Fail => Outcome::Fail,
            _ => Outcome::Inconclusive,
        };
        step.message = Some(message.clone());
        let message = format!("step {}: {message}", step.name);
        self.status.verdict = verdict;
        self.status.phase = Phase::Failed;
        self.status.message = Some(message);
        let ended = summary(&self.status, verdict, self.now);
        if let Some(last) = self.status.history.last_mut().filter(|last| last.nonce == ended.nonce) {
            *last = ended;
        }
        self.note(format!("the last audit overrules: {verdict:?}"));
        conditions::update(self);
        true
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
