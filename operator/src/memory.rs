//! What survives a restart: the run's ConfigMap with what was seen, and at its end the report. Client required.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kinex_api::KinesisExperiment;
use kinex_core::experiment::DeletionPolicy;
use kinex_stage::Memory;
use kinex_stage::report::recording::Sample;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::active_run::ActiveRun;
use crate::cleanup::delete_exactly;
use crate::ownership::{EXPERIMENT_UID, controller};
use crate::status::{Stall, stall_of};

/// Who owns the fields that are written here.
const FIELD_MANAGER: &str = "kinex/report";
/// The key of what was seen; it goes when the report comes.
const MEMORY: &str = "memory.json";
/// The key that says that the report is written.
const SUMMARY: &str = "summary.json";
/// What changed is written this often.
const EVERY: Duration = Duration::from_secs(5);
/// The API server takes 1 MiB in all.
const BYTES_MAX: usize = 700 * 1024;
/// The parts of a report, the one that is left out first at the end.
const PARTS: [&str; 5] = ["summary.json", "report.md", "leases.csv", "timeline.csv", "report.html"];

/// What must outlive the operator's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Kept {
    memory: Memory,
    samples: Vec<Sample>,
}

impl Kept {
    /// As text that fits. Samples are only for the report's chart: every other one can be done without.
    fn text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string(self)?;
        let mut thinner = self.clone();
        while text.len() > BYTES_MAX && thinner.samples.len() > 1 {
            let mut number = 0_usize;
            thinner.samples.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            text = serde_json::to_string(&thinner)?;
        }
        // Moves that are this many have told their story: the newest are what steps still count.
        while text.len() > BYTES_MAX && thinner.memory.history.moves.len() > 1 {
            let above = thinner.memory.history.moves.len() / 2;
            thinner.memory.history.moves.drain(..above);
            text = serde_json::to_string(&thinner)?;
        }
        Ok(text)
    }
}

/// A run's ConfigMap.
pub(crate) struct RunStore<'a> {
    client: Client,
    api: Api<ConfigMap>,
    experiment: &'a KinesisExperiment,
    nonce: u64,
    /// What becomes of reports with the experiment.
    retention: DeletionPolicy,
}

/// The run that a ConfigMap is of.
const RUN: &str = "kinex.dev/run";

/// Where what is kept of a run goes, and whether it is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Place {
    /// The ConfigMap's name.
    pub(crate) name: String,
    /// The ConfigMap as it was when it was read or written last, without its texts.
    live: Option<Live>,
}

/// Which object it is, and the keys of its data.
#[derive(Clone, Debug, Default, PartialEq)]
struct Live {
    uid: Option<String>,
    resource_version: Option<String>,
    keys: Vec<String>,
}

impl Live {
    fn of(map: &ConfigMap) -> Self {
        Self {
            uid: map.uid(),
            resource_version: map.resource_version(),
            keys: map.data.iter().flatten().map(|(key, _)| key.clone()).collect(),
        }
    }
}

impl<'a> RunStore<'a> {
    /// The ConfigMap of this run.
    pub(crate) fn new(
        client: &Client,
        experiment: &'a KinesisExperiment,
        nonce: u64,
        retention: DeletionPolicy,
    ) -> Self {
        let namespace = experiment.namespace().unwrap_or_default();
        Self {
            client: client.clone(),
            api: Api::namespaced(client.clone(), &namespace),
            experiment,
            nonce,
            retention,
        }
    }

    /// Goes on from what an earlier process kept of the run, if there is any.
    ///
    /// # Errors
    /// When it cannot be read, or somebody else has both names. What is there and makes no sense is left out: the run
    /// then counts from now on.
    pub(crate) async fn recall(&self, active_run: &mut ActiveRun) -> Result<(), Stall> {
        let (place, data) = self.place(&active_run.key.run).await?;
        let name = place.name.clone();
        active_run.report = place;
        active_run.reported = data.contains_key(SUMMARY);
        let Some(text) = data.get(MEMORY) else { return Ok(()) };
        match serde_json::from_str::<Kept>(text) {
            Ok(kept) => {
                active_run.observer.recall(kept.memory.clone());
                active_run.samples.clone_from(&kept.samples);
                active_run.kept = Some((kept, Instant::now()));
            }
            Err(error) => tracing::warn!(%error, map = name, "what was kept of the run cannot be read"),
        }
        Ok(())
    }

    /// The first name under which this run's ConfigMap is, or can be: reports of an earlier experiment of the same name
    /// stay, and so does whatever else is there.
    async fn place(&self, run: &str) -> Result<(Place, BTreeMap<String, String>), Stall> {
        let (experiment, nonce) = (self.experiment.name_any(), self.nonce);
        let uid = self.experiment.uid().unwrap_or_default();
        let first = uid.split('-').next().unwrap_or_default();
        let names = [
            format!("{experiment}-report-{nonce}"),
            format!("{experiment}-report-{nonce}-{first}"),
        ];
        for name in &names {
            let read = self.api.get_opt(name).await;
            let map = read.map_err(|error| stall_of(&error, "read the run's ConfigMap"))?;
            if map.as_ref().is_none_or(|map| self.ours(map, run)) {
                let place = Place {
                    name: name.clone(),
                    live: map.as_ref().map(Live::of),
                };
                return Ok((place, map.and_then(|map| map.data).unwrap_or_default()));
            }
        }
        let [usual, other] = names;
        Err(Stall {
            reason: "NameTaken",
            message: format!(
                "configmaps {usual} and {other} exist and are not this run's: nothing was changed. Delete or rename one \
                 of them, or set another run.nonce"
            ),
        })
    }

