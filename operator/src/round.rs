//! One look at one experiment: the rooms in their order. Client required.
//!
//! The status is written before anything is done, and only onto what it was decided from. When that write is refused the
//! effects are dropped: the next look sees what somebody else wrote, and decides again.

use std::sync::Arc;
use std::time::Duration;

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{
    Created, Decision, DeletionPolicy, Effect, Phase, Spec, Status, Timestamp, World, decide, unwitnessed,
};
use kinex_stage::{Ledger, Subject, outcome};
use kube::ResourceExt;
use tracing::{debug, info, warn};

use crate::build;
use crate::cleanup;
use crate::controller::{Context, label, wall};
use crate::effects::Hands;
use crate::ending;
use crate::events::{self, Notice};
use crate::limits;
use crate::memory::Keeper;
use crate::metrics::{Failure, Reconcile};
use crate::observe::{self, Cluster};
use crate::scene::{Key, Memo, Scene};
use crate::settings::Settings;
use crate::status::{self, Trouble, conflict, trouble_of};
use crate::workload;

/// From one look to the next while a run is at work.
const PERIOD: Duration = Duration::from_millis(500);
/// While something cannot be seen.
const PERIOD_BLIND: Duration = Duration::from_secs(1);
/// While nothing is to be done.
const PERIOD_IDLE: Duration = Duration::from_secs(15);
/// When a run has ended and everything is told: only the table's columns follow the fleet. A change of the experiment or
/// of its objects is looked at when it comes.
const PERIOD_ENDED: Duration = Duration::from_secs(5 * 60);
/// While others come first.
const PERIOD_QUEUE: Duration = Duration::from_secs(2);
/// After somebody else wrote.
const AGAIN: Duration = Duration::from_millis(250);
/// What is in the way for less than this is not worth a condition: pods start, endpoints fail over.
const WORTH_TELLING: Duration = Duration::from_secs(5);

/// How a look ended, and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) after: Duration,
    pub(crate) outcome: Reconcile,
    /// Whether it came to nothing, because somebody else wrote in between.
    pub(crate) outdated: bool,
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

/// Looks at an experiment, decides, and does what was decided.
pub(crate) async fn look(context: &Context, memo: &mut Memo, watched: Arc<KinesisExperiment>) -> Result<Next, Error> {
    let experiment = memo.newest(watched);
    if experiment.metadata.deletion_timestamp.is_some() {
        return ending::leave(context, memo, &experiment).await;
    }
    let spec = match allowed(&experiment, &context.settings) {
        Ok(spec) => spec,
        Err(trouble) => return refuse(context, memo, &experiment, trouble).await,
    };
    if let Some(other) = carried_out_by_another(context, &experiment, &spec) {
        return Ok(leave_to(context, memo, &experiment, other).await);
    }
    memo.other = None;
    if let Some(trouble) = crowded(context, &experiment, &spec) {
        return refuse(context, memo, &experiment, trouble).await;
    }
    let hold = spec.stream.deletion == DeletionPolicy::Delete;
    if hold != cleanup::held(&experiment) {
        let held = cleanup::hold(&context.client, &experiment, hold).await;
        context.meters.api_write("kinesisexperiments", "patch");
        return match held {
            Ok(held) => {
                memo.latest = Some(Arc::new(held));
                Ok(next(AGAIN, Reconcile::Changed))
            }
            Err(error) if conflict(&error) => Ok(outdated()),
            Err(error) => {
                let trouble = trouble_of(&error, "put a finalizer on the experiment");
                refuse(context, memo, &experiment, trouble).await
            }
        };
    }
    if let Some(flaw) = context.stores.flaw() {
        if flaw.since.elapsed() < WORTH_TELLING {
            return Ok(next(PERIOD_BLIND, Reconcile::Unseen));
        }
        let trouble = Trouble {
            reason: "ClusterUnseen",
            message: format!("{}; the run goes on when the operator can see its pods again", flaw.why),
        };
        let refused = refuse(context, memo, &experiment, trouble).await?;
        return Ok(Next {
            after: PERIOD_BLIND,
            ..refused
        });
    }
    if let Err(trouble) = set_scene(context, memo, &experiment, &spec).await {
        return refuse(context, memo, &experiment, trouble).await;
    }
    Box::pin(play(context, memo, &experiment, &spec)).await
}

