//! What survives a restart: the run's ConfigMap with what was seen, and at its end the report. Client required.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kinex_api::KinesisExperiment;
use kinex_core::experiment::DeletionPolicy;
use kinex_stage::Memory;
use kinex_stage::report::recording::Sample;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::scene::Scene;

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
pub(crate) struct Keeper<'a> {
    api: Api<ConfigMap>,
    experiment: &'a KinesisExperiment,
    nonce: u64,
    /// What becomes of reports with the experiment.
    retention: DeletionPolicy,
}

/// The name of a run's ConfigMap.
pub(crate) fn name(experiment: &str, nonce: u64) -> String {
    format!("{experiment}-report-{nonce}")
}

impl<'a> Keeper<'a> {
    /// The ConfigMap of this run.
    pub(crate) fn new(
        client: &Client,
        experiment: &'a KinesisExperiment,
        nonce: u64,
        retention: DeletionPolicy,
    ) -> Self {
        let namespace = experiment.namespace().unwrap_or_default();
        Self {
            api: Api::namespaced(client.clone(), &namespace),
            experiment,
            nonce,
            retention,
        }
    }

    /// Goes on from what an earlier process kept of the run, if there is any.
    ///
    /// # Errors
    /// When it cannot be read. What is there and makes no sense is left out: the run then counts from now on.
    pub(crate) async fn recall(&self, scene: &mut Scene) -> kube::Result<()> {
        let Some(map) = self.api.get_opt(&self.name()).await? else {
            return Ok(());
        };
        let owner = map.annotations().get("kinex.dev/run").cloned();
        if owner.as_ref() != Some(&scene.key.run) {
            return Ok(());
        }
        let data = map.data.unwrap_or_default();
        scene.reported = data.contains_key(SUMMARY);
        let Some(text) = data.get(MEMORY) else { return Ok(()) };
        match serde_json::from_str::<Kept>(text) {
            Ok(kept) => {
                scene.observer.recall(kept.memory.clone());
                scene.samples.clone_from(&kept.samples);
                scene.kept = Some((kept, Instant::now()));
            }
            Err(error) => tracing::warn!(%error, map = self.name(), "what was kept of the run cannot be read"),
        }
        Ok(())
    }

    /// Keeps what was seen, if it is something new and some time has passed. Says whether it wrote.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn keep(&self, scene: &mut Scene) -> kube::Result<bool> {
        if scene.kept.as_ref().is_some_and(|(_, at)| at.elapsed() < EVERY) {
            return Ok(false);
        }
        let kept = Kept {
            memory: scene.observer.memory(),
            samples: scene.samples.clone(),
        };
        if scene.kept.as_ref().is_some_and(|(before, _)| *before == kept) {
            return Ok(false);
        }
        let text = kept.text().map_err(kube::Error::SerdeError)?;
        self.write(&scene.key.run, [(MEMORY.to_owned(), text)].into(), true)
            .await?;
        scene.kept = Some((kept, Instant::now()));
        Ok(true)
    }

    /// Writes the report in place of what was kept, as much of it as fits.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) async fn publish(&self, scene: &mut Scene, files: &[(&'static str, String)]) -> kube::Result<()> {
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
                    map = self.name(),
                    "left out of the report: it does not fit"
                );
                continue;
            }
            bytes += text.len();
            data.insert((*name).to_owned(), text.clone());
        }
        let owned = self.retention == DeletionPolicy::Delete;
        self.write(&scene.key.run, data, owned).await?;
        scene.reported = true;
        scene.kept = None;
        Ok(())
    }

    /// Deletes the reports of all runs but those with these nonces.
    ///
    /// # Errors
    /// When they cannot be listed or deleted.
    pub(crate) async fn prune(&self, nonces: &[u64]) -> kube::Result<()> {
        let experiment = self.experiment.name_any();
        let ours = ListParams::default().labels(&format!("kinex.dev/experiment={experiment},{COMPONENT}={REPORT}"));
        let keep: Vec<String> = nonces.iter().map(|nonce| name(&experiment, *nonce)).collect();
        for map in self.api.list(&ours).await?.items {
            let map = map.name_any();
            if !keep.contains(&map) {
                self.api.delete(&map, &DeleteParams::default()).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, run: &str, data: BTreeMap<String, String>, owned: bool) -> kube::Result<()> {
        let experiment = self.experiment.name_any();
        let labels = [
            ("app.kubernetes.io/name", "kinex"),
            ("app.kubernetes.io/instance", &experiment),
            ("app.kubernetes.io/managed-by", "kinex-operator"),
            ("kinex.dev/experiment", &experiment),
            (COMPONENT, REPORT),
        ];
        let owner = self.experiment.controller_owner_ref(&()).filter(|_| owned);
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                annotations: Some([("kinex.dev/run".to_owned(), run.to_owned())].into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch(&self.name(), &parameters, &Patch::Apply(&map)).await?;
        Ok(())
    }

    fn name(&self) -> String {
        name(&self.experiment.name_any(), self.nonce)
    }
}

const COMPONENT: &str = "app.kubernetes.io/component";
const REPORT: &str = "report";

#[cfg(test)]
mod tests;
