//! Reconciles one experiment, step by step. Client required.
//!
//! The status is written before anything is done, and only if nobody changed it since it was read. When that write is refused
//! the effects are dropped: the next reconcile reads what somebody else wrote, and decides again.

use std::sync::Arc;
use std::time::Duration;

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{
    Created, Decision, DeletionPolicy, Effect, Phase, Spec, Status, Timestamp, World, decide, unwitnessed,
};
use kinex_stage::{Ledger, Subject, outcome};
use kube::ResourceExt;
use tracing::{debug, info, warn};

use crate::active_run::{ActiveRun, CachedState, Key};
use crate::build;
use crate::cleanup;
use crate::controller::{Context, label, wall};
use crate::effects::EffectExecutor;
use crate::ending;
use crate::events::{self, Notice};
use crate::limits;
use crate::memory::RunStore;
use crate::metrics::{Failure, Reconcile};
use crate::observe::{self, Cluster};
use crate::settings::Settings;
use crate::status::{self, Stall, conflict, stall_of};
use crate::workload;

/// Requeue interval while a run is in progress.
const REQUEUE_RUNNING: Duration = Duration::from_millis(500);
/// While the endpoint or the API server cannot be reached.
const REQUEUE_UNREACHABLE: Duration = Duration::from_secs(1);
/// While there is nothing to do.
const REQUEUE_IDLE: Duration = Duration::from_secs(15);
/// After a run has ended and its report is written: only the columns of `kubectl get` still follow the fleet. A change of the
/// experiment or of its objects triggers a reconcile anyway.
const REQUEUE_ENDED: Duration = Duration::from_secs(5 * 60);
/// While the operator is at capacity.
const REQUEUE_QUEUED: Duration = Duration::from_secs(2);
/// After a write conflict.
const REQUEUE_CONFLICT: Duration = Duration::from_millis(250);
/// A problem that lasts for less than this is not worth a condition: pods start, endpoints fail over.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// How a reconcile ended, and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) after: Duration,
    pub(crate) outcome: Reconcile,
    /// Whether somebody else wrote the status in between, so that nothing was done.
    pub(crate) status_conflict: bool,
}

/// A look could not be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It took too long.
    #[error("no end after {0:?}")]
    Late(Duration),
    /// The status could not be written.
    #[error("the status cannot be written: {0}")]
    Status(#[source] kube::Error),
    /// The API server refused something else.
    #[error("cannot {what}: {source}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// The answer.
        #[source]
        source: kube::Error,
    },
}

/// Observes an experiment, decides, writes the status and carries out the effects.
pub(crate) async fn reconcile_experiment(
    context: &Context,
    cached: &mut CachedState,
    watched: Arc<KinesisExperiment>,
) -> Result<Next, Error> {
    let experiment = cached.newest(watched);
    if experiment.metadata.deletion_timestamp.is_some() {
        return ending::leave(context, cached, &experiment).await;
    }
    let spec = match allowed(&experiment, &context.settings) {
        Ok(spec) => spec,
        Err(stall) => return refuse(context, cached, &experiment, stall).await,
    };
    if let Some(other) = carried_out_by_another(context, &experiment, &spec) {
        return Ok(leave_to(context, cached, &experiment, other).await);
    }
    cached.other = None;
    if let Some(stall) = at_capacity(context, &experiment, &spec) {
        return refuse(context, cached, &experiment, stall).await;
    }
    let hold = spec.stream.deletion == DeletionPolicy::Delete;
    if hold != cleanup::held(&experiment) {
        let held = cleanup::hold(&context.client, &experiment, hold).await;
        context.meters.api_write("kinesisexperiments", "patch");
        return match held {
            Ok(held) => {
                cached.latest = Some(Arc::new(held));
                Ok(next(REQUEUE_CONFLICT, Reconcile::Changed))
            }
            Err(error) if conflict(&error) => Ok(status_conflict()),
            Err(error) => {
                let stall = stall_of(&error, "put a finalizer on the experiment");
                refuse(context, cached, &experiment, stall).await
            }
        };
    }
    if let Some(flaw) = context.stores.flaw() {
        if flaw.since.elapsed() < STALLED_AFTER {
            return Ok(next(REQUEUE_UNREACHABLE, Reconcile::Unseen));
        }
        let stall = Stall {
            reason: "ClusterUnseen",
            message: format!("{}; the run goes on when the operator can see its pods again", flaw.why),
        };
        let refused = refuse(context, cached, &experiment, stall).await?;
        return Ok(Next {
            after: REQUEUE_UNREACHABLE,
            ..refused
        });
    }
    if let Err(stall) = start_run(context, cached, &experiment, &spec).await {
        return refuse(context, cached, &experiment, stall).await;
    }
    Box::pin(advance(context, cached, &experiment, &spec)).await
}

