//! Scaling belongs to whoever scales: what `kubectl scale` sets stands, and is recorded.

use std::time::Duration;

use kinex_cluster_tests::{Release, until};
use serde_json::Value;

const HELD: &str = "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: held}
spec:
  stream: {name: held, initialShards: 6, deletionPolicy: Delete}
  replicas: 3
  balance: {stableFor: 1s, timeout: 3m}
  steps:
  - {name: steady, waitUntilBalanced: {}}
  - {name: hold, pause: {for: 10m}}
";

fn replicas(release: &Release) -> anyhow::Result<(Value, Value, Value)> {
    let set = release.namespace().get("statefulset/held-consumer")?;
    let experiment = release.experiment("held")?;
    Ok((
        set["spec"]["replicas"].clone(),
        experiment["spec"]["replicas"].clone(),
        experiment["status"]["leases"]["byWorker"].clone(),
    ))
}

/// Waits until set and manifest agree on a number and that many workers share the leases.
fn agreed(release: &Release, wanted: u32) {
    let waited = until(&format!("{wanted} consumers"), Duration::from_secs(120), || {
        let seen = replicas(release)?;
        let workers = seen.2.as_object().map_or(0, serde_json::Map::len);
        if seen.0 == wanted && seen.1 == wanted && workers == wanted as usize {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{seen:?}"))
        }
    });
    println!(
        "{wanted} consumers have the leases {:.1} s after the scaling",
        waited.after.as_secs_f64()
    );
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn kubectl_scale_stands_is_mirrored_and_recorded() {
    let release = Release::install("sharing", &[]);
    release.apply(HELD);
    let _ = release.begun("held", "hold", Duration::from_secs(180));

    // Of the set, by somebody: it stands, and is copied to the manifest.
    let set = ["scale", "statefulset/held-consumer", "--replicas=5"];
    release.namespace().kubectl(set).ok().unwrap();
    agreed(&release, 5);
    let events = release
        .namespace()
        .kubectl(["get", "events", "-o", "json"])
        .json()
        .unwrap();
    let about: Vec<&Value> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["involvedObject"]["kind"] == "KinesisExperiment")
        .collect();
    assert!(
        about.iter().any(|event| event["message"]
            .as_str()
            .is_some_and(|text| text.contains('5') && text.contains("scale"))),
        "{about:#?}"
    );

    // Of the experiment, as a user would: the set follows.
    release
        .namespace()
        .kubectl(["scale", "kex/held", "--replicas=3"])
        .ok()
        .unwrap();
    agreed(&release, 3);
}
