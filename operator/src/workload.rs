//! Tables and pods of a run: made when they are missing, put back when they are not as wanted. Client required.

use std::time::{Duration, Instant};

use kinex_core::experiment::{Effect, Phase, Spec, Status};
use kinex_kcl::ports::FaultKind;

use crate::apply::Live;
use crate::build;
use crate::claim;
use crate::controller::Context;
use crate::effects::Hands;
use crate::observe::{Cluster, wanted};
use crate::scene::Scene;
use crate::status::Trouble;

/// What somebody changed by hand is put back within this time.
const DRIFT: Duration = Duration::from_secs(60);
/// From one try that was refused to the next.
const RETRY: Duration = Duration::from_secs(5);

/// Makes the tables of a run that begins. Those of another program or namespace are never touched.
pub(crate) async fn prepare(scene: &mut Scene, namespace: &str, status: &Status) -> Result<(), Trouble> {
    if scene.prepared {
        return Ok(());
    }
    // Later the tables are the consumers': one that vanishes under them is not made again.
    if status.phase == Phase::Setup {
        let tables = scene.subject.clients.tables(&scene.subject.application);
        Box::pin(tables.ensure()).await.map_err(|fault| Trouble {
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

/// Writes the objects of the experiment where the cluster does not have them so.
pub(crate) async fn apply(context: &Context, scene: &mut Scene, hands: &Hands<'_>, spec: &Spec) -> Result<(), Trouble> {
    let generation = hands.experiment.metadata.generation;
    let settled = scene
        .applied
        .is_some_and(|(of, at)| of == generation && at.elapsed() < DRIFT && hands.cluster.set.is_some());
    if settled {
        return Ok(());
    }
    if let Some((trouble, at)) = &scene.refused
        && at.elapsed() < RETRY
    {
        return Err(trouble.clone());
    }
    let applied = Box::pin(write(context, scene, hands, spec)).await;
    match &applied {
        Ok(()) => {
            scene.applied = Some((generation, Instant::now()));
            scene.refused = None;
        }
        Err(trouble) => scene.refused = Some((trouble.clone(), Instant::now())),
    }
    applied
}

async fn write(context: &Context, scene: &Scene, hands: &Hands<'_>, spec: &Spec) -> Result<(), Trouble> {
    let workload = build::workload(hands.experiment, spec, &context.settings, &scene.key.run);
    let trouble = |error: crate::apply::Error| Trouble {
        reason: error.reason(),
        message: error.to_string(),
    };
    let live = Live::read(&context.client, &workload).await.map_err(trouble)?;
    Box::pin(workload.apply(&context.client, live)).await.map_err(trouble)?;
    Ok(())
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
