//! The watches: stores of our pods, StatefulSets and Deployments, and proofs of death. Client required.
//!
//! A missed event costs nothing but time: every decision rests on the stores and on what the tables say then. A watch that
//! failed has missed events until it is open again, and until then nothing is decided.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kinex_api::KinesisExperiment;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::link::{Flaw, Pauses, Pulse, Pulses, WATCH_SECONDS};
use crate::ownership::EXPERIMENT_UID;
use crate::pods::{self, Death};
use crate::watchdog::Watchdog;

/// An experiment, or why it cannot be read.
pub(crate) type Guarded = DeserializeGuard<KinesisExperiment>;

/// The label by which an object names its experiment.
pub(crate) const EXPERIMENT: &str = "kinex.dev/experiment";

/// Pokes that wait to be taken up; one that finds no room is not needed: the experiment is looked at anyhow.
const POKES: usize = 256;
/// Proofs of death that wait for their experiment, more than one experiment ever has pods.
const DEATHS_MAX: usize = 1_000;

/// What the watches gather for one namespace, or for all of them.
#[derive(Clone)]
pub(crate) struct Stores {
    /// The consumers' and producers' pods.
    pub(crate) pods: Store<Pod>,
    /// The consumers.
    pub(crate) sets: Store<StatefulSet>,
    /// The producers.
    pub(crate) deployments: Store<Deployment>,
    deaths: Deaths,
    pulses: [Pulse; 3],
}

/// Proofs of death by the uid of the experiment.
type Deaths = Arc<Mutex<BTreeMap<String, Vec<Death>>>>;

impl Stores {
    /// The processes of the experiment with this uid that ended since the last call.
    pub(crate) fn deaths(&self, uid: &str) -> Vec<Death> {
        let mut all = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(uid).unwrap_or_default()
    }

    /// Returns when every watch has listed once, or after `patience`.
    pub(crate) async fn begun(&self, patience: Duration) {
        let all = async {
            while self.flaw().is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // Whoever goes on then is told by `flaw` what is missing.
        let _ = tokio::time::timeout(patience, all).await;
    }

    /// Why the stores cannot be trusted; none while all watches are open.
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        self.pulses.iter().find_map(Pulse::flaw)
    }
}

/// Starts the watches of a namespace, or of all. The second part pokes the experiment whose objects changed.
pub(crate) fn start(
    client: &Client,
    namespace: Option<&str>,
    signs: &Signs,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> (Stores, mpsc::Receiver<ObjectRef<Guarded>>) {
    let (poke, pokes) = mpsc::channel(POKES);
    let deaths = Deaths::default();
    let mut watch = Watch {
        client,
        namespace,
        signs,
        stop,
        tasks,
        poke,
    };
    let seen = Arc::clone(&deaths);
    let (pods, of_pods) = watch.follow::<Pod>("watch of pods", move |pod| note(&seen, pod));
    let (sets, of_sets) = watch.follow::<StatefulSet>("watch of statefulsets", |_| {});
    let (deployments, of_deployments) = watch.follow::<Deployment>("watch of deployments", |_| {});
    let stores = Stores {
        pods,
        sets,
        deployments,
        deaths,
        pulses: [of_pods, of_sets, of_deployments],
    };
    (stores, pokes)
}

/// Where it shows whether watches work.
#[derive(Clone, Default)]
pub(crate) struct Signs {
    /// Whether they are open.
    pub(crate) pulses: Pulses,
    /// Whether they go on trying.
    pub(crate) watchdog: Watchdog,
}

impl Signs {
    /// Of one more watch: `watch of pods`, of a namespace or of all.
    pub(crate) fn pulse(&self, what: &str, namespace: Option<&str>) -> Pulse {
        let what = match namespace {
            Some(namespace) => format!("{what} in namespace {namespace}"),
            None => what.to_owned(),
        };
        let pulse = Pulse::new(&what, &self.watchdog);
        self.pulses.add(&pulse);
        pulse
    }
}

/// How every watch is set.
pub(crate) fn config() -> Config {
    Config::default().timeout(WATCH_SECONDS)
}

/// What all watches share.
struct Watch<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    signs: &'a Signs,
    stop: &'a CancellationToken,
    tasks: &'a mut JoinSet<()>,
    poke: mpsc::Sender<ObjectRef<Guarded>>,
}

impl Watch<'_> {
    fn follow<K>(&mut self, what: &'static str, on_change: impl Fn(&K) + Send + 'static) -> (Store<K>, Pulse)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let pulse = self.signs.pulse(what, self.namespace);
        let client = pulse.client(self.client);
        let api: Api<K> = match self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let (reader, writer) = store();
        let ours = config().labels("app.kubernetes.io/managed-by=kinex-operator");
        let events = watcher(api, ours).backoff(Pauses::default()).reflect(writer);
        let (heard, stop, poke) = (pulse.clone(), self.stop.clone(), self.poke.clone());
        self.tasks.spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
                match event {
                    Ok(event) => {
                        heard.heard();
                        if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &event {
                            on_change(object);
                            touch(poke.clone(), object);
                        }
                    }
                    Err(error) => {
                        warn!(%error, what, "watch failed; it is begun again");
                        heard.failed(&error);
                    }
                }
            }
        });
        (reader, pulse)
    }
}

/// Has the experiment of an object looked at soon.
fn touch<K: Resource>(mut poke: mpsc::Sender<ObjectRef<Guarded>>, object: &K) {
    if let Some(name) = object.labels().get(EXPERIMENT) {
        let reference = ObjectRef::new(name).within(&object.namespace().unwrap_or_default());
        let _ = poke.try_send(reference);
    }
}

/// Keeps the proofs of death of a pod until its experiment is looked at; the pod itself may be gone by then.
fn note(deaths: &Deaths, pod: &Pod) {
    let Some(experiment) = pod.labels().get(EXPERIMENT_UID) else {
        return;
    };
    let found = pods::deaths(pod);
    if found.is_empty() {
        return;
    }
    let mut all = deaths.lock().unwrap_or_else(PoisonError::into_inner);
    let known = all.entry(experiment.clone()).or_default();
    for death in found {
        if !known.contains(&death) && known.len() < DEATHS_MAX {
            known.push(death);
        }
    }
}
