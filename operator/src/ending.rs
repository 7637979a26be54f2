//! How a run ends with its report, and how an experiment leaves. Client required.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Afterwards, Created, Spec, Status, Timestamp, World, overrule};
use kinex_stage::outcome::{self, Facts};
use kinex_stage::{Subject, last_audit, report};
use kube::ResourceExt;
use tracing::{info, warn};

use crate::active_run::{ActiveRun, CachedState};
use crate::cleanup;
use crate::controller::{Context, wall};
use crate::effects::EffectExecutor;
use crate::events::{self, Notice};
use crate::limits;
use crate::memory::RunStore;
use crate::metrics::Reconcile;
use crate::observe::Cluster;
use crate::reconcile::{Error, Next, next, note_created, status_conflict};
use crate::status::{Stall, conflict, stall_of};

/// How long records that are still on their way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(20);
/// A report that cannot be written in this time holds up the run's completion no longer.
pub(crate) const REPORT_WITHIN: Duration = Duration::from_secs(90);
/// How long a call on the stream that is under way may take when the experiment goes: whose a stream is shows in its
/// answer alone.
const SETTLE: Duration = Duration::from_secs(5);
/// From one try to clean up to the next.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps what was seen while the run goes on, and writes the report once it has ended. What was refused is not tried again
/// at once.
pub(crate) async fn keep(
    context: &Context,
    active_run: &mut ActiveRun,
    experiment: &KinesisExperiment,
    spec: &Spec,
    status: &Status,
    now: Timestamp,
) -> Result<(), Stall> {
    if let Some(stall) = active_run.keeping.holds(Instant::now()) {
        return Err(stall);
    }
    let kept = Box::pin(write(context, active_run, experiment, spec, status, now)).await;
    match &kept {
        Ok(()) => active_run.keeping.done(),
        Err(stall) => active_run.keeping.refused(stall.clone(), Instant::now()),
    }
    kept
}

async fn write(
    context: &Context,
    active_run: &mut ActiveRun,
    experiment: &KinesisExperiment,
    spec: &Spec,
    status: &Status,
    now: Timestamp,
) -> Result<(), Stall> {
    let Some(nonce) = status.run_nonce else { return Ok(()) };
    let run_store = RunStore::new(&context.client, experiment, nonce, spec.reports);
    if !status.phase.ended() {
        let wrote = run_store.keep(active_run).await;
        if wrote.map_err(|error| stall_of(&error, "keep what was seen in the run's ConfigMap"))? {
            context.meters.api_write("configmaps", "patch");
        }
        return Ok(());
    }
    if !active_run.reported && !publish(context, active_run, experiment, spec, status, &run_store, now).await? {
        return Ok(());
    }
    if active_run.pruned {
        return Ok(());
    }
    let mut nonces: Vec<u64> = status.history.iter().map(|run| run.nonce).collect();
    nonces.push(nonce);
    let pruned = run_store.prune(&nonces).await;
    active_run.pruned = pruned.map_err(|error| stall_of(&error, "delete the reports of old runs"))?;
    if active_run.pruned {
        return Ok(());
    }
    Err(Stall {
        reason: "Refused",
        message: "a report of an old run was changed while it was being deleted; it is tried again".to_owned(),
    })
}

