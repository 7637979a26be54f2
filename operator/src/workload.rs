//! Tables and pods of a run: made when they are missing, put back when they are not as wanted. Client required.

use std::time::{Duration, Instant};

use kinex_core::experiment::{Effect, Phase, Spec, Status};
use kinex_kcl::ports::FaultKind;

use crate::active_run::ActiveRun;
use crate::apply::{Error, Live};
use crate::build;
use crate::claim;
use crate::controller::Context;
use crate::effects::EffectExecutor;
use crate::observe::{Cluster, wanted};
use crate::status::Stall;

/// What somebody changed by hand is put back within this time.
const DRIFT: Duration = Duration::from_secs(60);

/// Makes the tables of a run that begins. Those of another program or namespace are never touched.
async fn prepare(active_run: &mut ActiveRun, namespace: &str, status: &Status) -> Result<(), Stall> {
    // What is being made anew is looked at when it is there.
    if active_run.prepared || active_run.actor.busy() {
        return Ok(());
    }
    // Later the tables are the consumers': one that vanishes under them is not made again.
    if status.phase == Phase::Setup {
        let making = active_run.actor.ledger().make_tables(&active_run.subject);
        Box::pin(making).await.map_err(|fault| Stall {
            reason: if fault.kind == FaultKind::Invalid {
                "TableOfAnother"
            } else {
                "TablesNotReady"
            },
            message: format!("{fault}; the tables are named after the experiment, and the run waits for them"),
        })?;
        Box::pin(claim::claim(&active_run.subject, namespace)).await?;
    }
    active_run.prepared = status.run_nonce.is_some();
    Ok(())
}

/// Makes tables and objects of the experiment as they are wanted, and says whether they are in place.
///
/// Nothing at all is made while an object of one of the names is somebody else's. `false`: somebody wrote in between,
/// and the next reconcile reads again.
///
/// # Errors
/// What is in the way. Until it is gone, nothing of the run may have an effect on the cluster or on the stream.
pub(crate) async fn apply(
    context: &Context,
    active_run: &mut ActiveRun,
    executor: &EffectExecutor<'_>,
    spec: &Spec,
    status: &Status,
) -> Result<bool, Stall> {
    let generation = executor.experiment.metadata.generation;
    let settled = active_run.prepared
        && active_run
            .applied
            .is_some_and(|(of, at)| of == generation && at.elapsed() < DRIFT && executor.cluster.set.is_some());
    if settled {
        return Ok(true);
    }
    if let Some(stall) = active_run.applying.holds(Instant::now()) {
        return Err(stall);
    }
    let applied = Box::pin(write(context, active_run, executor, spec, status)).await;
    match &applied {
        Ok(true) => {
            active_run.applied = Some((generation, Instant::now()));
            active_run.applying.done();
        }
        Ok(false) => {}
        Err(stall) => active_run.applying.refused(stall.clone(), Instant::now()),
    }
    applied
}

async fn write(
    context: &Context,
    active_run: &mut ActiveRun,
    executor: &EffectExecutor<'_>,
    spec: &Spec,
    status: &Status,
) -> Result<bool, Stall> {
    let wanted = build::workload(executor.experiment, spec, &context.settings, &active_run.key.run);
    let stall = |error: Error| Stall {
        reason: error.reason(),
        message: error.to_string(),
    };
    let live = Live::read(&context.client, &wanted).await.map_err(stall)?;
    live.check(&wanted).map_err(stall)?;
    // The consumers do not make tables, so these come before them.
    prepare(active_run, &executor.namespace(), status).await?;
    // The fleet that a run was begun with stays until the next one: an upgrade of the operator replaces no pod.
    let pinned = !status.steps.is_empty();
    match Box::pin(wanted.apply(&context.client, live, pinned)).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict { .. }) => Ok(false),
        Err(error) => Err(stall(error)),
    }
}

/// Tells the workers how many of them are wanted, so that one that is asked to leave knows whether it will come back.
pub(crate) async fn tell_wanted(active_run: &mut ActiveRun, cluster: &Cluster, effects: &[Effect]) {
    let ordered = effects.iter().find_map(|effect| match effect {
        Effect::Scale { replicas } => Some(*replicas),
        _ => None,
    });
    let Some(replicas) = ordered.or_else(|| cluster.set.as_deref().map(wanted)) else {
        return;
    };
    if active_run.told == Some(replicas) {
        return;
    }
    let body = serde_json::json!({ "replicas": replicas }).to_string();
    let facts = active_run.subject.clients.facts(&active_run.subject.application);
    match facts.put("control", "replicas", &body).await {
        Ok(()) => active_run.told = Some(replicas),
        Err(error) => tracing::debug!(%error, "the workers could not be told how many are wanted"),
    }
}
