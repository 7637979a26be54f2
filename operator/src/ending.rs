//! How a run ends with its report, and how an experiment leaves. Client required.

use std::sync::Arc;
use std::time::Duration;

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Spec, Status, Timestamp, World, overrule};
use kinex_stage::outcome::{self, Facts};
use kinex_stage::{Subject, last_audit, report};
use kube::ResourceExt;
use tracing::{info, warn};

use crate::cleanup;
use crate::controller::{Context, wall};
use crate::events::{self, Notice};
use crate::limits;
use crate::memory::Keeper;
use crate::metrics::Reconcile;
use crate::observe::Cluster;
use crate::round::{Error, Next, next, outdated};
use crate::scene::{Memo, Scene};
use crate::status::{Trouble, conflict, trouble_of};

/// How long records that are still on their way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(20);
/// A report that cannot be written in this time holds up the run's completion no longer.
pub(crate) const REPORT_WITHIN: Duration = Duration::from_secs(90);
/// From one try to clean up to the next.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps what was seen while the run goes on, and writes the report once it has ended.
pub(crate) async fn keep(
    context: &Context,
    scene: &mut Scene,
    experiment: &KinesisExperiment,
    spec: &Spec,
    status: &Status,
    now: Timestamp,
) -> Result<(), Trouble> {
    let Some(nonce) = status.run_nonce else { return Ok(()) };
    let keeper = Keeper::new(&context.client, experiment, nonce, spec.reports);
    if !status.phase.ended() {
        let wrote = keeper.keep(scene).await;
        if wrote.map_err(|error| trouble_of(&error, "keep what was seen in the run's ConfigMap"))? {
            context.meters.api_write("configmaps", "patch");
        }
        return Ok(());
    }
    if scene.reported {
        return Ok(());
    }
    // What is sent from now on belongs to no step.
    scene.actor.order_producer(0).await;
    let late = status.finished_at.is_none_or(|at| now.since(at) >= DRAIN);
    if scene.last_audit.is_none() {
        scene.last_audit = match scene.observer.judge(now).await {
            Ok(records) if records.missing > 0 && !late => return Ok(()),
            Err(_) if !late => return Ok(()),
            Ok(records) => Some(records),
            Err(_) => None,
        };
    }
    // The verdict that the audit takes back is written first: no report stands beside another one.
    if overruled(scene, spec, status, now).is_some() {
        return Ok(());
    }
    let facts = Facts {
        endpoint: scene.key.endpoint.clone(),
        records: scene.last_audit.clone(),
        requests: std::collections::BTreeMap::new(),
        samples: scene.samples.clone(),
    };
    let world = scene.seen.clone().unwrap_or_default();
    let recording = outcome::recording(spec, status, &world, &scene.observer, facts);
    let files = report::files(&recording).map_err(|error| Trouble {
        reason: "ReportFailed",
        message: format!("the report cannot be made: {error:#}"),
    })?;
    let published = keeper.publish(scene, &files).await;
    context.meters.api_write("configmaps", "patch");
    published.map_err(|error| trouble_of(&error, "write the report"))?;
    info!(experiment = experiment.name_any(), nonce, verdict = ?status.verdict, "report written");
    let mut nonces: Vec<u64> = status.history.iter().map(|run| run.nonce).collect();
    nonces.push(nonce);
    keeper
        .prune(&nonces)
        .await
        .map_err(|error| trouble_of(&error, "delete the reports of old runs"))
}

/// The status of a run whose verdict its last audit contradicts.
pub(crate) fn overruled(scene: &Scene, spec: &Spec, status: &Status, now: Timestamp) -> Option<Status> {
    let world = World {
        records: last_audit(scene.last_audit.clone()?, now),
        ..scene.seen.clone().unwrap_or_default()
    };
    overrule(spec, status, &world, now)
}

/// Lets a deleted experiment go, with its stream if it says so.
pub(crate) async fn leave(
    context: &Context,
    memo: &mut Memo,
    experiment: &Arc<KinesisExperiment>,
) -> Result<Next, Error> {
    let title = context.title(experiment.as_ref());
    let (namespace, uid) = (
        experiment.namespace().unwrap_or_default(),
        experiment.uid().unwrap_or_default(),
    );
    context.note_running(&namespace, &uid, false);
    if let Some(mut scene) = memo.scene.take() {
        scene.actor.stop();
    }
    context.meters.forget(&title);
    if !cleanup::held(experiment) {
        return Ok(next(Duration::from_secs(60), Reconcile::Unchanged));
    }
    let since = cleanup::deleted_at(experiment).unwrap_or_default();
    let late = wall().since(since) >= context.settings.cleanup_timeout;
    match clean(context, experiment).await {
        Ok(true) => info!(experiment = title, "stream and tables are deleted"),
        Ok(false) if !late => return Ok(next(RETRY, Reconcile::Changed)),
        Err(why) if !late => {
            warn!(experiment = title, why, "cannot delete the stream yet");
            return Ok(next(RETRY, Reconcile::Failed));
        }
        Ok(false) => give_up(context, experiment, "its pods do not end").await,
        Err(why) => give_up(context, experiment, &why).await,
    }
    let freed = cleanup::hold(&context.client, experiment, false).await;
    context.meters.api_write("kinesisexperiments", "patch");
    match freed {
        Ok(_) => Ok(next(Duration::from_secs(60), Reconcile::Changed)),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(next(RETRY, Reconcile::Unchanged)),
        Err(error) if conflict(&error) => Ok(outdated()),
        Err(source) => Err(Error::Api {
            what: "take the finalizer off the experiment",
            source,
        }),
    }
}

/// Deletes what is outside the cluster; false while pods still work on it.
async fn clean(context: &Context, experiment: &KinesisExperiment) -> Result<bool, String> {
    // Nothing was made by a run that never began, and nothing is deleted that could not be made.
    if experiment
        .status
        .as_ref()
        .is_none_or(|status| status.run_nonce.is_none())
    {
        return Ok(true);
    }
    let spec = kinex_api::convert(experiment).map_err(|_| "the experiment makes no sense any more".to_owned())?;
    if let Some(refusal) = limits::refuse(experiment, &spec, &context.settings) {
        return Err(refusal.message);
    }
    let place = context.settings.place_of(&spec).ok_or("no endpoint is named")?;
    let namespace = experiment.namespace().unwrap_or_default();
    let cluster = Cluster::of(&context.stores, experiment);
    let stopped = cleanup::stop_programs(&context.client, &cluster).await;
    stopped.map_err(|error| error.to_string())?;
    if !cluster.pods.is_empty() {
        return Ok(false);
    }
    let subject = Subject {
        clients: context.clients(&place).await.map_err(|fault| fault.to_string())?,
        stream: spec.stream.name.clone(),
        application: spec.name.clone(),
    };
    cleanup::delete(&subject, &namespace).await.map(|()| true)
}

async fn give_up(context: &Context, experiment: &KinesisExperiment, why: &str) {
    let note = format!(
        "stream {} and the tables of {} are left behind after {:?}: {why}; delete them with `kinex clean`",
        experiment.spec.stream.name,
        experiment.name_any(),
        context.settings.cleanup_timeout,
    );
    warn!(experiment = experiment.name_any(), note, "cleaning up is given up");
    let notice = Notice {
        warning: true,
        reason: "CleanupGivenUp".to_owned(),
        action: "delete".to_owned(),
        note,
    };
    events::publish(&context.recorder, experiment, vec![notice]).await;
}