/// What the experiment means, if the operator allows it.
fn allowed(experiment: &KinesisExperiment, settings: &Settings) -> Result<Spec, Trouble> {
    let spec = kinex_api::convert(experiment).map_err(|problems| {
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Trouble {
            reason: "InvalidSpec",
            message: said.join("; "),
        }
    })?;
    match limits::refuse(experiment, &spec, settings) {
        Some(limits::Refusal { reason, message }) => Err(Trouble { reason, message }),
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
async fn leave_to(context: &Context, memo: &mut Memo, experiment: &Arc<KinesisExperiment>, other: String) -> Next {
    // What is kept of it is old by the time at which this operator may have to go on with it.
    memo.scene = None;
    if memo.other.as_ref() != Some(&other) {
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
        memo.other = Some(other);
    }
    next(PERIOD_IDLE, Reconcile::Refused)
}

/// Whether a new run has to wait for others.
fn crowded(context: &Context, experiment: &KinesisExperiment, spec: &Spec) -> Option<Trouble> {
    let known = experiment.status.as_ref().and_then(|status| status.run_nonce);
    if known.is_some_and(|known| known >= spec.run.nonce) {
        return None;
    }
    let (namespace, uid) = (
        experiment.namespace().unwrap_or_default(),
        experiment.uid().unwrap_or_default(),
    );
    let refusal = limits::crowded(context.first(experiment), &context.settings.limits);
    if refusal.is_none() {
        context.note_running(&namespace, &uid, true);
    }
    refusal.map(|limits::Refusal { reason, message }| Trouble { reason, message })
}

/// Makes ready what a run is looked at and acted on with, and goes on from what an earlier process kept.
async fn set_scene(
    context: &Context,
    memo: &mut Memo,
    experiment: &KinesisExperiment,
    spec: &Spec,
) -> Result<(), Trouble> {
    // An experiment without a place was refused.
    let Some(place) = context.settings.place_of(spec) else {
        return Err(Trouble {
            reason: "NoEndpoint",
            message: "neither the experiment nor the operator names an endpoint".to_owned(),
        });
    };
    let key = Key::of(experiment, spec, label(&place));
    if memo.scene.as_ref().is_some_and(|scene| scene.key == key) {
        return Ok(());
    }
    let clients = context.clients(&place).await.map_err(|fault| Trouble {
        reason: "EndpointInvalid",
        message: fault.to_string(),
    })?;
    let subject = Subject {
        clients,
        stream: spec.stream.name.clone(),
        application: context.settings.application(spec),
    };
    let created = experiment.status.as_ref().map(|status| status.created.clone());
    // A stream that is being created is noted by the scene before this one: nothing of it may get lost.
    let ledger = match &memo.scene {
        Some(before) if before.subject.stream == subject.stream => before.actor.ledger().clone(),
        _ => Ledger::of(&created.unwrap_or_default()),
    };
    let mut scene = Scene::new(key, spec, subject, ledger);
    let keeper = Keeper::new(&context.client, experiment, spec.run.nonce, spec.reports);
    keeper.recall(&mut scene).await?;
    memo.scene = Some(scene);
    Ok(())
}

/// Observe, decide, write the status, act.
async fn play(
    context: &Context,
    memo: &mut Memo,
    experiment: &Arc<KinesisExperiment>,
    spec: &Spec,
) -> Result<Next, Error> {
    let Memo {
        latest,
        scene: Some(scene),
        ..
    } = memo
    else {
        return Ok(next(AGAIN, Reconcile::Unchanged));
    };
    let (namespace, name) = (experiment.namespace().unwrap_or_default(), experiment.name_any());
    let cluster = Cluster::of(&context.stores, experiment);
    let now = wall();
    let ended = context.stores.deaths(&experiment.uid().unwrap_or_default());
    let known = experiment.status.clone().unwrap_or_default();
    let silent = unwitnessed(spec, &known).map(|pod| pod.incarnation.clone());
    scene.observer.keep_silent(silent);
    let world = observe::look(scene, &cluster, ended, now).await;

    let stored = experiment.status.clone().unwrap_or_default();
    let mut known = stored.clone();
    known.observed_generation = experiment.metadata.generation;
    known.selector = Some(selector(experiment));
    // Whoever begins a run keeps it.
    known.operator = Some(context.settings.identity.clone());
    known.created.add(&scene.actor.ledger().created());
    let Decision { mut status, effects } = decide(spec, &known, &world, now);
    if status.run_nonce == known.run_nonce
        && let Some(overruled) = ending::overruled(scene, spec, &status, now)
    {
        status = overruled;
    }
    status.report = status.run_nonce.map(|_| scene.report.name.clone());
    let trouble = scene.trouble.take().or_else(|| blind(scene, &world, now));
    if trouble.is_some() {
        context.meters.failed(Failure::Observe);
    }
    let trouble = trouble.or_else(|| lame(scene, &world, now).filter(|_| !status.phase.ended()));
    let reported = reported(scene, &status, now);
    scene.keep_details(&status);
    status::complete(&mut status, &stored, trouble.as_ref(), reported, now);
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
                debug!(experiment = name, "somebody wrote in between: decided again");
                return Ok(outdated());
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
    let hands = Hands {
        client: &context.client,
        experiment: &Arc::clone(&current),
        cluster: &cluster,
        meters: &context.meters,
    };
    // No fleet is started for a run that has ended: what is gone by then was stopped.
    if !(status.phase.ended() && cluster.set.is_none()) {
        act(context, scene, &hands, spec, &status, effects).await;
    }
    if let Some(noted) = note_created(context, &current, &scene.actor.ledger().created()).await? {
        current = Arc::new(noted);
        *latest = Some(Arc::clone(&current));
    }
    let sample = outcome::sample(&status, &world, now);
    let new = sample.filter(|new| scene.samples.last().is_none_or(|last| !last.same_state(new)));
    scene.samples.extend(new.filter(|_| runs));
    if let Err(trouble) = ending::keep(context, scene, &current, spec, &status, now).await {
        scene.trouble = Some(trouble);
    }
    let told = events::publish(&context.recorder, experiment, events::between(&stored, &status));
    if tokio::time::timeout(Duration::from_secs(5), told).await.is_err() {
        debug!(experiment = name, "events could not be told in time");
    }
    // A report that has just been written is told by the next status, and so is trouble that is over.
    let told_all = status.phase.ended() && reported && scene.pruned && trouble.is_none() && scene.trouble.is_none();
    let after = match (&world.unseen, told_all) {
        (_, true) => match Box::pin(ending::afterwards(context, &hands, spec, &status, now)).await {
            Ok(after) => after.min(PERIOD_ENDED),
            Err(trouble) => {
                scene.trouble = Some(trouble);
                PERIOD_IDLE
            }
        },
        (Some(_), _) => PERIOD_BLIND,
        (None, _) => PERIOD,
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
    scene: &mut Scene,
    hands: &Hands<'_>,
    spec: &Spec,
    status: &Status,
    effects: Vec<Effect>,
) {
    match workload::apply(context, scene, hands, spec, status).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(trouble) => {
            context.meters.failed(Failure::Apply);
            scene.trouble = Some(trouble);
            return;
        }
    }
    workload::tell_wanted(scene, hands.cluster, &effects).await;
    let anew = effects
        .iter()
        .any(|effect| matches!(effect, Effect::DeleteStream { .. }));
    hands.carry_out(scene, effects).await;
    // The tables go with the stream, and the claim to them.
    scene.prepared &= !anew;
}

/// Whether nothing of the run is left to be written.
fn reported(scene: &Scene, status: &Status, now: Timestamp) -> bool {
    let late = status
        .finished_at
        .is_some_and(|at| now.since(at) >= ending::REPORT_WITHIN);
    scene.reported || late
}

/// What is said when the endpoint has been away for a while.
fn blind(scene: &Scene, world: &World, now: Timestamp) -> Option<Trouble> {
    let why = world.unseen.as_ref()?;
    lasts(scene.unseen_since, now).then(|| Trouble {
        reason: "EndpointUnreadable",
        message: format!(
            "{} cannot be read: {why}; the run goes on by itself when it answers again",
            scene.key.endpoint
        ),
    })
}

/// What is said when some pod has not come up for a while: its steps would only end by their time.
fn lame(scene: &Scene, world: &World, now: Timestamp) -> Option<Trouble> {
    let why = world.replicas.problem.as_ref()?;
    lasts(scene.down_since, now).then(|| Trouble {
        reason: "PodsNotReady",
        message: format!("{why}; the run goes on by itself when its pods come up"),
    })
}

fn lasts(since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_some_and(|since| now.since(since) >= WORTH_TELLING)
}

/// Says why an experiment does not go on, and does nothing else about it.
pub(crate) async fn refuse(
    context: &Context,
    memo: &mut Memo,
    experiment: &Arc<KinesisExperiment>,
    trouble: Trouble,
) -> Result<Next, Error> {
    let stored = experiment.status.clone().unwrap_or_default();
    let mut status = stored.clone();
    status.observed_generation = experiment.metadata.generation;
    if !status.phase.ended() {
        status.message = Some(trouble.message.clone());
    }
    status::complete(&mut status, &stored, Some(&trouble), true, wall());
    context.meters.observe_status(
        &context.title(experiment.as_ref()),
        experiment.namespace().as_deref(),
        &status,
    );
    if status != stored {
        info!(
            experiment = experiment.name_any(),
            reason = trouble.reason,
            why = trouble.message,
            "refused"
        );
        match status::write(&context.client, experiment, &status).await {
            Ok(written) => memo.latest = Some(Arc::new(written)),
            Err(error) if conflict(&error) => return Ok(outdated()),
            Err(error) => return Err(Error::Status(error)),
        }
        context.meters.api_write("kinesisexperiments/status", "patch");
        events::publish(&context.recorder, experiment, events::between(&stored, &status)).await;
    }
    let after = match (trouble.reason, status.phase) {
        (limits::CROWDED, _) => PERIOD_QUEUE,
        (_, phase) if phase == Phase::Pending || phase.ended() => PERIOD_IDLE,
        _ => PERIOD_BLIND * 5,
    };
    Ok(next(after, Reconcile::Refused))
}

/// The next look when somebody else wrote: the watch is about to show what, and nothing is decided before.
pub(crate) fn outdated() -> Next {
    Next {
        outdated: true,
        ..next(AGAIN, Reconcile::Unchanged)
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
        outdated: false,
    }
}
