//! Carrying out what was decided on pods and scale; what is on the stream goes to the shared actor. Client required.
//!
//! Every effect may come again until the world shows it done, and each is harmless when it does.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Effect, Failure, KillMode, PlannedPod};
use kinex_core::lease::Process;
use kinex_core::worker::WorkerWrite;
use kinex_kcl::ports::{Fault, LeaseStore};
use kinex_stage::Actor;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tracing::info;

use crate::active_run::ActiveRun;
use crate::metrics::Meters;
use crate::observe::{Cluster, SCALE_MANAGER, wanted};
use crate::status::{Stall, conflict, stall_of};

/// Who copies somebody else's scaling to the experiment.
const MIRROR_MANAGER: &str = "kinex/mirror";

/// Why an effect was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    message: String,
    /// Whether trying again cannot help.
    lasting: bool,
    /// Whether a permission is missing.
    denied: bool,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self {
            message: fault.to_string(),
            lasting: false,
            denied: false,
        }
    }
}

/// An order to the producer is said again after this time.
const RATE_AGAIN: Duration = Duration::from_secs(5);

/// What effects are carried out with.
pub(crate) struct EffectExecutor<'a> {
    /// The cluster's API.
    pub(crate) client: &'a Client,
    /// The experiment as its status was written.
    pub(crate) experiment: &'a KinesisExperiment,
    /// What was seen of the cluster.
    pub(crate) cluster: &'a Cluster,
    /// Where it is counted.
    pub(crate) meters: &'a Meters,
}

