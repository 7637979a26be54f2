//! An experiment that is deleted takes with it what it made, whatever has become of its endpoint.

use std::collections::BTreeSet;
use std::time::Duration;

use kinex_cluster_tests::{Release, until};

const LEAVING: &str = "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: leaving}
spec:
  stream: {name: leaving, initialShards: 4, deletionPolicy: Delete}
  replicas: 2
  producer: {recordsPerSecond: 10}
  report: {retention: Delete}
  balance: {stableFor: 1s, timeout: 3m}
  steps:
  - {name: steady, waitUntilBalanced: {}}
  - {name: hold, pause: {for: 10m}}
";

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn an_experiment_can_be_deleted_when_its_endpoint_is_gone() {
    let release = Release::install("leaving", &["cleanupTimeout=20s"]);
    let before = release.namespace().objects().unwrap();
    release.apply(LEAVING);
    let _ = release.begun("leaving", "hold", Duration::from_secs(180));

    release.remove_endpoint();
    release
        .namespace()
        .kubectl(["delete", "kex", "leaving", "--wait=false"])
        .ok()
        .unwrap();
    let waited = until("nothing of the experiment is left", Duration::from_secs(180), || {
        let now = release.namespace().objects()?;
        let left: BTreeSet<_> = now.difference(&before).cloned().collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{left:?}"))
        }
    });
    println!("gone {:.1} s after it was deleted", waited.after.as_secs_f64());

    // What could not be deleted is named, with what to do about it.
    let events = release
        .namespace()
        .kubectl(["get", "events", "-o", "json", "--field-selector=reason=CleanupGivenUp"])
        .json()
        .unwrap();
    let note = events["items"][0]["message"].as_str().unwrap_or_default();
    assert!(
        note.contains("stream leaving") && note.contains("kinex clean"),
        "{events:#}"
    );
    println!("{note}");
}
