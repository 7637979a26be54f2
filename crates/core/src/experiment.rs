//! What an experiment does next, decided from its manifest, what is known of it so far, and what is seen of the world.
//!
//! # Expected flow
//! The shell (the operator, or `kinex run`) observes a whole [`World`], calls [`decide`], stores the new [`Status`] when
//! it differs from the old one, and only when that write went through carries out the [`Effect`]s, in their order. Then
//! it observes again: how an effect went is read from the world, never from the call's answer.
//!
//! # Guarantees
//! A step that changes something has its plan written before its first effect comes out: a call of [`decide`] that
//! makes a plan gives no effect for it. An effect only ever names what the stored plan names (this shard, this process),
//! and a plan's item is done when the world shows it done. So a crash anywhere, an effect that is carried out twice, or
//! two shells at once never reshard more than was planned.
//!
//! # Assumptions
//! The shell stores the status under a precondition (the resource's version, a lock on the file), so that of two
//! deciders one wins; it drops the effects of a decision whose status it could not store.

pub mod assertion;
mod conditions;
mod duration;
mod effect;
mod facts;
pub mod preset;
mod round;
mod run;
mod setup;
mod sharing;
mod spec;
mod status;
mod step;
mod targets;
#[cfg(test)]
mod tests;
mod timestamp;
mod world;

pub use duration::{NotADuration, parse_duration};
pub use effect::Effect;
pub use spec::{
    Action, Afterwards, Assertion, Balance, CapPolicy, CapRounding, Consumers, CreationPolicy, DeletionPolicy,
    InitialPosition, KillMode, OnFailure, PodSelect, Producer, Renewal, Restart, Run, RunState, ScalePolicy,
    ShardSelect, Spec, Step, Strategy, Stream,
};
pub use status::{
    Agreed, Condition, Created, CreatedStream, CreatedTable, LeaseSummary, Outcome, Phase, Plan, PlannedMerge,
    PlannedPod, PlannedSplit, RunSummary, Status, StepResult, StreamSummary, TimelineEntry, Verdict,
};
pub use timestamp::Timestamp;
pub use world::{
    ChildFacts, Failure, Move, ProcessEnd, RecordFacts, Replicas, ShardRate, StreamFacts, StreamStatus, UnreadGap,
    WorkerFacts, World,
};

/// What to store, and then what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status to store when it differs from the one that was passed in.
    pub status: Status,
    /// What to carry out, in order, once the status is stored.
    pub effects: Vec<Effect>,
}

/// The next thing an experiment does. Pure: equal arguments give equal decisions.
///
/// `now` is wall-clock time of whoever runs the experiment; it measures steps and nothing else.
pub fn decide(spec: &Spec, status: &Status, world: &World, now: Timestamp) -> Decision {
    round::Round::new(spec, status, world, now).decide()
}

/// Holds the verdict of a run that has ended against the audit of all its records, which `world` has with what was seen
/// last: an assertion that nothing is missing does not stand beside records that are. Returns the status with its new
/// verdict; `None` when the verdict stands. Asking again with that status changes nothing more.
pub fn overrule(spec: &Spec, status: &Status, world: &World, now: Timestamp) -> Option<Status> {
    let mut round = round::Round::new(spec, status, world, now);
    round.overrule().then_some(round.status)
}

/// The processes whose ends nobody may prove, by the steps that end them: the others have to find out by themselves.
pub fn unwitnessed<'a>(spec: &'a Spec, status: &'a Status) -> impl Iterator<Item = &'a PlannedPod> {
    let steps = spec.steps.iter().zip(&status.steps);
    let silent = steps.filter(|(step, _)| matches!(step.action, Action::KillPod { witness: false, .. }));
    silent
        .filter_map(|(_, result)| result.plan.as_ref())
        .flat_map(|plan| &plan.pods)
}
