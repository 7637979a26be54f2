//! Tables and pods of a run: made when they are missing, put back when they are not as wanted. Client required.

use std::time::{Duration, Instant};

use kinex_core::experiment::{Effect, Phase, Spec, Status};
use kinex_kcl::ports::FaultKind;

use crate::apply::{Error, Live};
use crate::build;
use crate::claim;
use crate::controller::Context;
use crate::effects::Hands;
use crate::observe::{Cluster, wanted};
use crate::scene::Scene;
use crate::status::Trouble;

/// What somebody changed by hand is put back within this time.
const DRIFT: Duration = Duration::from_secs(60);

/// Makes the tables of a run that begins. Those of another program or namespace are never touched.
async fn prepare(scene: &mut Scene, namespace: &str, status: &Status) -> Result<(), Trouble> {
    // What is being made anew is looked at when it is there.
    if scene.prepared || scene.actor.busy() {
        return Ok(());
    }
    // Later the tables are the consumers': one that vanishes under them is not made again.
    if status.phase == Phase::Setup {
        let making = scene.actor.ledger().make_tables(&scene.subject);
        Box::pin(making).await.map_err(|fault| Trouble {
            reason: if fault.kind == FaultKind::Invalid {
                "TableOfAnother"
            } else {
                "TablesNotReady"
            },
            message: format!("{fault}; the tables are named after the experiment, and the run waits for them"),
        })?;
        Box::pin(claim::claim(&scene.subject, namespace)).await?;
    }
    scene.prepared = status.run_nonce.is_some();
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
    scene: &mut Scene,
    hands: &Hands<'_>,
    spec: &Spec,
    status: &Status,
) -> Result<bool, Trouble> {
    let generation = hands.experiment.metadata.generation;
    let settled = scene.prepared
        && scene
            .applied
            .is_some_and(|(of, at)| of == generation && at.elapsed() < DRIFT && hands.cluster.set.is_some());
    if settled {
        return Ok(true);
    }
    if let Some(trouble) = scene.applying.holds(Instant::now()) {
        return Err(trouble);
    }
    let applied = Box::pin(write(context, scene, hands, spec, status)).await;
    match &applied {
        Ok(true) => {
            scene.applied = Some((generation, Instant::now()));
            scene.applying.done();
        }
        Ok(false) => {}
        Err(trouble) => scene.applying.refused(trouble.clone(), Instant::now()),
    }
    applied
}

async fn write(
    context: &Context,
    scene: &mut Scene,
    hands: &Hands<'_>,
    spec: &Spec,
    status: &Status,
) -> Result<bool, Trouble> {
    let wanted = build::workload(hands.experiment, spec, &context.settings, &scene.key.run);
    let trouble = |error: Error| Trouble {
        reason: error.reason(),
        message: error.to_string(),
    };
    let live = Live::read(&context.client, &wanted).await.map_err(trouble)?;
    live.check(&wanted).map_err(trouble)?;
    // The consumers do not make tables, so these come before them.
    prepare(scene, &hands.namespace(), status).await?;
    // The fleet that a run was begun with stays until the next one: an upgrade of the operator replaces no pod.
    let pinned = !status.steps.is_empty();
    match Box::pin(wanted.apply(&context.client, live, pinned)).await {
        Ok(_) => Ok(true),
        Err(Error::Conflict { .. }) => Ok(false),
        Err(error) => Err(trouble(error)),
    }
}

/// Tells the workers how many of them are wanted, so that one that is asked to leave knows whether it will come back.
pub(crate) async fn tell_wanted(scene: &mut Scene, cluster: &Cluster, effects: &[Effect]) {
    let ordered = effects.iter().find_map(|effect| match effect {
        Effect::Scale { replicas } => Some(*replicas),
        _ => None,
    });
    let Some(replicas) = ordered.or_else(|| cluster.set.as_deref().map(wanted)) else {
        return;
    };
    if scene.told == Some(replicas) {
        return;
    }
    let body = serde_json::json!({ "replicas": replicas }).to_string();
    let facts = scene.subject.clients.facts(&scene.subject.application);
    match facts.put("control", "replicas", &body).await {
        Ok(()) => scene.told = Some(replicas),
        Err(error) => tracing::debug!(%error, "the workers could not be told how many are wanted"),
    }
}
