//! The Helm chart on a cluster: it installs where only restricted pods are admitted, passes its own test, and leaves nothing behind.

use kinex_cluster_tests::{Release, helm, kubectl};

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn the_chart_passes_its_own_test_and_leaves_only_the_definition() {
    let mut release = Release::install("chart", &["crd.install=true"]);
    let namespace = release.namespace().name().to_owned();

    let said = helm(["test", "kinex", "--namespace", &namespace, "--logs", "--timeout", "5m"])
        .ok()
        .unwrap();
    assert!(said.contains("verdict: Pass"), "{said}");
    println!("{said}");

    release.uninstall();
    release.left_nothing();
    let definition = ["get", "crd/kinesisexperiments.kinex.dev", "-o", "name"];
    kubectl(definition)
        .ok()
        .expect("uninstalling must not take everybody's experiments along");
}
