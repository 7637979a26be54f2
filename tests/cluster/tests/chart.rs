//! The Helm chart on a cluster: it installs where only restricted pods are admitted, passes its own test, and leaves nothing.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use kinex_cluster_tests::{Release, helm, kubectl, until};

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn the_chart_passes_its_own_test_and_leaves_only_the_definition() {
    // The operator has no part in this; the chart's test plays the experiment in one pod.
    let mut release = Release::install("chart", &["crd.install=true", "operator.replicas=0"]);
    let namespace = release.namespace().name().to_owned();

    let said = helm(["test", "kinex", "--namespace", &namespace, "--logs", "--timeout", "5m"])
        .ok()
        .unwrap();
    assert!(said.contains("verdict: Pass"), "{said}");
    println!("{said}");

    release.uninstall();
    until("nothing of the release is left", Duration::from_secs(90), || {
        let left = release.namespace().objects().unwrap();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let definition = ["get", "crd/kinesisexperiments.kinex.dev", "-o", "name"];
    kubectl(definition)
        .ok()
        .expect("uninstalling must not take everybody's experiments along");
}