impl EffectExecutor<'_> {
    /// Carries out effects in their order. What is refused is told to the next decision.
    pub(crate) async fn carry_out(&self, active_run: &mut ActiveRun, effects: Vec<Effect>) {
        let (mut calls, now) = (Vec::new(), Instant::now());
        for effect in effects {
            if Actor::takes(&effect) {
                calls.push(effect);
                continue;
            }
            let kind = effect.kind();
            let which = format!("{effect:?}");
            let held = active_run.acting.get(&which).and_then(|pacing| pacing.holds(now));
            let refused = match held {
                Some(refused) => refused,
                None => match self.one(active_run, effect).await {
                    Ok(()) => {
                        self.meters.effect(kind, true);
                        active_run.acting.remove(&which);
                        continue;
                    }
                    Err(refused) => {
                        self.meters.effect(kind, false);
                        active_run
                            .acting
                            .entry(which)
                            .or_default()
                            .refused(refused.clone(), now);
                        refused
                    }
                },
            };
            let Refused {
                message,
                lasting,
                denied,
            } = refused;
            if denied {
                active_run.stall = Some(Stall {
                    reason: "PermissionDenied",
                    message: message.clone(),
                });
            }
            active_run.failures.push(Failure {
                effect: kind.to_owned(),
                message,
                lasting,
            });
        }
        active_run.acting.retain(|_, pacing| !pacing.stale(now));
        if !calls.is_empty() && !active_run.actor.busy() {
            info!(
                experiment = self.experiment.name_any(),
                effects = calls.len(),
                first = calls[0].kind(),
                "act on the stream"
            );
            for call in &calls {
                self.meters.effect(call.kind(), true);
            }
            active_run.actor.begin(calls);
        }
    }

    async fn one(&self, active_run: &mut ActiveRun, effect: Effect) -> Result<(), Refused> {
        match effect {
            Effect::Scale { replicas } => self.scale(replicas).await,
            Effect::MirrorReplicas { replicas } => self.mirror(replicas).await,
            Effect::SetProducer { records_per_second } => {
                // The order stands in a row; until the producer is up there is no need to say it with every look.
                let known = active_run
                    .rate
                    .is_some_and(|(rate, at)| rate == records_per_second && at.elapsed() < RATE_AGAIN);
                if !known {
                    info!(
                        experiment = self.experiment.name_any(),
                        records_per_second, "order the producer"
                    );
                    active_run.actor.order_producer(records_per_second).await;
                    active_run.rate = Some((records_per_second, Instant::now()));
                }
                Ok(())
            }
            // A StatefulSet starts its pods again by itself; another wish was refused.
            Effect::Kill { pod, mode, restart: _ } => match mode {
                KillMode::Delete => self.delete(active_run, &pod, None).await,
                KillMode::Force => self.delete(active_run, &pod, Some(0)).await,
                KillMode::Crash => order(active_run, pod, format!("crash {}", self.step())).await,
            },
            Effect::Freeze { pod, milliseconds } => {
                order(active_run, pod, format!("freeze {milliseconds} {}", self.step())).await
            }
            // A helper beside the process lets it go on when its time is over.
            Effect::Thaw { .. } => Ok(()),
            Effect::CreateStream { .. }
            | Effect::DeleteStream { .. }
            | Effect::SplitShard { .. }
            | Effect::MergeShards { .. }
            | Effect::UpdateShardCount { .. } => Ok(()),
        }
    }

    /// Scales through the scale interface, only when the number is another one, and only the set that was seen: when
    /// somebody scaled it meanwhile, that is decided upon first.
    async fn scale(&self, replicas: u32) -> Result<(), Refused> {
        // One that is not there, or is somebody else's, is not scaled.
        let Some(set) = self.cluster.set.as_deref().filter(|set| wanted(set) != replicas) else {
            return Ok(());
        };
        let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace());
        let parameters = PatchParams {
            field_manager: Some(SCALE_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        info!(experiment = self.experiment.name_any(), replicas, "scale the workers");
        let patch = Patch::Merge(json!({
            "metadata": { "uid": set.uid(), "resourceVersion": set.resource_version() },
            "spec": { "replicas": replicas },
        }));
        let scaled = api.patch_scale(&set.name_any(), &parameters, &patch).await;
        self.meters.api_write("statefulsets/scale", "patch");
        done(scaled, "scale the workers")
    }

    /// Copies the number of workers to the experiment, unless somebody changed the experiment meanwhile.
    async fn mirror(&self, replicas: u32) -> Result<(), Refused> {
        if u32::try_from(self.experiment.spec.replicas) == Ok(replicas) {
            return Ok(());
        }
        let api: Api<KinesisExperiment> = Api::namespaced(self.client.clone(), &self.namespace());
        let parameters = PatchParams {
            field_manager: Some(MIRROR_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        info!(
            experiment = self.experiment.name_any(),
            replicas, "copy the number of workers to the experiment"
        );
        let patch = Patch::Merge(json!({
            "metadata": { "uid": self.experiment.uid(), "resourceVersion": self.experiment.resource_version() },
            "spec": { "replicas": replicas },
        }));
        let copied = api.patch(&self.experiment.name_any(), &parameters, &patch).await;
        self.meters.api_write("kinesisexperiments", "patch");
        done(copied, "copy the number of workers to the experiment")
    }

    /// Deletes the very pod that the process runs in; a later one of the same name is left alone.
    async fn delete(&self, active_run: &ActiveRun, planned: &PlannedPod, grace: Option<u32>) -> Result<(), Refused> {
        let Some(pod) = self.pod(active_run, planned) else {
            return Ok(());
        };
        // Asked to leave once is enough; force needs to be said even to one that is leaving.
        if grace.is_none() && pod.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace());
        let parameters = DeleteParams {
            grace_period_seconds: grace,
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        info!(pod = pod.name_any(), force = grace.is_some(), "delete the pod");
        let deleted = api.delete(&pod.name_any(), &parameters).await;
        self.meters.api_write("pods", "delete");
        done(deleted, "delete a pod")
    }

    fn pod(&self, active_run: &ActiveRun, planned: &PlannedPod) -> Option<&Pod> {
        let row = active_run.processes.get(&planned.worker)?;
        let mine = |pod: &&Pod| pod.name_any() == planned.worker.as_str() && pod.uid().as_ref() == Some(&row.pod_uid);
        let pod = self.cluster.pods.iter().map(AsRef::as_ref).find(mine)?;
        (row.incarnation == planned.incarnation).then_some(pod)
    }

    /// Tells the orders of two steps, and of two runs, apart.
    fn step(&self) -> String {
        let status = self.experiment.status.as_ref();
        let step = status
            .and_then(|status| status.steps.last())
            .map(|step| step.name.as_str());
        let nonce = status.and_then(|status| status.run_nonce).unwrap_or(0);
        format!("{nonce}/{}", step.unwrap_or("-"))
    }

    /// Where the experiment is.
    pub(crate) fn namespace(&self) -> String {
        self.experiment.namespace().unwrap_or_default()
    }
}

/// Writes an order into the row of a process, once.
async fn order(active_run: &mut ActiveRun, pod: PlannedPod, order: String) -> Result<(), Refused> {
    let PlannedPod { worker, incarnation } = pod;
    let given = (incarnation.clone(), order.clone());
    if active_run.ordered.contains(&given) {
        return Ok(());
    }
    info!(%worker, order, "order a process");
    let store = active_run.subject.clients.leases(&active_run.subject.application);
    // An operator that was here before may have given it, and the process may have answered.
    let row = store.worker(&worker).await?;
    let known = row
        .filter(|row| row.incarnation == incarnation)
        .and_then(|row| row.order);
    if known.is_some_and(|known| known.ends_with(&order)) {
        active_run.ordered.insert(given);
        return Ok(());
    }
    let write = WorkerWrite::Order {
        process: Process { worker, incarnation },
        order: Some(order),
    };
    // A refusal says that the process is not there any more, which the next look shows.
    store.write_worker(&write).await?;
    active_run.ordered.insert(given);
    Ok(())
}

/// What is gone, or was changed by somebody else meanwhile, is seen and decided anew.
fn done<T>(answer: kube::Result<T>, what: &str) -> Result<(), Refused> {
    match answer {
        Ok(_) => Ok(()),
        Err(error) if conflict(&error) || matches!(&error, kube::Error::Api(answer) if answer.code == 404) => Ok(()),
        Err(error) => {
            let code = match &error {
                kube::Error::Api(answer) => answer.code,
                _ => 0,
            };
            Err(Refused {
                message: stall_of(&error, what).message,
                // A permission can be granted while the run goes on; a number out of bounds stays so.
                lasting: code == 422,
                denied: code == 403,
            })
        }
    }
}
