//! The objects of an experiment, whole.

use k8s_openapi::api::core::v1::PodSpec;
use kinex_api::KinesisExperiment;
use kinex_operator::build::{APPLIED_HASH, CONFIG_HASH, Prepared, Workload, workload};
use kinex_operator::settings::Settings;
use kube::ResourceExt;

use crate::common::{EXPERIMENTS, experiment, parse, settings, spec};

fn build(experiment: &KinesisExperiment, settings: &Settings) -> Workload<Prepared> {
    workload(experiment, &spec(experiment), settings, "run-1")
}

/// Every object as YAML, in the order in which they are written.
fn shown(workload: &Workload<Prepared>) -> String {
    let documents = [
        serde_saphyr::to_string(&workload.config),
        serde_saphyr::to_string(&workload.service),
        serde_saphyr::to_string(&workload.disruption),
        serde_saphyr::to_string(&workload.consumer),
        serde_saphyr::to_string(&workload.producer),
    ];
    documents.map(Result::unwrap).join("---\n")
}

fn pods(workload: &Workload<Prepared>) -> [PodSpec; 2] {
    let consumer = workload.consumer.spec.clone().unwrap().template.spec.unwrap();
    let producer = workload.producer.spec.clone().unwrap().template.spec.unwrap();
    [consumer, producer]
}

/// What the restricted profile of the pod security standards asks for, and we of ourselves.
fn restricted(pod: &PodSpec) {
    let of_pod = pod.security_context.as_ref().unwrap();
    assert_eq!(of_pod.run_as_non_root, Some(true));
    assert!(of_pod.run_as_user.unwrap() >= 10_000);
    assert_eq!(of_pod.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.enable_service_links, Some(false));
    assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
    for container in &pod.containers {
        let own = container.security_context.as_ref().unwrap();
        assert_eq!(own.allow_privilege_escalation, Some(false));
        assert_eq!(own.read_only_root_filesystem, Some(true));
        assert_eq!(own.capabilities.as_ref().unwrap().drop, Some(vec!["ALL".to_owned()]));
        let resources = container.resources.as_ref().unwrap();
        for sizes in [&resources.requests, &resources.limits] {
            assert!(
                ["cpu", "memory"]
                    .iter()
                    .all(|of| sizes.as_ref().unwrap().contains_key(*of))
            );
        }
        assert!(container.command.is_none(), "the image has an entry point");
    }
    for volume in pod.volumes.iter().flatten() {
        assert!(volume.host_path.is_none() && volume.config_map.is_some(), "{volume:?}");
    }
}

#[test]
fn the_guides_experiment() {
    let workload = build(&experiment("rebalance.yaml"), &settings(&[]));
    insta::assert_snapshot!("guide", shown(&workload));
}

/// What an organization adds to its pods, and a variable that the operator sets itself.
const EXTRAS: &str = r#"--consumer-pod={"labels":{"team":"streams"},"annotations":{"sidecar.istio.io/inject":"false"},
"nodeSelector":{"disk":"ssd"},"tolerations":[{"key":"batch","operator":"Exists"}],
"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}},
"env":[{"name":"KINEX_LOG_JSON","value":"false"},{"name":"AWS_ACCESS_KEY_ID","value":"AKIA"}]}"#;

#[test]
fn extras_of_the_installation_reach_the_pods_of_their_kind_alone() {
    let plain = build(&experiment("quick.yaml"), &settings(&[]));
    let extended = build(&experiment("quick.yaml"), &settings(&[EXTRAS]));
    assert_eq!(plain.producer, extended.producer);
    let [consumer, _] = pods(&extended);
    let named = |name: &str| -> Vec<String> {
        let all = consumer.containers[0].env.iter().flatten();
        all.filter(|variable| variable.name == name)
            .filter_map(|variable| variable.value.clone())
            .collect()
    };
    assert_eq!(named("KINEX_LOG_JSON"), ["false"]);
    // The endpoint is not AWS.
    assert_eq!(named("AWS_ACCESS_KEY_ID"), ["kinex"]);
    assert_eq!(consumer.node_selector.unwrap()["disk"], "ssd");
    assert_eq!(consumer.tolerations.unwrap()[0].key.as_deref(), Some("batch"));
    assert!(consumer.affinity.unwrap().node_affinity.is_some());
    let template = extended.consumer.spec.unwrap().template.metadata.unwrap();
    let (labels, annotations) = (template.labels.unwrap(), template.annotations.unwrap());
    assert_eq!(labels["team"], "streams");
    assert_eq!(labels["app.kubernetes.io/name"], "kinex");
    assert_eq!(annotations["sidecar.istio.io/inject"], "false");
    assert!(annotations.contains_key(CONFIG_HASH));
}

