//! One decision: what is seen goes in, the run is carried one step further, what to do comes out.

use std::time::Duration;

use super::effect::Effect;
use super::facts::{self, Census};
use super::spec::{OnFailure, RunState, ScalePolicy, Spec};
use super::status::{Outcome, Phase, RunSummary, Status, StepResult, TimelineEntry, Verdict};
use super::step::Progress;
use super::timestamp::Timestamp;
use super::world::World;
use super::{Decision, conditions};

/// How long a text in the status may be; the definition of the custom resource has 4096.
const TEXT_MAX: usize = 2_000;
/// How many entries of the timeline are kept.
const TIMELINE_MAX: usize = 50;
/// How long Setup may take: creating a stream and starting a fleet on a cold cluster.
const SETUP_TIMEOUT: Duration = Duration::from_secs(15 * 60);

pub(super) struct Round<'a> {
    pub(super) spec: &'a Spec,
    pub(super) world: &'a World,
    pub(super) now: Timestamp,
    pub(super) status: Status,
    pub(super) effects: Vec<Effect>,
    pub(super) census: Census,
}

impl<'a> Round<'a> {
    pub(super) fn new(spec: &'a Spec, status: &Status, world: &'a World, now: Timestamp) -> Self {
        Self {
            spec,
            world,
            now,
            status: status.clone(),
            effects: Vec::new(),
            census: Census::of(world, spec.consumers.process_parent_shard_before_children),
        }
    }

    pub(super) fn decide(mut self) -> Decision {
        let stored = self.status.clone();
        if self.run_is_asked_for() {
            self.begin_run();
        } else if let Some(why) = self.blind() {
            self.let_time_pass(&why);
        } else {
            self.look();
            self.carry_on();
            conditions::update(&mut self);
            self.standing_wishes(&stored);
        }
        self.status.message = self.status.message.take().map(cut);
        for step in &mut self.status.steps {
            step.message = step.message.take().map(cut);
            step.interference = step.interference.take().map(cut);
        }
        Decision {
            status: self.status,
            effects: self.effects,
        }
    }

    fn run_is_asked_for(&self) -> bool {
        self.status.run_nonce.is_none_or(|nonce| nonce < self.spec.run.nonce)
    }

