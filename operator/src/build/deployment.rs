//! The producer: one process that sends numbered records.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kinex_stage::launch;

use super::parts::{METRICS_PORT, Parts};

/// Seconds for what is in flight to be settled and accounted for.
const GRACE_SECONDS: i64 = 30;
/// Seconds without an answer after which the process counts as stuck.
const ALIVE_WITHIN: i32 = 60;

pub(super) fn producer(parts: &Parts<'_>) -> Deployment {
    Deployment {
        metadata: parts.metadata(&parts.producer, "producer"),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            // Two at once would send twice the rate.
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                ..DeploymentStrategy::default()
            }),
            revision_history_limit: Some(1),
            selector: LabelSelector {
                match_labels: Some(parts.selector("producer")),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(parts.pod_metadata("producer", &parts.settings.pods.producer_extras)),
                spec: Some(pod(parts)),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn pod(parts: &Parts<'_>) -> PodSpec {
    let pods = &parts.settings.pods;
    parts.trusting(PodSpec {
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        ..parts.pod(
            pods.producer_account.as_ref(),
            Container {
                env: Some(parts.environment()),
                resources: Some(pods.producer_resources.clone()),
                ..parts.container("producer", arguments(parts), ALIVE_WITHIN)
            },
            &pods.producer_extras,
            &parts.experiment.spec.producer.scheduling,
        )
    })
}

fn arguments(parts: &Parts<'_>) -> Vec<String> {
    let place = [
        ("--stream", Some(parts.spec.stream.name.clone())),
        ("--application", Some(parts.settings.application(parts.spec))),
        ("--endpoint-url", parts.endpoint.clone()),
        ("--region", parts.settings.region.clone()),
        ("--metrics-addr", Some(format!("0.0.0.0:{METRICS_PORT}"))),
    ];
    let mut arguments = vec!["producer".to_owned()];
    for (flag, value) in place {
        arguments.extend(value.map(|value| format!("{flag}={value}")));
    }
    // The operator makes the stream and the tables; a pod that is there before them waits.
    arguments.push("--wait-for-stream".to_owned());
    arguments.extend(launch::producer_arguments(&parts.spec.producer, parts.run));
    arguments
}
