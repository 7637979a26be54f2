//! What goes: with an experiment what it made, whatever has become of its endpoint, and with a new run the reports of those
//! before it that nobody keeps.

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

const AGAIN: &str = "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: again}
spec:
  stream: {name: again, initialShards: 2, deletionPolicy: Delete}
  replicas: 1
  report: {history: 0}
  balance: {stableFor: 1s, timeout: 3m}
  steps:
  - {name: steady, waitUntilBalanced: {}}
";

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn a_report_goes_when_its_run_is_no_longer_in_the_history() {
    let release = Release::install("again", &[]);
    release.apply(AGAIN);
    let complete = ["wait", "--for=condition=Complete", "kex/again", "--timeout=3m"];
    release.namespace().kubectl(complete).ok().unwrap();
    let reports = || -> anyhow::Result<Vec<String>> {
        let mut objects = release.namespace().objects()?.into_iter().collect::<Vec<_>>();
        objects.retain(|object| object.starts_with("configmap/again-report-"));
        Ok(objects)
    };
    assert_eq!(reports().unwrap(), ["configmap/again-report-0"]);

    let patch = r#"{"spec": {"run": {"nonce": 1}}}"#;
    let again = ["patch", "kex/again", "--type=merge", "-p", patch];
    release.namespace().kubectl(again).ok().unwrap();
    until("only the second report is left", Duration::from_secs(180), || {
        let left = reports()?;
        if left == ["configmap/again-report-1"] {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{left:?}"))
        }
    });

    // It stays with nobody as its owner, so that no garbage collector takes it later.
    release.namespace().kubectl(complete).ok().unwrap();
    release.namespace().kubectl(["delete", "kex", "again"]).ok().unwrap();
    let map = ["get", "configmap", "again-report-1", "-o", "json"];
    let map = release.namespace().kubectl(map).json().unwrap();
    assert!(map["metadata"]["ownerReferences"].is_null(), "{:#}", map["metadata"]);
    assert!(map["data"]["report.html"].is_string(), "{:#}", map["data"]);
}
