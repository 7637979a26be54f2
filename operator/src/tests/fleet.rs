//! What stands behind an API server's objects: a kubelet that starts and ends pods at once, and workers that do nothing but
//! keep their rows in order. It leaves reading and hand-offs to the tests with real consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinex_aws::Clients;
use kinex_core::id::{Epoch, Incarnation, WorkerId};
use kinex_core::lease::{Checkpoint, Fence, Lease, LeaseWrite, Process};
use kinex_core::shard_map::Shard;
use kinex_core::worker::{WorkerRow, WorkerWrite};
use kinex_kcl::ports::{Fault, LeaseStore};
use serde_json::{Value, json};

use super::api_server::ApiServer;

/// From one round to the next.
const ROUND: Duration = Duration::from_millis(400);
/// A heart beats in each so-manieth round.
const BEAT: u32 = 5;

/// The kubelet and the workers of one experiment.
pub(super) struct Fleet {
    server: ApiServer,
    clients: Clients,
    stream: String,
    application: String,
    /// The process of each pod by the pod's uid.
    processes: BTreeMap<String, Process>,
    /// Pods that were started.
    started: u32,
    rounds: u32,
}

const PODS: &str = "/api/v1/namespaces/lab/pods";
const SETS: &str = "/apis/apps/v1/namespaces/lab/statefulsets/";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/lab/deployments/";

impl Fleet {
    pub(super) fn new(server: &ApiServer, clients: &Clients, stream: &str, application: &str) -> Self {
        Self {
            server: server.clone(),
            clients: clients.clone(),
            stream: stream.to_owned(),
            application: application.to_owned(),
            processes: BTreeMap::new(),
            started: 0,
            rounds: 0,
        }
    }

    /// Goes on until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            self.rounds += 1;
            self.kubelet();
            // Tables that are not there yet, or not any more.
            let _ = self.work().await;
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Makes the pods of the experiment's StatefulSet as it wants them, and its Deployment ready.
    fn kubelet(&mut self) {
        let application = self.application.clone();
        let set = self.server.get(&format!("{SETS}{application}-consumer"));
        let wanted = set
            .as_ref()
            .map_or(0, |set| set["spec"]["replicas"].as_u64().unwrap_or(1));
        for ordinal in 0..20 {
            let path = format!("{PODS}/{application}-consumer-{ordinal}");
            let there = self.server.get(&path).is_some();
            match &set {
                Some(set) if ordinal < wanted && !there => {
                    self.started += 1;
                    let pod = pod(set, &format!("{application}-consumer-{ordinal}"), self.started);
                    self.server.put(&path, pod);
                }
                _ if ordinal >= wanted && there => self.server.remove(&path),
                _ => {}
            }
        }
        let path = format!("{DEPLOYMENTS}{application}-producer");
        if let Some(mut producer) = self.server.get(&path) {
            let status = json!({
                "observedGeneration": producer["metadata"]["generation"], "updatedReplicas": 1, "readyReplicas": 1,
            });
            if producer["status"] != status {
                producer["status"] = status;
                self.server.put(&path, producer);
            }
        }
    }

    async fn work(&mut self) -> Result<(), Fault> {
        let store = self.clients.leases(&self.application);
        let prefix = format!("{PODS}/{}-consumer-", self.application);
        let pods: BTreeMap<String, String> = self
            .server
            .below(&prefix)
            .iter()
            .map(|pod| (text(&pod["metadata"]["uid"]), text(&pod["metadata"]["name"])))
            // Others have pods of such names as well.
            .filter(|(uid, _)| uid.starts_with("pod-"))
            .collect();
        let (_, rows) = store.members().await?;
        for (uid, name) in &pods {
            let row = rows.iter().find(|row| row.id.as_str() == name);
            self.live(uid, name, row).await?;
        }
        let gone: Vec<_> = self
            .processes
            .extract_if(.., |uid, _| !pods.contains_key(uid))
            .collect();
        for (_, by) in gone {
            store.write_worker(&WorkerWrite::Depart { by }).await?;
        }
        let mut workers: Vec<&Process> = self.processes.values().collect();
        workers.sort();
        let shards = self.clients.streams().shards(&self.stream).await?;
        let leases = store.leases().await?.leases;
        let open = shards.iter().filter(|shard| shard.open).map(|shard| &shard.id);
        let open: Vec<_> = open.collect();
        for shard in &shards {
            let lease = leases.iter().find(|lease| lease.key == shard.id);
            let place = open.iter().position(|id| **id == shard.id);
            let owner = place.and_then(|place| workers.get(place % workers.len().max(1)).copied());
            for write in writes(shard, &shards, lease, owner) {
                store.write_lease(&write).await?;
            }
        }
        Ok(())
    }

