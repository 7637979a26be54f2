//! What whoever installs the operator adds to the pods of experiments.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, EnvVar, Toleration};
use serde::Deserialize;

use super::{SettingsError, wrong};

/// Labels, scheduling and environment of a pod, in the words of a Kubernetes pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct PodExtras {
    /// Labels besides the operator's own.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Nodes that the pod may run on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it tolerates.
    pub tolerations: Vec<Toleration>,
    /// Its affinity.
    pub affinity: Option<Affinity>,
    /// Variables of its container; they replace those of the operator by name.
    pub env: Vec<EnvVar>,
}

impl PodExtras {
    /// Reads the value of a flag; `None` adds nothing.
    pub(super) fn parse(flag: &str, json: Option<String>) -> Result<Self, SettingsError> {
        let Some(json) = json else {
            return Ok(Self::default());
        };
        let extras: Self = serde_json::from_str(&json).map_err(|error| {
            wrong(
                flag,
                format!("is no JSON of a pod's labels, scheduling and env: {error}"),
            )
        })?;
        // The pods are found by these labels.
        let own = |key: &str| key.starts_with("app.kubernetes.io/") || key.starts_with("kinex.dev/");
        match extras.labels.keys().find(|key| own(key)) {
            Some(key) => Err(wrong(
                flag,
                format!("sets the label {key}, which the operator sets itself: choose another"),
            )),
            None => Ok(extras),
        }
    }

    /// The operator's own variables and these, each name once. These win, but for `kept`.
    pub(crate) fn environment(&self, own: Vec<EnvVar>, kept: &[&str]) -> Vec<EnvVar> {
        let extra = |variable: &&EnvVar| !kept.contains(&variable.name.as_str());
        let mut environment = own;
        environment.retain(|own| !self.env.iter().filter(extra).any(|extra| extra.name == own.name));
        environment.extend(self.env.iter().filter(extra).cloned());
        environment
    }
}