    /// Whether a ConfigMap is this run's: made for it, and controlled by nobody else.
    fn ours(&self, map: &ConfigMap, run: &str) -> bool {
        let uid = self.experiment.uid().unwrap_or_default();
        let free = controller(map).is_none_or(|owner| owner.uid == uid);
        free && map.annotations().get(RUN).is_some_and(|of| of == run)
    }

    /// Keeps what was seen, if it is something new and some time has passed. Says whether it wrote.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn keep(&self, active_run: &mut ActiveRun) -> kube::Result<bool> {
        if active_run.kept.as_ref().is_some_and(|(_, at)| at.elapsed() < EVERY) {
            return Ok(false);
        }
        let kept = Kept {
            memory: active_run.observer.memory(),
            samples: active_run.samples.clone(),
        };
        if active_run.kept.as_ref().is_some_and(|(before, _)| *before == kept) {
            return Ok(false);
        }
        let text = kept.text().map_err(kube::Error::SerdeError)?;
        let data = [(MEMORY.to_owned(), text)].into();
        self.write(active_run, data, true).await?;
        active_run.kept = Some((kept, Instant::now()));
        Ok(true)
    }

    /// Writes the report in place of what was kept, as much of it as fits.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn publish(
        &self,
        active_run: &mut ActiveRun,
        files: &[(&'static str, String)],
    ) -> kube::Result<()> {
        let mut data = BTreeMap::new();
        let mut bytes = 0;
        for part in PARTS {
            let Some((name, text)) = files.iter().find(|(name, _)| *name == part) else {
                continue;
            };
            if bytes + text.len() > BYTES_MAX {
                tracing::warn!(
                    part,
                    bytes = text.len(),
                    map = active_run.report.name,
                    "left out of the report: it does not fit"
                );
                continue;
            }
            bytes += text.len();
            data.insert((*name).to_owned(), text.clone());
        }
        let owned = self.retention == DeletionPolicy::Delete;
        self.write(active_run, data, owned).await?;
        active_run.reported = true;
        active_run.kept = None;
        Ok(())
    }

    /// Deletes the reports of this experiment's runs but those with these nonces, and says whether they are gone. Those of
    /// an earlier experiment of the same name stay.
    ///
    /// # Errors
    /// When they cannot be listed or deleted.
    pub(crate) async fn prune(&self, nonces: &[u64]) -> kube::Result<bool> {
        let uid = self.experiment.uid().unwrap_or_default();
        let ours = ListParams::default().labels(&format!("{EXPERIMENT_UID}={uid},{COMPONENT}={REPORT}"));
        let mut gone = true;
        for map in self.api.list(&ours).await?.items {
            let nonce = map.annotations().get(NONCE).and_then(|text| text.parse().ok());
            if nonce.is_some_and(|nonce| !nonces.contains(&nonce)) {
                gone &= delete_exactly(&self.client, &map).await?;
            }
        }
        Ok(gone)
    }

    /// Creates the ConfigMap, or writes what is new into exactly the one that was read.
    async fn write(&self, active_run: &mut ActiveRun, data: BTreeMap<String, String>, owned: bool) -> kube::Result<()> {
        let (experiment, uid) = (self.experiment.name_any(), self.experiment.uid().unwrap_or_default());
        let labels = [
            ("app.kubernetes.io/name", "kinex"),
            ("app.kubernetes.io/instance", &experiment),
            ("app.kubernetes.io/managed-by", "kinex-operator"),
            ("kinex.dev/experiment", &experiment),
            (EXPERIMENT_UID, &uid),
            (COMPONENT, REPORT),
        ];
        let annotations = [(RUN, active_run.key.run.clone()), (NONCE, self.nonce.to_string())];
        let owner = self.experiment.controller_owner_ref(&()).filter(|_| owned);
        let name = active_run.report.name.clone();
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        };
        let written = match &active_run.report.live {
            None => {
                let parameters = PostParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PostParams::default()
                };
                self.api.create(&parameters, &map).await
            }
            Some(live) => {
                let parameters = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let patch = Patch::Merge(replacement(live, &map));
                self.api.patch(&name, &parameters, &patch).await
            }
        };
        match written {
            Ok(map) => {
                active_run.report.live = Some(Live::of(&map));
                Ok(())
            }
            // Changed, deleted or created in between: the next try goes by what is there then.
            Err(error) => {
                if matches!(&error, kube::Error::Api(answer) if [404, 409].contains(&answer.code))
                    && let Ok((place, _)) = self.place(&active_run.key.run).await
                {
                    active_run.report = place;
                }
                Err(error)
            }
        }
    }
}

/// The merge patch that makes `live` hold exactly the data, and the owner, of `wanted`.
fn replacement(live: &Live, wanted: &ConfigMap) -> Value {
    let mut data: serde_json::Map<String, Value> = live.keys.iter().map(|key| (key.clone(), Value::Null)).collect();
    data.extend(
        wanted
            .data
            .iter()
            .flatten()
            .map(|(key, text)| (key.clone(), json!(text))),
    );
    json!({
        "metadata": {
            "uid": live.uid,
            "resourceVersion": live.resource_version,
            "labels": wanted.labels(),
            "annotations": wanted.annotations(),
            "ownerReferences": wanted.owner_references(),
        },
        "data": data,
    })
}

/// Which run of its experiment a report is of.
const NONCE: &str = "kinex.dev/run-nonce";
const COMPONENT: &str = "app.kubernetes.io/component";
const REPORT: &str = "report";

#[cfg(test)]
mod tests;