    /// Registers the process of a pod, or has its heart beat.
    async fn live(&mut self, uid: &str, name: &str, row: Option<&WorkerRow>) -> Result<(), Fault> {
        let store = self.clients.leases(&self.application);
        if let Some(by) = self.processes.get(uid).cloned() {
            if !self.rounds.is_multiple_of(BEAT) {
                return Ok(());
            }
            let beat = WorkerWrite::Beat {
                by,
                leases: 0,
                departing: None,
            };
            return store.write_worker(&beat).await.map(drop);
        }
        let process = Process {
            worker: WorkerId::from(name),
            incarnation: Incarnation::from(uuid::Uuid::new_v4().to_string().as_str()),
        };
        let new = WorkerRow::starting(process.clone(), None, None, "2026-01-01T00:00:00Z".to_owned());
        let write = match row {
            None => WorkerWrite::Register(Box::new(new)),
            Some(old) => WorkerWrite::Replace {
                row: Box::new(new),
                old: old.incarnation.clone(),
                beat: old.beat,
            },
        };
        store.write_worker(&write).await?;
        let says = json!({ "incarnation": process.incarnation, "podUid": uid }).to_string();
        self.clients
            .facts(&self.application)
            .put("process", name, &says)
            .await?;
        self.processes.insert(uid.to_owned(), process);
        Ok(())
    }
}

/// What has to be written for a shard to be read by this worker, or to be finished.
fn writes(shard: &Shard, shards: &[Shard], lease: Option<&Lease>, owner: Option<&Process>) -> Vec<LeaseWrite> {
    let key = shard.id.clone();
    let Some(lease) = lease else {
        let mut lease = Lease::unowned(key, Checkpoint::TrimHorizon, Epoch(1));
        lease.parents = shard.parents().cloned().collect();
        return vec![LeaseWrite::Create(Box::new(lease))];
    };
    if !shard.open {
        let holder = lease.owner.clone().zip(lease.incarnation.clone());
        let Some((worker, incarnation)) = holder.filter(|_| !lease.finished()) else {
            return Vec::new();
        };
        let children: BTreeSet<_> = shards
            .iter()
            .filter(|child| child.parents().any(|parent| *parent == shard.id))
            .map(|child| child.id.clone())
            .collect();
        return vec![LeaseWrite::Checkpoint {
            key,
            by: Fence {
                worker,
                incarnation,
                epoch: lease.epoch,
            },
            checkpoint: Checkpoint::ShardEnd,
            children,
        }];
    }
    let mine = |owner: &Process| {
        lease.owner.as_ref() == Some(&owner.worker) && lease.incarnation.as_ref() == Some(&owner.incarnation)
    };
    match owner {
        Some(owner) if !mine(owner) => vec![LeaseWrite::Take {
            key,
            to: owner.clone(),
            seen: lease.seen(),
        }],
        _ => Vec::new(),
    }
}

/// A pod of a StatefulSet that runs and is ready.
fn pod(set: &Value, name: &str, number: u32) -> Value {
    let started = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name,
            "uid": format!("pod-{number}"),
            "labels": set["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "StatefulSet", "name": set["metadata"]["name"],
                "uid": set["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": { "containers": [{ "name": "consumer" }] },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True" }],
            "containerStatuses": [{
                "name": "consumer", "image": "kinex:dev", "imageID": "", "ready": true, "restartCount": 0, "state": started,
            }],
        },
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
