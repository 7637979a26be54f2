//! From what the watches and the endpoint show to a world. Client required.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Replicas, Timestamp, World};
use kinex_core::id::WorkerId;
use kinex_core::lease::Process;
use kinex_kcl::ports::FaultKind;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::active_run::ActiveRun;
use crate::build;
use crate::ownership::{EXPERIMENT_UID, owned_by};
use crate::pods::{self, ProcessRow};
use crate::watch::Stores;

/// How long one look at the endpoint may take. A single request gives up sooner; many of them one after the other not.
const PATIENCE: Duration = Duration::from_secs(15);
/// The label that says what of an experiment a pod is.
const COMPONENT: &str = "app.kubernetes.io/component";
/// The label that says which revision of its StatefulSet a pod is of.
const REVISION: &str = "controller-revision-hash";
/// The field manager of our own scaling.
pub(crate) const SCALE_MANAGER: &str = "kinex/scale";

/// What the cluster has of an experiment.
pub(crate) struct Cluster {
    /// The consumers.
    pub(crate) set: Option<Arc<StatefulSet>>,
    /// The consumers' pods.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The producer.
    pub(crate) producer: Option<Arc<Deployment>>,
}

impl Cluster {
    /// What belongs to the experiment, as the watches have it, which may be a moment old. Objects of the same names and
    /// labels that are somebody else's are left out.
    pub(crate) fn of(stores: &Stores, experiment: &KinesisExperiment) -> Self {
        let (uid, namespace) = (
            experiment.uid().unwrap_or_default(),
            experiment.namespace().unwrap_or_default(),
        );
        let set = stores
            .sets
            .get(&ObjectRef::new(&build::consumer_name(experiment)).within(&namespace))
            .filter(|set| owned_by(set.as_ref(), &uid));
        let producer = stores
            .deployments
            .get(&ObjectRef::new(&build::producer_name(experiment)).within(&namespace))
            .filter(|producer| owned_by(producer.as_ref(), &uid));
        // Pods may outlive their StatefulSet for a while, and then only the label says whose they are.
        let set_uid = set.as_deref().and_then(ResourceExt::uid);
        let ours = |pod: &Pod| match &set_uid {
            Some(set) => owned_by(pod, set),
            None => pod.labels().get(EXPERIMENT_UID) == Some(&uid),
        };
        let consumer = |pod: &Pod| pod.labels().get(COMPONENT).is_some_and(|part| part == "consumer");
        let mut pods = stores.pods.state();
        pods.retain(|pod| pod.namespace().as_deref() == Some(&namespace) && ours(pod) && consumer(pod));
        pods.sort_by_key(|pod| pod.name_any());
        Self { set, pods, producer }
    }

    /// The number of workers, and who set it.
    pub(crate) fn replicas(&self) -> Replicas {
        let present = self.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let set = self.set.as_deref();
        Replicas {
            wanted: set.map_or(0, wanted),
            generation: set.map_or(0, generation),
            present: u32::try_from(present.count()).unwrap_or(u32::MAX),
            problem: pods::problem(self.pods.iter().map(AsRef::as_ref)),
            by: set.and_then(scaled_by),
        }
    }

    /// Why the StatefulSet's controller replaces a pod: somebody changed the template. `None`: it does not.
    fn replaced(&self, pod: &Pod) -> Option<String> {
        let set = self.set.as_deref()?;
        let newest = set.status.as_ref()?.update_revision.as_ref()?;
        let revision = pod.labels().get(REVISION)?;
        let by = last_manager(set, "/f:spec/f:template").unwrap_or_else(|| "somebody".to_owned());
        (revision != newest).then(|| format!("{by} changed the template of statefulset {}", set.name_any()))
    }

    /// Whether the producer of the present run is up.
    pub(crate) fn producer_runs(&self) -> bool {
        let Some(producer) = &self.producer else { return false };
        let Some(status) = &producer.status else { return false };
        let settled = status.observed_generation >= producer.metadata.generation;
        settled && status.updated_replicas.unwrap_or(0) > 0 && status.ready_replicas.unwrap_or(0) > 0
    }
}

/// The workers that the StatefulSet wants.
pub(crate) fn wanted(set: &StatefulSet) -> u32 {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
    u32::try_from(replicas.unwrap_or(1)).unwrap_or(0)
}

/// Grows with every change of the StatefulSet, also of one that was deleted and made again.
fn generation(set: &StatefulSet) -> u64 {
    let made = set.metadata.creation_timestamp.as_ref();
    let made = made.map_or(0, |time| u64::try_from(time.0.as_second()).unwrap_or(0));
    let changes = u64::try_from(set.metadata.generation.unwrap_or(0)).unwrap_or(0);
    // Seconds fit 31 bits until 2038 and 33 bits for long; the definition takes 53 bits.
    (made << 20) | changes.min((1 << 20) - 1)
}