/// What the experiment means, if the operator allows it.
fn allowed(experiment: &KinesisExperiment, settings: &Settings) -> Result<Spec, Stall> {
    let spec = kinex_api::convert(experiment).map_err(|problems| {
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Stall {
            reason: "InvalidSpec",
            message: said.join("; "),
        }
    })?;
    match limits::refuse(experiment, &spec, settings) {
        Some(limits::Refusal { reason, message }) => Err(Stall { reason, message }),
        None => Ok(spec),
    }
}

/// The operator that carries out the present run, or carried it out, when it is another one.
fn carried_out_by_another(context: &Context, experiment: &KinesisExperiment, spec: &Spec) -> Option<String> {
    let status = experiment.status.as_ref()?;
    let same_run = status.run_nonce == Some(spec.run.nonce);
    let other = status.operator.clone()?;
    (same_run && other != context.settings.identity).then_some(other)
}

/// Says once that another operator carries out the run, and writes nothing: two writers of one status would never rest.
async fn leave_to(
    context: &Context,
    cached: &mut CachedState,
    experiment: &Arc<KinesisExperiment>,
    other: String,
) -> Next {
    // What is kept of it is old by the time at which this operator may have to go on with it.
    cached.active_run = None;
    if cached.other.as_ref() != Some(&other) {
        let name = experiment.name_any();
        let note = format!(
            "operator {other} carries out this run, and operator {} leaves it alone: give each its own namespaces, or an \
             operatorClass. If {other} is gone for good: kubectl patch kex {name} --subresource=status --type=merge -p \
             '{{\"status\":{{\"operator\":null}}}}'",
            context.settings.identity
        );
        warn!(experiment = name, other, "another operator carries out this run");
        let notice = Notice {
            warning: true,
            reason: "AnotherOperator".to_owned(),
            action: "reconcile".to_owned(),
            note,
        };
        events::publish(&context.recorder, experiment, vec![notice]).await;
        cached.other = Some(other);
    }
    next(REQUEUE_IDLE, Reconcile::Refused)
}

/// Whether a new run has to wait for others.
fn at_capacity(context: &Context, experiment: &KinesisExperiment, spec: &Spec) -> Option<Stall> {
    let known = experiment.status.as_ref().and_then(|status| status.run_nonce);
    if known.is_some_and(|known| known >= spec.run.nonce) {
        return None;
    }
    let (namespace, uid) = (
        experiment.namespace().unwrap_or_default(),
        experiment.uid().unwrap_or_default(),
    );
    let refusal = limits::at_capacity(context.first(experiment), &context.settings.limits);
    if refusal.is_none() {
        context.note_running(&namespace, &uid, true);
    }
    refusal.map(|limits::Refusal { reason, message }| Stall { reason, message })
}

/// Makes ready what a run is looked at and acted on with, and goes on from what an earlier process kept.
async fn start_run(
    context: &Context,
    cached: &mut CachedState,
    experiment: &KinesisExperiment,
    spec: &Spec,
) -> Result<(), Stall> {
    // An experiment without a place was refused.
    let Some(place) = context.settings.place_of(spec) else {
        return Err(Stall {
            reason: "NoEndpoint",
            message: "neither the experiment nor the operator names an endpoint".to_owned(),
        });
    };
    let key = Key::of(experiment, spec, label(&place));
    if cached
        .active_run
        .as_ref()
        .is_some_and(|active_run| active_run.key == key)
    {
        return Ok(());
    }
    let clients = context.clients(&place).await.map_err(|fault| Stall {
        reason: "EndpointInvalid",
        message: fault.to_string(),
    })?;
    let subject = Subject {
        clients,
        stream: spec.stream.name.clone(),
        application: context.settings.application(spec),
    };
    let created = experiment.status.as_ref().map(|status| status.created.clone());
    // A stream that is being created is noted by the run before this one: nothing of it may get lost.
    let ledger = match &cached.active_run {
        Some(before) if before.subject.stream == subject.stream => before.actor.ledger().clone(),
        _ => Ledger::of(&created.unwrap_or_default()),
    };
    let mut active_run = ActiveRun::new(key, spec, subject, ledger);
    let run_store = RunStore::new(&context.client, experiment, spec.run.nonce, spec.reports);
    run_store.recall(&mut active_run).await?;
    cached.active_run = Some(active_run);
    Ok(())
}