    /// A new run forgets everything but ended runs, what the shell keeps, and what the service counts by the day.
    fn begin_run(&mut self) {
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

    /// Why what was seen cannot be trusted.
    fn blind(&self) -> Option<String> {
        let plans = self.status.steps.iter().filter_map(|step| step.plan.as_ref());
        let done = plans.flat_map(|plan| {
            let splits = plan.splits.iter().filter(|split| split.done).map(|split| &split.shard);
            splits.chain(plan.merges.iter().filter(|merge| merge.done).map(|merge| &merge.shard))
        });
        let mut done = done;
        let reopened = done.find(|id| {
            self.world
                .stream
                .shards
                .iter()
                .any(|shard| shard.open && shard.id == **id)
        });
        match (&self.world.unseen, reopened) {
            (Some(why), _) => Some(format!("cannot see the world: {why}")),
            (None, Some(id)) => Some(format!("what was read is old: it shows {id} open again")),
            (None, None) => None,
        }
    }

    /// Without sight only the clock counts: steps and runs can run out of time, and a run can be given up.
    fn let_time_pass(&mut self, why: &str) {
        if self.status.phase.ended() {
            return;
        }
        if self.spec.run.state == RunState::Aborted {
            return self.abort();
        }
        if self.spec.run.state == RunState::Paused {
            return self.hold();
        }
        self.resume();
        self.status.message = Some(why.to_owned());
        if let Some(reason) = self.out_of_time() {
            self.end_run_early(format!("{reason}; {why}"));
        } else if let Some(index) = self.running()
            && self.step_elapsed(index) >= self.spec.steps[index].timeout
        {
            self.end_step(index, Outcome::Inconclusive, Some(why.to_owned()), false);
        }
    }

    fn look(&mut self) {
        let stream = facts::stream_summary(self.world);
        self.status.stream = Some(stream);
        self.status.leases = Some(self.census.summary());
        self.status.replicas = self.world.replicas.present;
        self.status.ready_replicas = facts::clip(self.world.workers.iter().filter(|w| w.live && w.ready).count());
        self.share_scaling();
    }

    fn carry_on(&mut self) {
        if self.status.phase.ended() {
            return self.thaw_all();
        }
        match self.spec.run.state {
            RunState::Aborted => self.abort(),
            RunState::Paused => self.hold(),
            RunState::Running => {
                self.resume();
                if let Some(reason) = self.out_of_time() {
                    return self.end_run_early(reason);
                }
                match self.status.phase {
                    Phase::Setup => self.setup(),
                    _ => self.steps(),
                }
                if !self.status.phase.ended() {
                    self.look_for_resharding();
                }
            }
        }
    }

    fn abort(&mut self) {
        if let Some(index) = self.running() {
            self.end_step(index, Outcome::Aborted, Some("the run was aborted".to_owned()), false);
        }
        self.end_run(Verdict::Aborted, Some("aborted by run.state".to_owned()));
    }

    fn hold(&mut self) {
        if self.status.paused_at.is_none() {
            self.status.paused_at = Some(self.now);
            self.status.phase = Phase::Paused;
            self.status.message = Some("held by run.state: Paused".to_owned());
            self.note("held".to_owned());
        }
        self.thaw_due();
    }

    fn resume(&mut self) {
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

    /// Why the run as a whole has to end now.
    fn out_of_time(&self) -> Option<String> {
        let elapsed = self.elapsed(self.status.started_at?, 0);
        if self.spec.run.deadline.is_some_and(|deadline| elapsed >= deadline) {
            return Some("the run's deadline has passed".to_owned());
        }
        let setup = self.status.phase == Phase::Setup && elapsed >= SETUP_TIMEOUT;
        setup.then(|| {
            format!(
                "Setup took too long: {}",
                self.status.message.clone().unwrap_or_default()
            )
        })
    }

    fn steps(&mut self) {
        if let Some(index) = self.running() {
            match self.advance(index) {
                Progress::Waiting(message) => {
                    if self.step_elapsed(index) >= self.spec.steps[index].timeout {
                        let (outcome, message) = self.timed_out(index, &message);
                        self.end_step(index, outcome, Some(message), true);
                    } else {
                        self.say(index, message);
                        return;
                    }
                }
                Progress::Done(outcome, message) => self.end_step(index, outcome, message, true),
            }
        }
        if self.status.phase.ended() {
            return;
        }
        self.begin_step(self.status.steps.len());
    }

    pub(super) fn begin_step(&mut self, index: usize) {
        let Some(step) = self.spec.steps.get(index) else {
            return self.judge();
        };
        self.status.phase = Phase::Running;
        self.status.step = Some(format!("{}/{} {}", index + 1, self.spec.steps.len(), step.name));
        let result = StepResult {
            name: step.name.clone(),
            kind: step.action.kind().to_owned(),
            started_at: Some(self.now),
            counted_from: Some(self.counted_from(index)),
            paused_millis_before: self.status.paused_millis,
            ..StepResult::default()
        };
        self.status.steps.push(result);
        self.status.message = None;
        self.note(format!("step {} begins", step.name));
        if let Progress::Done(outcome, message) = self.make_plan(index) {
            self.end_step(index, outcome, message, true);
        }
    }

    /// Ends a step, and the run with it where nothing is left to do.
    fn end_step(&mut self, index: usize, outcome: Outcome, message: Option<String>, seen: bool) {
        let seconds = facts::seconds(self.step_elapsed(index));
        if seen {
            self.measure(index);
        }
        let step = &mut self.status.steps[index];
        step.outcome = outcome;
        step.finished_at = Some(self.now);
        step.seconds = Some(seconds);
        step.message.clone_from(&message);
        let what = match &message {
            Some(message) => format!("step {} ends: {}: {message}", step.name, outcome.as_str()),
            None => format!("step {} ends: {}", step.name, outcome.as_str()),
        };
        self.note(what);
        if outcome == Outcome::Aborted {
            return;
        }
        let stops = outcome != Outcome::Pass && self.spec.steps[index].on_failure == OnFailure::Stop;
        if stops || index + 1 == self.spec.steps.len() {
            self.judge();
        }
    }

    /// The verdict of a run that carries out no more steps.
    fn judge(&mut self) {
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
            (None, None, None) => (Verdict::Pass, format!("all {} steps passed", self.spec.steps.len())),
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

    fn skip_the_rest(&mut self) {
        for step in self.spec.steps.iter().skip(self.status.steps.len()) {
            self.status.steps.push(StepResult {
                name: step.name.clone(),
                kind: step.action.kind().to_owned(),
                outcome: Outcome::Skipped,
                ..StepResult::default()
            });
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

    fn bound_history(&mut self) {
        let above = self.status.history.len().saturating_sub(self.spec.history as usize);
        self.status.history.drain(..above);
    }

    /// Somebody else's scaling stands (or not), and is never mistaken for one's own that is under way.
    fn share_scaling(&mut self) {
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
            let what = format!("somebody scaled the workers from {wanted} to {}", seen.wanted);
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
    fn follow_manifest(&mut self) {
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

    /// What has to be so as long as the run wants it, and was wanted in the status that is stored.
    fn standing_wishes(&mut self, stored: &Status) {
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

    /// Shards that no plan of this run explains.
    fn look_for_resharding(&mut self) {
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

    fn interfere(&mut self, what: String) {
        if let Some(step) = self
            .status
            .steps
            .last_mut()
            .filter(|step| step.outcome == Outcome::Running)
        {
            step.interference.get_or_insert_with(|| what.clone());
        }
        self.note(what);
    }

    fn say(&mut self, index: usize, message: String) {
        self.status.steps[index].message = Some(message.clone());
        self.status.message = Some(message);
    }

    pub(super) fn note(&mut self, what: String) {
        self.status.timeline.push(TimelineEntry {
            at: self.now,
            what: cut(what),
            open_shards: self.status.stream.as_ref().map_or(0, |stream| stream.open),
            workers: facts::clip(self.census.by_live_worker.len()),
            imbalance: self.census.imbalance(),
        });
        let above = self.status.timeline.len().saturating_sub(TIMELINE_MAX);
        self.status.timeline.drain(..above);
    }

    /// The step at work. Its place in the manifest is its place in the status.
    pub(super) fn running(&self) -> Option<usize> {
        let last = self.status.steps.len().checked_sub(1)?;
        (self.status.steps[last].outcome == Outcome::Running && last < self.spec.steps.len()).then_some(last)
    }

    pub(super) fn step_elapsed(&self, index: usize) -> Duration {
        let step = &self.status.steps[index];
        self.elapsed(step.started_at.unwrap_or(self.now), step.paused_millis_before)
    }

    /// Time since then, less the time on hold.
    fn elapsed(&self, since: Timestamp, paused_before: u64) -> Duration {
        let holding = self.status.paused_at.map_or(Duration::ZERO, |at| self.now.since(at));
        let held = Duration::from_millis(self.status.paused_millis.saturating_sub(paused_before)) + holding;
        self.now.since(since).saturating_sub(held)
    }
}

/// A text of bounded length: what is written must not be refused for its size.
pub(super) fn cut(text: String) -> String {
    if text.chars().count() <= TEXT_MAX {
        return text;
    }
    text.chars().take(TEXT_MAX).chain(" ...".chars()).collect()
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