/// Who set the number of workers last, unless it was this operator.
fn scaled_by(set: &StatefulSet) -> Option<String> {
    last_manager(set, "/f:spec/f:replicas").filter(|manager| manager != SCALE_MANAGER)
}

/// Who wrote last of those who own a field.
fn last_manager(set: &StatefulSet, field: &str) -> Option<String> {
    let entries = set.metadata.managed_fields.as_deref().unwrap_or_default();
    let owns = |fields: &serde_json::Value| fields.pointer(field).is_some();
    let owners = entries
        .iter()
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)));
    let last = owners.max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    last.manager.clone()
}

/// One look at everything: proofs of death are written first, so that nobody waits for the dead.
pub(crate) async fn look(
    active_run: &mut ActiveRun,
    cluster: &Cluster,
    ended: Vec<pods::Death>,
    now: Timestamp,
) -> World {
    let seen = cluster.pods.iter().flat_map(|pod| pods::deaths(pod));
    for death in ended.into_iter().chain(seen) {
        let pods::Death { process, at, why } = death;
        if !active_run.observer.dead(&process.incarnation) {
            active_run.ends.note(process.clone(), now, why);
            tracing::info!(worker = %process.worker, incarnation = %process.incarnation, "process ended");
            active_run.observer.died(process.incarnation.clone(), at.unwrap_or(now));
            if active_run.observer.tells(&process.incarnation) {
                active_run.witness.saw(process);
            }
        }
    }
    for pod in &cluster.pods {
        let worker = WorkerId::from(pod.name_any());
        if let Some((incarnation, why)) = pods::leaving(pod, active_run.processes.get(&worker)) {
            let incarnation = incarnation.clone();
            let why = cluster.replaced(pod).unwrap_or(why);
            active_run.ends.note(Process { worker, incarnation }, now, why);
        }
    }
    // Removed at once, without an end that anybody saw. (The rows are older than the pods: no pod is too new for them.)
    let there: Vec<_> = cluster.pods.iter().filter_map(|pod| pod.uid()).collect();
    for (worker, row) in active_run
        .processes
        .iter()
        .filter(|(_, row)| !there.contains(&row.pod_uid))
    {
        let process = Process {
            worker: worker.clone(),
            incarnation: row.incarnation.clone(),
        };
        active_run.ends.note(process, now, "its pod is gone".to_owned());
    }
    let looking = Box::pin(read(active_run, cluster, now));
    let mut world = match tokio::time::timeout(PATIENCE, looking).await {
        Ok(world) => world,
        Err(_) => World {
            unseen: Some(format!("no answer within {} s", PATIENCE.as_secs())),
            replicas: cluster.replicas(),
            ..World::default()
        },
    };
    world.ends = active_run.ends.all().to_vec();
    world.failures = active_run.actor.failures().await;
    world.failures.append(&mut active_run.failures);
    // A producer that does not run sends nothing, whatever it was told.
    world.producer_rate = world.producer_rate.filter(|rate| *rate == 0 || cluster.producer_runs());
    since(&mut active_run.unseen_since, world.unseen.is_some(), now);
    since(&mut active_run.down_since, world.replicas.problem.is_some(), now);
    if world.unseen.is_none() {
        active_run.seen = Some(world.clone());
    }
    world
}

/// Keeps from when on something holds without a break.
fn since(begun: &mut Option<Timestamp>, holds: bool, now: Timestamp) {
    *begun = holds.then(|| begun.unwrap_or(now));
}

async fn read(active_run: &mut ActiveRun, cluster: &Cluster, now: Timestamp) -> World {
    let store = active_run.subject.clients.leases(&active_run.subject.application);
    active_run.witness.testify(&store).await;
    let rows = active_run
        .subject
        .clients
        .facts(&active_run.subject.application)
        .list("process")
        .await;
    match rows {
        Ok(rows) => active_run.processes = rows.iter().filter_map(process).collect(),
        // There is no table before the first run.
        Err(fault) if fault.kind == FaultKind::Missing => active_run.processes.clear(),
        Err(fault) => {
            return World {
                unseen: Some(fault.to_string()),
                replicas: cluster.replicas(),
                ..World::default()
            };
        }
    }
    let observer = &active_run.observer;
    let facts = cluster.pods.iter().map(|pod| {
        let row = active_run.processes.get(&WorkerId::from(pod.name_any()));
        pods::facts(pod, row, |incarnation| observer.dead(incarnation))
    });
    let facts: Vec<_> = facts.collect();
    active_run.observer.look(&facts, cluster.replicas(), now).await
}

/// A row that cannot be read is none: its worker then counts as not registered.
fn process((worker, body): &(String, String)) -> Option<(WorkerId, ProcessRow)> {
    Some((WorkerId::from(worker.as_str()), serde_json::from_str(body).ok()?))
}

#[cfg(test)]
mod tests;