/// Observe, decide, write the status, act.
async fn advance(
    context: &Context,
    cached: &mut CachedState,
    experiment: &Arc<KinesisExperiment>,
    spec: &Spec,
) -> Result<Next, Error> {
    let CachedState {
        latest,
        active_run: Some(active_run),
        ..
    } = cached
    else {
        return Ok(next(REQUEUE_CONFLICT, Reconcile::Unchanged));
    };
    let (namespace, name) = (experiment.namespace().unwrap_or_default(), experiment.name_any());
    let cluster = Cluster::of(&context.stores, experiment);
    let now = wall();
    let ended = context.stores.deaths(&experiment.uid().unwrap_or_default());
    let known = experiment.status.clone().unwrap_or_default();
    let silent = unwitnessed(spec, &known).map(|pod| pod.incarnation.clone());
    active_run.observer.keep_silent(silent);
    let world = observe::look(active_run, &cluster, ended, now).await;

    let stored = experiment.status.clone().unwrap_or_default();
    let mut known = stored.clone();
    known.observed_generation = experiment.metadata.generation;
    known.selector = Some(selector(experiment));
    // Whoever begins a run keeps it.
    known.operator = Some(context.settings.identity.clone());
    known.created.add(&active_run.actor.ledger().created());
    let Decision { mut status, effects } = decide(spec, &known, &world, now);
    if status.run_nonce == known.run_nonce
        && let Some(overruled) = ending::overruled(active_run, spec, &status, now)
    {
        status = overruled;
    }
    status.report = status.run_nonce.map(|_| active_run.report.name.clone());
    let stall = active_run
        .stall
        .take()
        .or_else(|| endpoint_unreachable(active_run, &world, now));
    if stall.is_some() {
        context.meters.failed(Failure::Observe);
    }
    let stall = stall.or_else(|| pods_not_ready(active_run, &world, now).filter(|_| !status.phase.ended()));
    let reported = reported(active_run, &status, now);
    active_run.keep_details(&status);
    status::complete(&mut status, &stored, stall.as_ref(), reported, now);
    let runs = !status.phase.ended() && status.run_nonce.is_some();
    context.note_running(&namespace, &experiment.uid().unwrap_or_default(), runs);

    let mut current = Arc::clone(experiment);
    let changed = status != stored;
    if changed {
        match status::write(&context.client, experiment, &status).await {
            Ok(written) => {
                context.meters.api_write("kinesisexperiments/status", "patch");
                current = Arc::new(written);
                *latest = Some(Arc::clone(&current));
            }
            Err(error) if conflict(&error) => {
                context.meters.failed(Failure::Conflict);
                debug!(experiment = name, "status update conflict, retrying");
                return Ok(status_conflict());
            }
            Err(error) => return Err(Error::Status(error)),
        }
    }
    context.meters.observe_status(
        &context.title(experiment.as_ref()),
        experiment.namespace().as_deref(),
        &status,
    );
    if world.unseen.is_none() {
        context
            .meters
            .observe_records(&context.title(experiment.as_ref()), &world.records);
    }

    let acted = !effects.is_empty();
    let executor = EffectExecutor {
        client: &context.client,
        experiment: &Arc::clone(&current),
        cluster: &cluster,
        meters: &context.meters,
    };
    // No fleet is started for a run that has ended: what is gone by then was stopped.
    if !(status.phase.ended() && cluster.set.is_none()) {
        act(context, active_run, &executor, spec, &status, effects).await;
    }
    if let Some(noted) = note_created(context, &current, &active_run.actor.ledger().created()).await? {
        current = Arc::new(noted);
        *latest = Some(Arc::clone(&current));
    }
    let sample = outcome::sample(&status, &world, now);
    let new = sample.filter(|new| active_run.samples.last().is_none_or(|last| !last.same_state(new)));
    active_run.samples.extend(new.filter(|_| runs));
    if let Err(stall) = ending::keep(context, active_run, &current, spec, &status, now).await {
        active_run.stall = Some(stall);
    }
    let told = events::publish(&context.recorder, experiment, events::between(&stored, &status));
    if tokio::time::timeout(Duration::from_secs(5), told).await.is_err() {
        debug!(experiment = name, "events could not be told in time");
    }
    // A report that has just been written is told by the next status, and so is the end of a stall.
    let told_all =
        status.phase.ended() && reported && active_run.pruned && stall.is_none() && active_run.stall.is_none();
    let after = match (&world.unseen, told_all) {
        (_, true) => match Box::pin(ending::afterwards(context, &executor, spec, &status, now)).await {
            Ok(after) => after.min(REQUEUE_ENDED),
            Err(stall) => {
                active_run.stall = Some(stall);
                REQUEUE_IDLE
            }
        },
        (Some(_), _) => REQUEUE_UNREACHABLE,
        (None, _) => REQUEUE_RUNNING,
    };
    let outcome = match (world.unseen.is_some(), changed || acted) {
        (true, _) => Reconcile::Unseen,
        (false, true) => Reconcile::Changed,
        (false, false) => Reconcile::Unchanged,
    };
    Ok(next(after, outcome))
}