/// Writes the report, when every record is delivered or given up; says whether it did.
async fn publish(
    context: &Context,
    active_run: &mut ActiveRun,
    experiment: &KinesisExperiment,
    spec: &Spec,
    status: &Status,
    run_store: &RunStore<'_>,
    now: Timestamp,
) -> Result<bool, Stall> {
    // What is sent from now on belongs to no step.
    active_run.actor.order_producer(0).await;
    let late = status.finished_at.is_none_or(|at| now.since(at) >= DRAIN);
    if active_run.last_audit.is_none() {
        active_run.last_audit = match active_run.observer.judge(now).await {
            Ok(records) if records.missing > 0 && !late => return Ok(false),
            Err(_) if !late => return Ok(false),
            Ok(records) => Some(records),
            Err(_) => None,
        };
    }
    // The verdict that the audit takes back is written first: no report stands beside another one.
    if overruled(active_run, spec, status, now).is_some() {
        return Ok(false);
    }
    let facts = Facts {
        endpoint: active_run.key.endpoint.clone(),
        records: active_run.last_audit.clone(),
        requests: std::collections::BTreeMap::new(),
        samples: active_run.samples.clone(),
    };
    let world = active_run.seen.clone().unwrap_or_default();
    let recording = outcome::recording(spec, &active_run.whole(status), &world, &active_run.observer, facts);
    let files = report::files(&recording).map_err(|error| Stall {
        reason: "ReportFailed",
        message: format!("the report cannot be made: {error:#}"),
    })?;
    let published = run_store.publish(active_run, &files).await;
    context.meters.api_write("configmaps", "patch");
    published.map_err(|error| stall_of(&error, "write the report"))?;
    info!(experiment = experiment.name_any(), verdict = ?status.verdict, "report written");
    Ok(true)
}

/// Does what is left for an experiment whose run has ended, and whose report is written: stops the fleet and, in the end,
/// deletes the experiment. Returns how long nothing more is to be done.
///
/// # Errors
/// What the API server refused.
pub(crate) async fn afterwards(
    context: &Context,
    executor: &EffectExecutor<'_>,
    spec: &Spec,
    status: &Status,
    now: Timestamp,
) -> Result<Duration, Stall> {
    let cluster = executor.cluster;
    if spec.run.afterwards == Afterwards::StopPods && (cluster.set.is_some() || cluster.producer.is_some()) {
        let stopped = cleanup::stop_programs(&context.client, cluster).await;
        stopped.map_err(|error| stall_of(&error, "stop the pods of the run that has ended"))?;
    }
    let (Some(kept_for), Some(ended)) = (spec.kept_for, status.finished_at) else {
        return Ok(Duration::MAX);
    };
    let left = kept_for.saturating_sub(now.since(ended));
    if left.is_zero() {
        info!(
            experiment = executor.experiment.name_any(),
            "its time to live is over: deleted"
        );
        let deleted = cleanup::delete_exactly(&context.client, executor.experiment).await;
        context.meters.api_write("kinesisexperiments", "delete");
        deleted.map_err(|error| stall_of(&error, "delete the experiment whose ttlSecondsAfterFinished is over"))?;
    }
    // Another try, should somebody have changed it in between.
    Ok(left.max(RETRY))
}

/// The status of a run whose verdict its last audit contradicts.
pub(crate) fn overruled(active_run: &ActiveRun, spec: &Spec, status: &Status, now: Timestamp) -> Option<Status> {
    let world = World {
        records: last_audit(active_run.last_audit.clone()?, now),
        ..active_run.seen.clone().unwrap_or_default()
    };
    overrule(spec, status, &world, now)
}

