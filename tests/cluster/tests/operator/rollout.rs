//! A rolling update of the consumers, and consumers without an operator.

use std::time::Duration;

use kinex_cluster_tests::{Endpoint, Release, until};
use serde_json::Value;

const ROLLED: &str = r#"
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: rolled}
spec:
  stream: {name: rolled, initialShards: 20, deletionPolicy: Delete}
  replicas: 5
  consumers: {failoverAfter: 10s}
  producer: {recordsPerSecond: 40}
  balance: {stableFor: 2s, timeout: 3m}
  steps:
  - {name: steady, waitUntilBalanced: {}}
  - {name: hold, timeout: 5m, pause: {for: 2m}}
  - {name: steady-again, waitUntilBalanced: {}}
  - name: verify
    assert:
      all:
      - {name: nothing-lost, expr: "records.missing == 0"}
"#;

/// The pods' uids: another uid is another pod of the same name.
fn pods(release: &Release) -> Vec<String> {
    let pods = release
        .namespace()
        .kubectl([
            "get",
            "pods",
            "-o",
            "json",
            "-l",
            "app.kubernetes.io/component=consumer",
        ])
        .json()
        .unwrap();
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap().to_owned();
    pods["items"].as_array().unwrap().iter().map(uid).collect()
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn a_rolling_update_loses_nothing() {
    let release = Release::install("rollout", &[]);
    release.apply(ROLLED);
    let _ = release.begun("rolled", "hold", Duration::from_secs(180));
    let before = pods(&release);
    let restart = ["rollout", "restart", "statefulset/rolled-consumer"];
    release.namespace().kubectl(restart).ok().unwrap();
    let rolled = ["rollout", "status", "statefulset/rolled-consumer", "--timeout=5m"];
    release.namespace().kubectl(rolled).ok().unwrap();
    let after = pods(&release);
    assert!(
        after.len() == 5 && after.iter().all(|uid| !before.contains(uid)),
        "{before:?} {after:?}"
    );

    let status = release.verdict("rolled", Duration::from_secs(300));
    assert_eq!(status["verdict"], "Pass", "{status:#}");
    let summary = until("the report is written", Duration::from_secs(60), || {
        let report = release.namespace().get("configmap/rolled-report-0")?;
        let text = report["data"]["summary.json"].as_str().unwrap_or_default();
        serde_json::from_str::<Value>(text).map_err(anyhow::Error::from)
    })
    .value;
    let moves: Vec<&Value> = summary["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["moves"])
        .collect();
    println!("moves by step {moves:?}, records {}", summary["records"]);
    assert_eq!(summary["records"]["missing"], 0);
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn a_consumer_that_is_killed_comes_back_without_an_operator() {
    let release = Release::install("alone", &[]);
    release.apply(&ROLLED.replace("rolled", "alone"));
    let _ = release.begun("alone", "hold", Duration::from_secs(180));
    release.scale_operator(0);

    let endpoint = Endpoint::open(release.namespace()).unwrap();
    let shares = || -> anyhow::Result<Vec<(String, u64)>> {
        let view = endpoint.kinex("view-dist", "alone", "alone")?;
        let workers = view["workers"].as_array().into_iter().flatten();
        let share = |worker: &Value| {
            (
                worker["started"].to_string(),
                worker["leases"].as_u64().unwrap_or_default(),
            )
        };
        Ok(workers.map(share).collect())
    };
    let before = shares().unwrap();
    let killed = [
        "delete",
        "pod",
        "alone-consumer-2",
        "--grace-period=0",
        "--force",
        "--wait=false",
    ];
    release.namespace().kubectl(killed).ok().unwrap();
    let waited = until(
        "five consumers, one of them new, share the leases",
        Duration::from_secs(90),
        || {
            let now = shares()?;
            let even = now.len() == 5 && now.iter().all(|(_, leases)| *leases == 4);
            if even && now != before {
                Ok(())
            } else {
                Err(anyhow::anyhow!("{now:?}"))
            }
        },
    );
    println!("4 leases each {:.1} s after the kill", waited.after.as_secs_f64());
    drop(endpoint);
    release.scale_operator(1);
}
