//! Where the pods of an experiment run: wire types in the words of a Kubernetes pod.

#![allow(unreachable_pub, reason = "the derive makes a hidden copy of each type")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where pods run. The operator allows what its installer allowed; `kinex run` takes no notice.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.nodeSelector.all(key, size(key) <= 317 && size(self.nodeSelector[key]) <= 63)").message("nodeSelector must be labels of nodes: a key of at most 317 characters and a value of at most 63"))]
pub struct Scheduling {
    /// Labels that a node must have; at most 16.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 16))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods tolerate; at most 16.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// Priority class of the pods; without it, the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub priority_class_name: Option<String>,
}

impl Scheduling {
    /// Every label and taint key that is named; `None`: every key.
    pub fn keys(&self) -> impl Iterator<Item = Option<&str>> {
        let labels = self.node_selector.keys().map(|key| Some(key.as_str()));
        labels.chain(self.tolerations.iter().map(|taint| taint.key.as_deref()))
    }
}

/// A taint that pods tolerate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.key) || self.operator == 'Exists'").message("without a key, operator must be Exists: it tolerates every taint"))]
#[x_kube(validation = Rule::new("self.operator == 'Equal' || !has(self.value)").message("value goes with operator: Equal"))]
#[x_kube(validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')").message("tolerationSeconds goes with effect: NoExecute"))]
pub struct Toleration {
    /// Key of the taint; without it, every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub key: Option<String>,
    /// `Equal` (key and value are the taint's) or `Exists` (any value).
    #[serde(default)]
    pub operator: TolerationOperator,
    /// Value of the taint, with `operator: Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; without it, every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// With `effect: NoExecute`, seconds until a pod leaves a node that gets the taint; without it, it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration's value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the field that has the type describes its values")]
pub enum TolerationOperator {
    #[default]
    Equal,
    Exists,
}

impl TolerationOperator {
    /// Its name in a pod.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "Equal",
            Self::Exists => "Exists",
        }
    }
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the field that has the type describes its values")]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl TaintEffect {
    /// Its name in a pod.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}
