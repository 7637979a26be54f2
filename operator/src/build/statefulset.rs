//! The consumers: pods whose names are the worker ids.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EnvVar, EnvVarSource, Lifecycle, LifecycleHandler, ObjectFieldSelector, PodSpec,
    PodTemplateSpec, SleepAction, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kinex_core::experiment::Action;

use super::config_map::FILE;
use super::hash::CONFIG_HASH;
use super::parts::{METRICS_PORT, Parts};

/// How long a consumer may take to hand its leases on: longer than a slow processor's drain (20 s).
pub(super) const GRACE: Duration = Duration::from_secs(25);
/// Seconds until SIGTERM. The operator uses them to say which pods are wanted from now on, so that one that is scaled
/// away knows that it will not come back.
const BEFORE_TERM: i64 = 1;
/// Seconds until SIGKILL: the two above, and some for the process to end.
const KILL_AFTER: i64 = 35;
/// How long leases wait for a pod of the same name: as long as it may take to leave, be scheduled and start again.
pub(super) const RESERVE: Duration = Duration::from_secs(60);

const SETTINGS: &str = "/etc/kinex";

pub(super) fn consumer(parts: &Parts<'_>, config_hash: &str) -> StatefulSet {
    StatefulSet {
        metadata: parts.metadata(&parts.consumer, "consumer"),
        spec: Some(StatefulSetSpec {
            // Whoever scales writes it, through the scale interface.
            replicas: None,
            service_name: Some(parts.consumer.clone()),
            // Workers do not depend on each other: all start and stop at once.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateStatefulSetStrategy {
                    partition: Some(0),
                    ..RollingUpdateStatefulSetStrategy::default()
                }),
            }),
            revision_history_limit: Some(1),
            selector: LabelSelector {
                match_labels: Some(parts.selector("consumer")),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(parts, config_hash)),
                spec: Some(pod(parts)),
            },
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn pod_metadata(parts: &Parts<'_>, config_hash: &str) -> ObjectMeta {
    let mut metadata = parts.pod_metadata("consumer", &parts.settings.pods.consumer_extras);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(CONFIG_HASH.to_owned(), config_hash.to_owned());
    metadata
}

fn pod(parts: &Parts<'_>) -> PodSpec {
    let pods = &parts.settings.pods;
    let container = Container {
        env: Some(environment(parts)),
        resources: Some(pods.consumer_resources.clone()),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: BEFORE_TERM }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: "settings".to_owned(),
            mount_path: SETTINGS.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..parts.container("consumer", arguments(parts), alive_within(parts))
    };
    parts.trusting(PodSpec {
        termination_grace_period_seconds: Some(KILL_AFTER),
        // A process cannot stop or kill itself as pid 1 of its own namespace.
        share_process_namespace: pods.allow_chaos.then_some(true),
        topology_spread_constraints: Some(vec![
            spread(parts, "kubernetes.io/hostname"),
            spread(parts, "topology.kubernetes.io/zone"),
        ]),
        volumes: Some(vec![Volume {
            name: "settings".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: parts.consumer.clone(),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        ..parts.pod(
            pods.consumer_account.as_ref(),
            container,
            &pods.consumer_extras,
            &parts.experiment.spec.consumers.scheduling,
        )
    })
}

fn arguments(parts: &Parts<'_>) -> Vec<String> {
    let mut arguments = vec![
        "consumer".to_owned(),
        format!("--config={SETTINGS}/{FILE}"),
        "--worker-id=$(POD_NAME)".to_owned(),
        "--termination-log=/dev/termination-log".to_owned(),
        format!("--metrics-addr=0.0.0.0:{METRICS_PORT}"),
    ];
    if parts.settings.pods.allow_chaos {
        arguments.push("--allow-chaos".to_owned());
    }
    arguments
}

fn environment(parts: &Parts<'_>) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let mut environment = vec![field("POD_NAME", "metadata.name"), field("POD_UID", "metadata.uid")];
    environment.extend(parts.environment());
    environment
}

/// Seconds without an answer after which a consumer counts as stuck: never while a step of the experiment keeps it so.
fn alive_within(parts: &Parts<'_>) -> i32 {
    let frozen = parts.spec.steps.iter().filter_map(|step| match step.action {
        Action::FreezePod { lasting, .. } => Some(lasting.as_secs()),
        _ => None,
    });
    // In steps of ten minutes where freezing is allowed, so that another list of steps seldom makes other pods.
    let least = if parts.settings.pods.allow_chaos { 600 } else { 60 };
    let longest = frozen.max().unwrap_or(0) + 60;
    i32::try_from(longest.div_ceil(least) * least).unwrap_or(i32::MAX / 20 * 10)
}

fn spread(parts: &Parts<'_>, topology: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(parts.selector("consumer")),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    }
}