/// Notes in the status what was created, as soon as it was: what is not there is never deleted. Gives the experiment as it
/// is then; `None`: it was noted before.
pub(crate) async fn note_created(
    context: &Context,
    experiment: &KinesisExperiment,
    created: &Created,
) -> Result<Option<KinesisExperiment>, Error> {
    let known = experiment.status.as_ref().map(|status| status.created.clone());
    let mut wanted = known.clone().unwrap_or_default();
    wanted.add(created);
    if known.unwrap_or_default() == wanted {
        return Ok(None);
    }
    let noted = status::note_created(&context.client, experiment, &wanted).await;
    context.meters.api_write("kinesisexperiments/status", "patch");
    noted.map(Some).map_err(Error::Status)
}

/// Does what was decided: first what everything rests on, then the effects. When that is not in place, there are none.
async fn act(
    context: &Context,
    active_run: &mut ActiveRun,
    executor: &EffectExecutor<'_>,
    spec: &Spec,
    status: &Status,
    effects: Vec<Effect>,
) {
    match workload::apply(context, active_run, executor, spec, status).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(stall) => {
            context.meters.failed(Failure::Apply);
            active_run.stall = Some(stall);
            return;
        }
    }
    workload::tell_wanted(active_run, executor.cluster, &effects).await;
    let anew = effects
        .iter()
        .any(|effect| matches!(effect, Effect::DeleteStream { .. }));
    executor.carry_out(active_run, effects).await;
    // The tables go with the stream, and the claim to them.
    active_run.prepared &= !anew;
}

/// Whether nothing of the run is left to be written.
fn reported(active_run: &ActiveRun, status: &Status, now: Timestamp) -> bool {
    let late = status
        .finished_at
        .is_some_and(|at| now.since(at) >= ending::REPORT_WITHIN);
    active_run.reported || late
}

/// What is said when the endpoint has been away for a while.
fn endpoint_unreachable(active_run: &ActiveRun, world: &World, now: Timestamp) -> Option<Stall> {
    let why = world.unseen.as_ref()?;
    lasts(active_run.unseen_since, now).then(|| Stall {
        reason: "EndpointUnreadable",
        message: format!(
            "{} cannot be read: {why}; the run goes on by itself when it answers again",
            active_run.key.endpoint
        ),
    })
}

/// What is said when some pod has not come up for a while: its steps would only end by their time.
fn pods_not_ready(active_run: &ActiveRun, world: &World, now: Timestamp) -> Option<Stall> {
    let why = world.replicas.problem.as_ref()?;
    lasts(active_run.down_since, now).then(|| Stall {
        reason: "PodsNotReady",
        message: format!("{why}; the run goes on by itself when its pods come up"),
    })
}

fn lasts(since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_some_and(|since| now.since(since) >= STALLED_AFTER)
}

/// Says why an experiment does not go on, and does nothing else about it.
pub(crate) async fn refuse(
    context: &Context,
    cached: &mut CachedState,
    experiment: &Arc<KinesisExperiment>,
    stall: Stall,
) -> Result<Next, Error> {
    let stored = experiment.status.clone().unwrap_or_default();
    let mut status = stored.clone();
    status.observed_generation = experiment.metadata.generation;
    if !status.phase.ended() {
        status.message = Some(stall.message.clone());
    }
    status::complete(&mut status, &stored, Some(&stall), true, wall());
    context.meters.observe_status(
        &context.title(experiment.as_ref()),
        experiment.namespace().as_deref(),
        &status,
    );
    if status != stored {
        info!(
            experiment = experiment.name_any(),
            reason = stall.reason,
            why = stall.message,
            "refused"
        );
        match status::write(&context.client, experiment, &status).await {
            Ok(written) => cached.latest = Some(Arc::new(written)),
            Err(error) if conflict(&error) => return Ok(status_conflict()),
            Err(error) => return Err(Error::Status(error)),
        }
        context.meters.api_write("kinesisexperiments/status", "patch");
        events::publish(&context.recorder, experiment, events::between(&stored, &status)).await;
    }
    let after = match (stall.reason, status.phase) {
        (limits::AT_CAPACITY, _) => REQUEUE_QUEUED,
        (_, phase) if phase == Phase::Pending || phase.ended() => REQUEUE_IDLE,
        _ => REQUEUE_UNREACHABLE * 5,
    };
    Ok(next(after, Reconcile::Refused))
}

/// Requeues after somebody else wrote the status: the watch is about to deliver it, and nothing is decided before that.
pub(crate) fn status_conflict() -> Next {
    Next {
        status_conflict: true,
        ..next(REQUEUE_CONFLICT, Reconcile::Unchanged)
    }
}

fn selector(experiment: &KinesisExperiment) -> String {
    let labels = build::labels(experiment, "consumer");
    let pairs = labels.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}

pub(crate) fn next(after: Duration, outcome: Reconcile) -> Next {
    Next {
        after,
        outcome,
        status_conflict: false,
    }
}
