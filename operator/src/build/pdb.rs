//! The disruption budget of the consumers: a drain takes one at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::parts::Parts;

pub(super) fn consumer(parts: &Parts<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: parts.metadata(&parts.consumer, "consumer"),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(parts.selector("consumer")),
                ..LabelSelector::default()
            }),
            // A pod that cannot become ready must not keep a node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
