//! What the operator does not play, although the API server accepted it: one condition each, with the reason and the next
//! step, while other experiments go on.

use std::fs;
use std::time::Duration;

use kinex_cluster_tests::{Release, root, until};
use serde_json::{Value, json};

/// Name, the spec's fields, the condition's reason, and what its message says.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "team-many-workers",
        "{stream: {name: team-a, initialShards: 4}, replicas: 9, preset: scale-only}",
        "TooManyReplicas",
        "spec.replicas asks for 9 workers, and the operator allows 8 (--max-replicas)",
    ),
    (
        "team-many-shards",
        "{stream: {name: team-a, initialShards: 40}, steps: [{name: a, pause: {for: 1s}}]}",
        "TooManyShards",
        "spec.stream.initialShards comes to 40 open shards, and the operator allows 32 (--max-shards)",
    ),
    (
        "team-many-records",
        "{stream: {name: team-a, initialShards: 4}, producer: {recordsPerSecond: 600}, steps: [{name: a, pause: {for: 1s}}]}",
        "TooManyRecords",
        "asks for 600 records per second, and the operator allows 500 (--max-records-per-second)",
    ),
    (
        "team-other-stream",
        "{stream: {name: orders, initialShards: 4}, steps: [{name: a, pause: {for: 1s}}]}",
        "StreamNotAllowed",
        "begin with `team-` (--stream-prefix)",
    ),
    (
        "other-table",
        "{stream: {name: team-a, initialShards: 4}, steps: [{name: a, pause: {for: 1s}}]}",
        "StreamNotAllowed",
        "metadata.name, which names the lease table, is `other-table`",
    ),
    (
        "team-elsewhere",
        "{stream: {name: team-a, initialShards: 4, endpointUrl: 'http://198.51.100.7:4566'}, steps: [{name: a, pause: {for: 1s}}]}",
        "EndpointNotAllowed",
        "the operator allows none (--allow-endpoint)",
    ),
    (
        "team-crash",
        "{stream: {name: team-a, initialShards: 4}, steps: [{name: a, killPod: {count: 1, mode: Crash}}]}",
        "ChaosNotAllowed",
        "the operator was started without --allow-chaos",
    ),
];

/// Files of `deploy/experiments/invalid` that only Kinex's own checks refuse.
const INVALID: &[&str] = &[
    "bad-expression",
    "unknown-field-in-expression",
    "unknown-step-in-expression",
    "whole-number-against-fraction",
];

const ALLOWED: &str = "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: team-quick}
spec:
  stream: {name: team-quick, initialShards: 4, deletionPolicy: Delete}
  replicas: 2
  balance: {stableFor: 1s, timeout: 3m}
  steps:
  - {name: steady, waitUntilBalanced: {}}
";

/// A run that needs nothing but its pods.
const SMALL: &str = "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: small}
spec:
  stream: {name: small, initialShards: 4, deletionPolicy: Delete}
  replicas: 2
  balance: {stableFor: 1s, timeout: 5m}
  steps:
  - {name: steady, timeout: 10m, waitUntilBalanced: {}}
";