#[test]
fn experiments_say_where_their_pods_run_and_the_installation_has_the_last_word() {
    let mut asking = experiment("quick.yaml");
    asking.spec.consumers.scheduling = serde_json::from_value(serde_json::json!({
        "nodeSelector": { "disk": "hdd", "zone": "a" },
        "tolerations": [{ "key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60 }],
        "priorityClassName": "batch",
    }))
    .unwrap();
    let [consumer, producer] = pods(&build(&asking, &settings(&[EXTRAS, "--worker-priority-class=low"])));
    let nodes = consumer.node_selector.unwrap();
    assert_eq!((nodes["disk"].as_str(), nodes["zone"].as_str()), ("ssd", "a"));
    let tolerated = consumer.tolerations.unwrap();
    let keys: Vec<_> = tolerated.iter().filter_map(|taint| taint.key.as_deref()).collect();
    assert_eq!(keys, ["batch", "spot"]);
    let spot = &tolerated[1];
    assert_eq!(
        (spot.operator.as_deref(), spot.effect.as_deref()),
        (Some("Exists"), Some("NoExecute"))
    );
    assert_eq!(spot.toleration_seconds, Some(60));
    assert_eq!(consumer.priority_class_name.as_deref(), Some("batch"));
    assert_eq!(producer.priority_class_name.as_deref(), Some("low"));
    assert_eq!((producer.node_selector, producer.tolerations), (None, None));
}

#[test]
fn chaos_on_aws_with_every_flag() {
    let flags = [
        "--image=kinex:dev",
        "--aws",
        "--region=eu-west-1",
        "--allow-chaos",
        "--image-pull-policy=IfNotPresent",
        "--image-pull-secret=registry",
        "--consumer-service-account=consumer",
        "--producer-service-account=producer",
        "--worker-priority-class=low",
        "--ca-bundle=trust/ca.crt",
        r#"--consumer-resources={"requests":{"cpu":"0.1","memory":"64Mi"},"limits":{"cpu":"1","memory":"128Mi"}}"#,
        EXTRAS,
    ];
    let workload = build(
        &experiment("pod-loss-and-merge.yaml"),
        &crate::common::resolve(&flags).unwrap(),
    );
    insta::assert_snapshot!("chaos", shown(&workload));
}

#[test]
fn every_pod_is_restricted_and_no_replicas_are_set() {
    for file in EXPERIMENTS {
        for flags in [&[] as &[&str], &["--allow-chaos"]] {
            let workload = build(&experiment(file), &settings(flags));
            assert_eq!(workload.consumer.spec.as_ref().unwrap().replicas, None);
            pods(&workload).iter().for_each(restricted);
        }
    }
}

#[test]
fn the_same_input_gives_the_same_objects() {
    let experiment = experiment("rebalance.yaml");
    assert_eq!(build(&experiment, &settings(&[])), build(&experiment, &settings(&[])));
}

#[test]
fn real_credentials_never_meet_a_custom_endpoint() {
    let variables = |pod: &PodSpec| -> Vec<String> {
        let all = pod.containers[0].env.iter().flatten();
        all.map(|variable| variable.name.clone())
            .filter(|name| name.starts_with("AWS_"))
            .collect()
    };
    let custom = build(&experiment("quick.yaml"), &settings(&[]));
    let aws = build(
        &experiment("quick.yaml"),
        &crate::common::resolve(&["--image=kinex:dev", "--aws"]).unwrap(),
    );
    for pod in pods(&custom) {
        assert_eq!(
            variables(&pod),
            [
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_EC2_METADATA_DISABLED"
            ]
        );
    }
    for pod in pods(&aws) {
        assert_eq!(variables(&pod), [] as [&str; 0]);
    }
}

#[test]
fn an_experiments_own_endpoint_reaches_both_programs() {
    let mut own = experiment("quick.yaml");
    own.spec.stream.endpoint_url = Some("http://localstack:4566/".to_owned());
    let text = shown(&build(&own, &settings(&[])));
    assert!(
        text.contains(r#"endpoint_url: "http://localstack:4566""#)
            && text.contains("--endpoint-url=http://localstack:4566")
    );
    assert!(!text.contains("kinex-emulator"), "{text}");
}

#[test]
fn other_settings_make_other_pods_and_another_run_only_another_producer() {
    let before = build(&experiment("quick.yaml"), &settings(&[]));
    let hash = |workload: &Workload<Prepared>| {
        let template = workload.consumer.spec.clone().unwrap().template;
        template.metadata.unwrap().annotations.unwrap()[CONFIG_HASH].clone()
    };
    let mut other = experiment("quick.yaml");
    other.spec.consumers.max_leases_per_worker = 3;
    assert_ne!(hash(&before), hash(&build(&other, &settings(&[]))));

    let same = experiment("quick.yaml");
    let next = workload(&same, &spec(&same), &settings(&[]), "run-2");
    assert_eq!(before.consumer, next.consumer);
    assert_ne!(
        before.producer.annotations()[APPLIED_HASH],
        next.producer.annotations()[APPLIED_HASH]
    );
}

#[test]
fn a_freeze_outlasts_no_liveness_probe() {
    let manifest = "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {name: ice}\nspec:\n  \
                    stream: {name: ice}\n  steps:\n  - {name: ice, freezePod: {for: 30m}}\n";
    let [consumer, _] = pods(&build(&parse(manifest), &settings(&["--allow-chaos"])));
    let probe = consumer.containers[0].liveness_probe.clone().unwrap();
    assert!(probe.period_seconds.unwrap() * probe.failure_threshold.unwrap() > 30 * 60);
}

#[test]
fn names_that_look_like_something_else_stay_names() {
    let mut odd = experiment("quick.yaml");
    odd.spec.stream.name = "1e5".to_owned();
    let workload = build(&odd, &settings(&[]));
    assert!(workload.config.data.unwrap()["consumer.yaml"].starts_with("stream: \"1e5\"\n"));
}
