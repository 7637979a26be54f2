//! A rolling update of the consumers, and consumers without an operator.

use std::collections::BTreeMap;
use std::time::Duration;

use kinex_cluster_tests::{Endpoint, Release, step_of, until};
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
    let endpoint = Endpoint::open(release.namespace()).unwrap();
    let (before, owned_before) = (pods(&release), owned(&endpoint, "rolled").unwrap());
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
    // Nobody lost a record by it, and still it is not what the run was begun with.
    assert_eq!(status["verdict"], "Inconclusive", "{status:#}");
    let hold = step_of(&status, "hold").unwrap();
    let told = hold["interference"].as_str().unwrap_or_default();
    assert!(
        told.ends_with("changed the template of statefulset rolled-consumer"),
        "{hold:#}"
    );
    let outcomes: Vec<&Value> = status["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["outcome"])
        .collect();
    assert_eq!(outcomes, ["Pass"; 4], "{status:#}");
    let summary = until("the report is written", Duration::from_secs(60), || {
        let report = release.namespace().get("configmap/rolled-report-0")?;
        let text = report["data"]["summary.json"].as_str().unwrap_or_default();
        serde_json::from_str::<Value>(text).map_err(anyhow::Error::from)
    })
    .value;
    let steps = summary["steps"].as_array().unwrap().iter();
    let moves: Vec<&Value> = steps.map(|step| &step["moves"]).collect();
    let owned_after = owned(&endpoint, "rolled").unwrap();
    let times_taken = |(lease, (_, epoch)): (&String, &(String, u64))| owned_after[lease].1 - epoch;
    let taken: Vec<u64> = owned_before.iter().map(times_taken).collect();
    let elsewhere = owned_before
        .iter()
        .filter(|(lease, (owner, _))| owned_after[*lease].0 != *owner);
    println!(
        "{} leases taken {} times, {} of them are elsewhere than before; moves by step {moves:?}, records {}",
        taken.len(),
        taken.iter().sum::<u64>(),
        elsewhere.count(),
        summary["records"]
    );
    assert!(
        taken.len() == 20 && taken.iter().all(|times| *times > 0),
        "every pod was replaced, so somebody took every lease: {taken:?}"
    );
    assert_eq!(summary["records"]["missing"], 0);
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn helm_upgrade_in_mid_run_rolls_no_consumer() {
    let release = Release::install("upgrade", &[]);
    release.apply(&ROLLED.replace("rolled", "upgraded"));
    let _ = release.begun("upgraded", "hold", Duration::from_secs(180));
    let set = |release: &Release| {
        let set = release.namespace().get("statefulset/upgraded-consumer").unwrap();
        (set["metadata"]["generation"].clone(), set["spec"]["template"].clone())
    };
    let before = (release.operator().unwrap(), set(&release), pods(&release));
    release.upgrade(&[
        "operator.logFilter=debug",
        "consumer.resources.requests.cpu=60m",
        "consumer.podAnnotations.upgraded=yes",
        "consumer.extraEnv[0].name=UPGRADED",
        "consumer.extraEnv[0].value=yes",
    ]);

    let status = release.verdict("upgraded", Duration::from_secs(300));
    assert_eq!(status["verdict"], "Pass", "{status:#}");
    assert_ne!(
        release.operator().unwrap(),
        before.0,
        "the upgrade replaced the operator"
    );
    assert_eq!(set(&release), before.1);
    assert_eq!(pods(&release), before.2);
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn a_consumer_that_is_killed_comes_back_without_an_operator() {
    let release = Release::install("alone", &[]);
    release.apply(&ROLLED.replace("rolled", "alone"));
    let _ = release.begun("alone", "hold", Duration::from_secs(180));
    release.scale_operator(0);

    let endpoint = Endpoint::open(release.namespace()).unwrap();
    let before = owned(&endpoint, "alone").unwrap();
    let lost: Vec<&String> = before
        .iter()
        .filter(|(_, (owner, _))| owner == "alone-consumer-2")
        .map(|(lease, _)| lease)
        .collect();
    assert_eq!(lost.len(), 4, "{before:?}");
    let killed = [
        "delete",
        "pod",
        "alone-consumer-2",
        "--grace-period=0",
        "--force",
        "--wait=false",
    ];
    release.namespace().kubectl(killed).ok().unwrap();
    let taken = until("its leases are taken", Duration::from_secs(90), || {
        let now = owned(&endpoint, "alone")?;
        // Whoever takes a lease raises its epoch, be it the pod's successor of the same name.
        if lost.iter().all(|lease| now[*lease].1 > before[*lease].1) {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{now:?}"))
        }
    });
    println!(
        "every lease is owned again {:.1} s after the kill",
        taken.after.as_secs_f64()
    );
    let even = until("five consumers share the leases", Duration::from_secs(90), || {
        let mut shares = BTreeMap::<String, usize>::new();
        for (owner, _) in owned(&endpoint, "alone")?.into_values() {
            *shares.entry(owner).or_default() += 1;
        }
        if shares.len() == 5 && shares.values().all(|leases| *leases == 4) {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{shares:?}"))
        }
    });
    println!("4 leases each {:.1} s later", even.after.as_secs_f64());
    drop(endpoint);
    release.scale_operator(1);
}

/// Owner and epoch of each lease of an experiment whose stream has its name, by the table.
fn owned(endpoint: &Endpoint, name: &str) -> anyhow::Result<BTreeMap<String, (String, u64)>> {
    let table = endpoint.kinex("export", name, name)?;
    let rows = table.as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(rows
        .map(|row| {
            let epoch = row["epoch"].as_u64().unwrap_or_default();
            (text(&row["leaseKey"]), (text(&row["leaseOwner"]), epoch))
        })
        .collect())
}