/// Lets a deleted experiment go, with its stream if it says so.
pub(crate) async fn leave(
    context: &Context,
    cached: &mut CachedState,
    experiment: &Arc<KinesisExperiment>,
) -> Result<Next, Error> {
    let title = context.title(experiment.as_ref());
    let (namespace, uid) = (
        experiment.namespace().unwrap_or_default(),
        experiment.uid().unwrap_or_default(),
    );
    context.note_running(&namespace, &uid, false);
    let mut created = experiment.status.clone().unwrap_or_default().created;
    if let Some(active_run) = &mut cached.active_run {
        active_run.actor.settle(SETTLE).await;
        created.add(&active_run.actor.ledger().created());
    }
    context.meters.forget(&title);
    if !cleanup::held(experiment) {
        cached.active_run = None;
        return Ok(next(Duration::from_secs(60), Reconcile::Unchanged));
    }
    note_created(context, experiment, &created).await?;
    cached.active_run = None;
    let since = cleanup::deleted_at(experiment).unwrap_or_default();
    let late = wall().since(since) >= context.settings.cleanup_timeout;
    let cleaned = match clean(context, experiment, &created).await {
        // Where nothing was created nothing is left behind.
        Err(_) if created.is_empty() => Ok(Some(Vec::new())),
        cleaned => cleaned,
    };
    match cleaned {
        Ok(Some(stays)) if stays.is_empty() => info!(experiment = title, "stream and tables are deleted"),
        Ok(Some(stays)) => tell_kept(context, experiment, &stays).await,
        Ok(None) if !late => return Ok(next(RETRY, Reconcile::Changed)),
        Err(why) if !late => {
            warn!(experiment = title, why, "cannot delete the stream yet");
            return Ok(next(RETRY, Reconcile::Failed));
        }
        Ok(None) => give_up(context, experiment, "its pods do not end").await,
        Err(why) => give_up(context, experiment, &why).await,
    }
    let freed = cleanup::hold(&context.client, experiment, false).await;
    context.meters.api_write("kinesisexperiments", "patch");
    match freed {
        Ok(_) => Ok(next(Duration::from_secs(60), Reconcile::Changed)),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(next(RETRY, Reconcile::Unchanged)),
        Err(error) if conflict(&error) => Ok(status_conflict()),
        Err(source) => Err(Error::Api {
            what: "take the finalizer off the experiment",
            source,
        }),
    }
}

/// Deletes what the experiment created outside of the cluster, and says what stays; `None` while pods still work on it.
async fn clean(
    context: &Context,
    experiment: &KinesisExperiment,
    created: &Created,
) -> Result<Option<Vec<String>>, String> {
    // Nothing was made by a run that never began, and nothing is deleted that could not be made.
    if experiment
        .status
        .as_ref()
        .is_none_or(|status| status.run_nonce.is_none())
    {
        return Ok(Some(Vec::new()));
    }
    let spec = kinex_api::convert(experiment).map_err(|_| "the experiment makes no sense any more".to_owned())?;
    if let Some(refusal) = limits::refuse(experiment, &spec, &context.settings) {
        return Err(refusal.message);
    }
    let place = context.settings.place_of(&spec).ok_or("no endpoint is named")?;
    let cluster = Cluster::of(&context.stores, experiment);
    let stopped = cleanup::stop_programs(&context.client, &cluster).await;
    stopped.map_err(|error| error.to_string())?;
    if !cluster.pods.is_empty() {
        return Ok(None);
    }
    let subject = Subject {
        clients: context.clients(&place).await.map_err(|fault| fault.to_string())?,
        stream: spec.stream.name.clone(),
        application: context.settings.application(&spec),
    };
    cleanup::delete(&subject, created).await.map(Some)
}

/// Says what of the experiment's names is somebody else's.
async fn tell_kept(context: &Context, experiment: &KinesisExperiment, stays: &[String]) {
    let note = format!(
        "{}: left as it is. Delete it yourself if nobody needs it",
        stays.join(", ")
    );
    warn!(
        experiment = experiment.name_any(),
        note, "not everything is this experiment's to delete"
    );
    announce(context, experiment, false, "Kept", note).await;
}

async fn give_up(context: &Context, experiment: &KinesisExperiment, why: &str) {
    let note = format!(
        "stream {} and the tables of {} are left behind after {:?}: {why}; delete them with `kinex clean`",
        experiment.spec.stream.name,
        experiment.name_any(),
        context.settings.cleanup_timeout,
    );
    warn!(experiment = experiment.name_any(), note, "cleaning up is given up");
    announce(context, experiment, true, "CleanupGivenUp", note).await;
}

/// Publishes an event about the deletion of an experiment.
async fn announce(context: &Context, experiment: &KinesisExperiment, warning: bool, reason: &str, note: String) {
    let notice = Notice {
        warning,
        reason: reason.to_owned(),
        action: "delete".to_owned(),
        note,
    };
    events::publish(&context.recorder, experiment, vec![notice]).await;
}