/// Starts the operator anew with another image for the programs that it runs.
fn with_image(release: &Release, image: &str) {
    let operator = release.namespace().get("deployment/kinex-operator").unwrap();
    let mut arguments = operator["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    let of_image = arguments.as_array_mut().unwrap().iter_mut();
    let mut of_image = of_image.filter(|argument| argument.as_str().unwrap().starts_with("--image="));
    *of_image.next().unwrap() = format!("--image={image}").into();
    let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": arguments}]);
    let patch = patch.to_string();
    release
        .namespace()
        .kubectl(["patch", "deployment/kinex-operator", "--type=json", "-p", &patch])
        .ok()
        .unwrap();
    let rollout = ["rollout", "status", "deployment/kinex-operator", "--timeout=3m"];
    release.namespace().kubectl(rollout).ok().unwrap();
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn an_image_that_does_not_exist_is_named_and_the_run_goes_on_with_another() {
    let release = Release::install("image", &[]);
    let operator = release.namespace().get("deployment/kinex-operator").unwrap();
    let image = operator["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    // Nobody answers there, on a cluster with a way out either.
    with_image(&release, "127.0.0.1:9/kinex:none");
    release.apply(SMALL);
    release.stalled(
        "small",
        "PodsNotReady",
        "the image 127.0.0.1:9/kinex:none cannot be pulled; check its name, and the operator's --image",
    );
    with_image(&release, image.as_str().unwrap());
    let status = release.verdict("small", Duration::from_secs(300));
    assert_eq!(status["verdict"], "Pass", "{status:#}");

    // With its time to live it goes, and its stream with it.
    let over = r#"{"spec":{"ttlSecondsAfterFinished":0}}"#;
    let patch = ["patch", "kex/small", "--type=merge", "-p", over];
    release.namespace().kubectl(patch).ok().unwrap();
    until("end of the experiment", Duration::from_secs(150), || {
        match release.experiment("small") {
            Ok(there) => Err(there),
            Err(_) => Ok(()),
        }
    });
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn a_permission_that_is_missing_is_named_and_the_run_goes_on_when_it_is_granted() {
    let release = Release::install("denied", &[]);
    let grant = |rules: &Value| {
        let patch = json!({ "rules": rules }).to_string();
        release
            .namespace()
            .kubectl(["patch", "role/kinex-operator", "--type=merge", "-p", &patch])
            .ok()
            .unwrap();
    };
    let rules = release.namespace().get("role/kinex-operator").unwrap()["rules"].take();
    let mut fewer = rules.clone();
    let resources = |rule: &Value| rule["resources"].to_string();
    fewer
        .as_array_mut()
        .unwrap()
        .retain(|rule| !resources(rule).contains("statefulsets/scale"));
    assert_ne!(fewer, rules);
    grant(&fewer);
    release.apply(&SMALL.replace("small", "denied"));
    release.stalled(
        "denied",
        "PermissionDenied",
        r#"cannot patch resource "statefulsets/scale""#,
    );
    grant(&rules);
    let status = release.verdict("denied", Duration::from_secs(300));
    assert_eq!(status["verdict"], "Pass", "{status:#}");
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn what_is_not_allowed_is_refused_with_its_reason_and_others_go_on() {
    let limits = [
        "limits.replicas=8",
        "limits.shards=32",
        "limits.recordsPerSecond=500",
        "limits.streamPrefixes={team-}",
    ];
    let release = Release::install("refusals", &limits);
    for (name, spec, _, _) in REFUSED {
        release.apply(&format!(
            "{{apiVersion: kinex.dev/v1alpha1, kind: KinesisExperiment, metadata: {{name: {name}}}, spec: {spec}}}"
        ));
    }
    let mut said = Vec::new();
    for name in INVALID {
        let text = fs::read_to_string(root().join(format!("deploy/experiments/invalid/{name}.yaml"))).unwrap();
        release.apply(&text.replace("name: broken", &format!("name: {name}")));
        let header = text.lines().find_map(|line| line.strip_prefix("# expect: ")).unwrap();
        // Line and column are those of the file.
        said.push((*name, header.splitn(3, ':').nth(2).unwrap().trim().to_owned()));
    }
    release.apply(ALLOWED);

    for (name, _, reason, says) in REFUSED {
        release.stalled(name, reason, says);
    }
    for (name, says) in &said {
        release.stalled(name, "InvalidSpec", says);
    }
    let status = release.verdict("team-quick", Duration::from_secs(240));
    assert_eq!(status["verdict"], "Pass", "{status:#}");
    let sets = release
        .namespace()
        .kubectl(["get", "statefulsets", "-o", "name"])
        .ok()
        .unwrap();
    assert_eq!(
        sets.trim(),
        "statefulset.apps/team-quick-consumer",
        "a refused experiment makes nothing"
    );
}
