//! One decision: what is seen goes in, the run is carried one step further, what to do comes out.

use std::time::Duration;

use super::effect::Effect;
use super::facts::{self, Census};
use super::spec::{OnFailure, RunState, Spec};
use super::status::{Agreed, Outcome, Phase, Status, StepResult, TimelineEntry};
use super::step::Progress;
use super::timestamp::Timestamp;
use super::world::World;
use super::{Decision, conditions};

/// How long a text in the status may be; the definition of the custom resource has 4096.
const TEXT_MAX: usize = 2_000;
/// How many entries of the timeline are kept.
const TIMELINE_MAX: usize = 50;
/// A look that is older than this is none that was held up: a clock was set back.
const OVERTAKEN_MAX: Duration = Duration::from_secs(5 * 60);
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
            // What is given up before it began never starts a fleet.
            if self.spec.run.state == RunState::Aborted {
                self.abort();
            }
        } else if let Some(why) = self.blind() {
            self.let_time_pass(&why);
            conditions::update_run(&mut self);
        } else {
            self.look();
            self.carry_on();
            conditions::update(&mut self);
            self.standing_wishes(&stored);
            self.note_action();
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

    /// Writes down when the step at work first does something: what it costs counts from there.
    fn note_action(&mut self) {
        let Some(index) = self.running() else { return };
        let kind = self.spec.steps[index].action.kind();
        let acts = |effect: &Effect| match effect {
            Effect::SplitShard { .. } => kind == "split",
            Effect::MergeShards { .. } => kind == "merge",
            Effect::UpdateShardCount { .. } => kind == "updateShardCount",
            Effect::Scale { .. } => kind == "scale",
            Effect::Kill { .. } => kind == "killPod",
            Effect::Freeze { .. } => kind == "freezePod",
            Effect::SetProducer { .. } => kind == "producer",
            _ => false,
        };
        if self.effects.iter().any(acts) {
            self.status.steps[index].acted_at.get_or_insert(self.now);
        }
    }

    fn run_is_asked_for(&self) -> bool {
        self.status.run_nonce.is_none_or(|nonce| nonce < self.spec.run.nonce)
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
            (None, None) if self.overtaken() => Some("what was read is older than what was decided since".to_owned()),
            (None, None) if self.listed_before_the_last_step() => {
                Some("what was read is old: it shows the shards as they were before the last step".to_owned())
            }
            (None, None) => None,
        }
    }

    /// Whether the look began before the last thing that the run did. Whoever was held up between a look and a decision
    /// would choose processes that are gone, and believe gone what had not yet begun.
    fn overtaken(&self) -> bool {
        let done = self.status.timeline.last().map(|entry| entry.at);
        let behind = self.world.seen_at.zip(done).map(|(seen, done)| done.since(seen));
        behind.is_some_and(|behind| !behind.is_zero() && behind <= OVERTAKEN_MAX)
    }

    /// Whether a listing ends before the newest shard that the last step saw. (How many there are says less: closed
    /// shards leave the listing with their last record.)
    fn listed_before_the_last_step(&self) -> bool {
        let ended = self.status.steps.iter().rev().find_map(|step| step.stream.as_ref());
        let newest = ended.and_then(|stream| stream.newest_shard.as_ref());
        let shards = &self.world.stream.shards;
        newest.is_some_and(|newest| !shards.is_empty() && shards.iter().all(|shard| shard.id < *newest))
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
            && self.out_of_step_time(index)
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
        self.look_for_losses();
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
                if let Some(reason) = self.out_of_time().or_else(|| self.spec_changed()) {
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

    /// The API server keeps the spec as it is during a run, unless its definition is an old one or its rules were off.
    fn spec_changed(&mut self) -> Option<String> {
        let spec = Agreed::of(self.spec);
        let agreed = self.status.agreed.get_or_insert_with(|| spec.clone());
        let steps = agreed.steps.iter().zip(&spec.steps).find(|(then, now)| then != now);
        let what = match steps {
            Some((then, now)) => format!("the steps were changed while they ran: {then} became {now}"),
            None if agreed.steps.len() != spec.steps.len() => {
                let (then, now) = (agreed.steps.len(), spec.steps.len());
                format!("the steps were changed while they ran: {then} became {now}")
            }
            None if agreed.spec_hash != spec.spec_hash => {
                "the spec was changed while the run was in progress".to_owned()
            }
            None => return None,
        };
        let what = format!("{what}; raise run.nonce to run what it says now");
        self.interfere(what.clone());
        Some(what)
    }

    fn steps(&mut self) {
        if let Some(index) = self.running() {
            match self.advance(index) {
                Progress::Waiting(message) => {
                    if self.out_of_step_time(index) {
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
    pub(super) fn end_step(&mut self, index: usize, outcome: Outcome, message: Option<String>, seen: bool) {
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

    fn say(&mut self, index: usize, message: String) {
        self.status.steps[index].message = Some(message.clone());
        self.status.message = Some(message);
    }

    pub(super) fn note(&mut self, what: String) {
        self.record(what, false);
    }

    /// Adds a line to the timeline.
    pub(super) fn record(&mut self, what: String, interference: bool) {
        self.status.timeline.push(TimelineEntry {
            at: self.now,
            what: cut(what),
            interference,
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
    pub(super) fn elapsed(&self, since: Timestamp, paused_before: u64) -> Duration {
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
