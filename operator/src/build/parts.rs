//! What several kinds of object have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, HTTPGetAction, KeyToPath,
    LocalObjectReference, PodSecurityContext, PodSpec, Probe, SeccompProfile, SecurityContext, Toleration, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kinex_api::{KinesisExperiment, Scheduling, scheduling};
use kinex_core::experiment::Spec;
use kube::{Resource, ResourceExt};

use crate::ownership::EXPERIMENT_UID;
use crate::settings::{Place, PodExtras, Settings};

/// The name of the port with metrics and probes.
pub(super) const METRICS: &str = "metrics";
/// Its number.
pub(super) const METRICS_PORT: i32 = 9090;
/// Where the certificates are that are trusted besides the image's.
const TRUST: &str = "/etc/kinex-trust";
/// The user and group of the image.
const USER: i64 = 10_001;
/// Seconds between two looks whether a program is alive.
const LIVENESS_PERIOD: i32 = 10;

const NAME: &str = "app.kubernetes.io/name";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What everything is built from.
pub(super) struct Parts<'a> {
    pub(super) experiment: &'a KinesisExperiment,
    pub(super) spec: &'a Spec,
    pub(super) settings: &'a Settings,
    pub(super) run: &'a str,
    /// Name of all that is about consumers.
    pub(super) consumer: String,
    /// Name of all that is about the producer.
    pub(super) producer: String,
    /// The custom endpoint; `None`: AWS.
    pub(super) endpoint: Option<String>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(experiment: &'a KinesisExperiment, spec: &'a Spec, settings: &'a Settings, run: &'a str) -> Self {
        Self {
            consumer: super::consumer_name(experiment),
            producer: super::producer_name(experiment),
            endpoint: match settings.place_of(spec) {
                Some(Place::Custom(endpoint)) => Some(endpoint.to_string()),
                Some(Place::Aws) | None => None,
            },
            experiment,
            spec,
            settings,
            run,
        }
    }

    pub(super) fn labels(&self, component: &str) -> BTreeMap<String, String> {
        labels(&self.experiment.name_any(), component)
    }

    /// Labels and annotations of a pod. The labels say by uid whose it is, also when its controller is gone.
    pub(super) fn pod_metadata(&self, component: &str, extras: &PodExtras) -> ObjectMeta {
        let mut labels = extras.labels.clone();
        labels.extend(self.labels(component));
        labels.extend(self.experiment.uid().map(|uid| (EXPERIMENT_UID.to_owned(), uid)));
        ObjectMeta {
            labels: Some(labels),
            annotations: Some(extras.annotations.clone()).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        }
    }

    /// What never changes for an object, and what other objects know it by.
    pub(super) fn selector(&self, component: &str) -> BTreeMap<String, String> {
        let mut labels = self.labels(component);
        labels.retain(|key, _| key != MANAGED_BY && key != NAME);
        labels
    }

    /// Name, labels and owner of an object: it goes with the experiment.
    pub(super) fn metadata(&self, name: &str, component: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: self.experiment.namespace(),
            labels: Some(self.labels(component)),
            owner_references: self.experiment.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// The environment of both programs.
    pub(super) fn environment(&self) -> Vec<EnvVar> {
        let mut environment = vec![value("KINEX_LOG_JSON", "true")];
        if let Some((_, key)) = &self.settings.pods.ca_bundle {
            environment.push(value("AWS_CA_BUNDLE", &format!("{TRUST}/{key}")));
        }
        if self.endpoint.is_some() {
            environment.extend([
                value("AWS_ACCESS_KEY_ID", "kinex"),
                value("AWS_SECRET_ACCESS_KEY", "kinex"),
                value("AWS_EC2_METADATA_DISABLED", "true"),
            ]);
        }
        environment
    }

    /// The variables that nobody may replace: a custom endpoint never sees real credentials, not even those that something
    /// injects into the pod.
    fn kept(&self) -> &'static [&'static str] {
        const CREDENTIALS: &[&str] = &[
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_EC2_METADATA_DISABLED",
        ];
        if self.endpoint.is_some() { CREDENTIALS } else { &[] }
    }

    /// A pod of one container, in the restricted profile of the pod security standards. What the installer says of the nodes
    /// comes before what the experiment says.
    pub(super) fn pod(
        &self,
        account: Option<&String>,
        container: Container,
        extras: &PodExtras,
        asked: &Scheduling,
    ) -> PodSpec {
        let mut node_selector = asked.node_selector.clone();
        node_selector.extend(extras.node_selector.clone());
        let mut tolerations = extras.tolerations.clone();
        tolerations.extend(asked.tolerations.iter().map(toleration));
        let pods = &self.settings.pods;
        let container = Container {
            env: container.env.map(|own| extras.environment(own, self.kept())),
            ..container
        };
        let secrets = pods
            .pull_secrets
            .iter()
            .map(|name| LocalObjectReference { name: name.clone() });
        PodSpec {
            containers: vec![container],
            service_account_name: account.cloned(),
            // No worker asks the API server for anything.
            automount_service_account_token: Some(false),
            // Variables for every Service of the namespace could be mistaken for settings.
            enable_service_links: Some(false),
            image_pull_secrets: Some(secrets.collect::<Vec<_>>()).filter(|secrets| !secrets.is_empty()),
            priority_class_name: asked.priority_class_name.clone().or(pods.priority_class.clone()),
            node_selector: Some(node_selector).filter(|labels| !labels.is_empty()),
            tolerations: Some(tolerations).filter(|taints| !taints.is_empty()),
            affinity: extras.affinity.clone(),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        }
    }

    /// A pod with the certificates that its programs trust.
    pub(super) fn trusting(&self, mut pod: PodSpec) -> PodSpec {
        let Some((map, key)) = &self.settings.pods.ca_bundle else {
            return pod;
        };
        pod.volumes.get_or_insert_default().push(Volume {
            name: "trust".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: map.clone(),
                // A pod without the key does not start, and says so.
                items: Some(vec![KeyToPath {
                    key: key.clone(),
                    path: key.clone(),
                    ..KeyToPath::default()
                }]),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        });
        for container in &mut pod.containers {
            container.volume_mounts.get_or_insert_default().push(VolumeMount {
                name: "trust".to_owned(),
                mount_path: TRUST.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            });
        }
        pod
    }

    /// A container of the one image, with the port and the probes that every program has.
    pub(super) fn container(&self, name: &str, arguments: Vec<String>, alive_within: i32) -> Container {
        let pods = &self.settings.pods;
        Container {
            name: name.to_owned(),
            image: Some(pods.image.clone()),
            image_pull_policy: pods.pull_policy.clone(),
            args: Some(arguments),
            ports: Some(vec![ContainerPort {
                name: Some(METRICS.to_owned()),
                container_port: METRICS_PORT,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            // A restart costs a failover; it is for a process that is beyond doubt stuck.
            liveness_probe: Some(Probe {
                period_seconds: Some(LIVENESS_PERIOD),
                timeout_seconds: Some(5),
                failure_threshold: Some(alive_within / LIVENESS_PERIOD),
                ..probe("/livez")
            }),
            // A worker that is ready is seen to be so within a second.
            readiness_probe: Some(Probe {
                period_seconds: Some(1),
                timeout_seconds: Some(2),
                failure_threshold: Some(3),
                ..probe("/readyz")
            }),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".to_owned()]),
                    ..Capabilities::default()
                }),
                ..SecurityContext::default()
            }),
            // The program writes there itself, and the kubelet reports exactly that.
            termination_message_path: Some("/dev/termination-log".to_owned()),
            termination_message_policy: Some("File".to_owned()),
            ..Container::default()
        }
    }
}

fn toleration(asked: &scheduling::Toleration) -> Toleration {
    Toleration {
        key: asked.key.clone(),
        operator: Some(asked.operator.as_str().to_owned()),
        value: asked.value.clone(),
        effect: asked.effect.map(|effect| effect.as_str().to_owned()),
        toleration_seconds: asked.toleration_seconds,
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(METRICS.to_owned()),
            ..HTTPGetAction::default()
        }),
        ..Probe::default()
    }
}

/// A variable of the environment.
pub(super) fn value(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    }
}

pub(super) fn labels(experiment: &str, component: &str) -> BTreeMap<String, String> {
    let labels = [
        (NAME, "kinex"),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/instance", experiment),
        (MANAGED_BY, "kinex-operator"),
        ("kinex.dev/experiment", experiment),
    ];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}
