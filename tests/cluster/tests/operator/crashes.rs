//! What is killed, and what happens then: the operator in the middle of a step, a consumer while it reads.

use std::time::Duration;

use kinex_cluster_tests::{Endpoint, Release, step_of, until};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(240);

const SPLITS: &str = "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: splits}
spec:
  stream: {name: splits, initialShards: 12, deletionPolicy: Delete}
  replicas: 2
  producer: {recordsPerSecond: 20}
  balance: {stableFor: 1s, timeout: 3m}
  steps:
  - {name: steady, waitUntilBalanced: {}}
  - {name: split-ten, timeout: 5m, split: {count: 10}}
  - {name: steady-again, waitUntilBalanced: {maxImbalance: 2}}
";

fn planned(status: &Value) -> (usize, usize) {
    let splits = step_of(status, "split-ten").and_then(|step| step["plan"]["splits"].as_array());
    let done = splits
        .into_iter()
        .flatten()
        .filter(|split| split["done"] == true)
        .count();
    (splits.map_or(0, Vec::len), done)
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn an_operator_that_is_killed_three_times_splits_exactly_ten_times() {
    let release = Release::install("killed", &[]);
    release.apply(SPLITS);
    let mut killed = Vec::new();
    // With the plan just written, after the third split, after the seventh.
    for at_least in [0, 3, 7] {
        let waited = until("the next point to kill at", LONG, || {
            let status = release.experiment("splits")?["status"].take();
            let (planned, done) = planned(&status);
            if planned == 10 && done >= at_least {
                Ok(done)
            } else {
                Err(anyhow::anyhow!("{status:#}"))
            }
        });
        let pod = release.kill_operator();
        println!("{pod} killed with {} of 10 splits seen done", waited.value);
        killed.push(pod);
        until("another operator", LONG, || {
            let pod = release.operator()?;
            if killed.contains(&pod) {
                Err(anyhow::anyhow!("{pod} is still there"))
            } else {
                Ok(())
            }
        });
    }
    let status = release.verdict("splits", LONG);
    assert_eq!(status["verdict"], "Pass", "{status:#}");

    let endpoint = Endpoint::open(release.namespace()).unwrap();
    let shards = endpoint.kinex("verify", "splits", "splits").unwrap();
    let count = |of: &str| shards["shards"][of].as_u64().unwrap_or_else(|| panic!("{shards:#}"));
    assert_eq!(
        (count("total"), count("open"), count("closed")),
        (32, 22, 10),
        "10 splits of 12 shards"
    );
}

fn crash(name: &str) -> String {
    format!(
        "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {{name: {name}}}
spec:
  stream: {{name: {name}, initialShards: 20, deletionPolicy: Delete}}
  replicas: 5
  consumers: {{failoverAfter: 10s}}
  producer: {{recordsPerSecond: 40}}
  balance: {{stableFor: 2s, timeout: 3m}}
  steps:
  - {{name: steady, waitUntilBalanced: {{}}}}
  - {{name: crash, killPod: {{count: 1, mode: Crash}}}}
  - {{name: steady-again, waitUntilBalanced: {{}}}}
  - {{name: delete, killPod: {{count: 1, mode: Delete}}}}
  - {{name: steady-after-delete, waitUntilBalanced: {{}}}}
  - {{name: force, killPod: {{count: 1, mode: Force}}}}
  - {{name: steady-after-force, waitUntilBalanced: {{}}}}
  - name: verify
    assert:
      all:
      - {{name: nothing-lost, expr: \"records.missing == 0\"}}
"
    )
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn the_leases_of_consumers_that_are_ended_move_before_they_would_be_missed() {
    let release = Release::install("crash", &["allowChaos=true"]);
    release.apply(&crash("crash"));
    let status = release.verdict("crash", LONG);
    assert_eq!(status["verdict"], "Pass", "{status:#}");
    let unread = |step: &str| step_of(&status, step).and_then(|step| step["unreadSecondsMax"].as_f64());
    for (how, after) in [
        ("Crash", "steady-again"),
        ("Delete", "steady-after-delete"),
        ("Force", "steady-after-force"),
    ] {
        println!(
            "{how}: a shard was read by nobody for at most {:.1} s",
            unread(after).unwrap()
        );
    }
    assert!(unread("steady-again") > Some(0.0), "{status:#}");
    // Not by silence: the operator saw the process end and said so. How long that took depends on the machine.
    let report = until("the report is written", Duration::from_secs(60), || {
        let report = release.namespace().get("configmap/crash-report-0")?["data"]["report.html"].take();
        report
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| anyhow::anyhow!("{report}"))
    })
    .value;
    assert!(report.contains("<td>owner ended</td>"), "{report}");
}
