//! What belongs to whom: what `kubectl scale` sets stands and is recorded, and the tables of one namespace's experiment
//! are never another's.

use std::time::Duration;

use kinex_cluster_tests::{Endpoint, Release, until};
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

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn an_experiment_of_the_same_name_elsewhere_leaves_the_tables_alone() {
    let first = Release::install("first", &[]);
    first.apply(HELD);
    let _ = first.begun("held", "hold", Duration::from_secs(180));

    let url = format!("http://kinex-endpoint.{}.svc:4566", first.namespace().name());
    let allowed = format!("limits.endpoints={{{url}}}");
    let second = Release::install("second", &[&allowed, "cleanupTimeout=5s"]);
    let before = second.namespace().objects().unwrap();
    second.apply(&HELD.replace(
        "deletionPolicy: Delete",
        &format!("deletionPolicy: Delete, endpointUrl: '{url}'"),
    ));
    let owner = format!(
        "belongs to the experiment held of namespace {}",
        first.namespace().name()
    );
    second.stalled("held", "TableOfAnother", &owner);
    // It has started nobody, and takes nothing along.
    let own = ["kinesisexperiment/held", "configmap/held-report-0"];
    let now = second.namespace().objects().unwrap();
    let made = now.difference(&before).map(String::as_str);
    let started: Vec<&str> = made.filter(|object| !own.contains(object)).collect();
    assert!(started.is_empty(), "{started:?}");
    second
        .namespace()
        .kubectl(["delete", "kex", "held", "--timeout=60s"])
        .ok()
        .unwrap();

    let endpoint = Endpoint::open(first.namespace()).unwrap();
    let view = endpoint.kinex("view-dist", "held", "held").unwrap();
    assert_eq!(
        (&view["leases"], &view["balanced"], &view["shards"]["open"]),
        (&6.into(), &true.into(), &6.into()),
        "{view:#}"
    );
}
