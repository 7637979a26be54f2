//! The guide's experiment on a cluster, with the README's commands: from `helm install` to a namespace that is empty again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinex_cluster_tests::{AuditLog, Call, Endpoint, Release, step_of, until};
use serde_json::Value;

const NAME: &str = "kcl-rebalance";
const STREAM: &str = "kcl-experiment";

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn the_guides_experiment_passes_and_leaves_nothing_behind() {
    let mut release = Release::install("guide", &[]);
    let before = release.namespace().objects().unwrap();

    let manifest = ["apply", "-f", "deploy/experiments/rebalance.yaml"];
    release.namespace().kubectl(manifest).ok().unwrap();
    let complete = ["wait", "--for=condition=Complete", "kex/kcl-rebalance", "--timeout=15m"];
    release.namespace().kubectl(complete).ok().unwrap();

    let status = release.experiment(NAME).unwrap()["status"].take();
    show(&status);
    assert_eq!(status["verdict"], "Pass", "{status:#}");
    assert_eq!(status["phase"], "Succeeded");
    let stream = &step_of(&status, "verify").unwrap()["stream"];
    assert_eq!(
        (&stream["totalShards"], &stream["openShards"], &stream["closedShards"]),
        (&40.into(), &30.into(), &10.into())
    );

    // The table itself says who has what, whatever the operator thinks.
    let endpoint = Endpoint::open(release.namespace()).unwrap();
    let owners = endpoint.leases(STREAM, NAME).unwrap();
    let wanted: BTreeMap<String, u64> = (0..5).map(|n| (format!("{NAME}-consumer-{n}"), 6)).collect();
    assert_eq!(owners, wanted);
    drop(endpoint);
    let pods = release.namespace().kubectl([
        "get",
        "pods",
        "-o",
        "name",
        "-l",
        "app.kubernetes.io/component=consumer",
    ]);
    let pods: BTreeSet<String> = pods
        .ok()
        .unwrap()
        .lines()
        .map(|pod| pod.trim_start_matches("pod/").to_owned())
        .collect();
    assert_eq!(pods, wanted.keys().cloned().collect());

    at_rest(&release);

    release
        .namespace()
        .kubectl(["delete", "kex", NAME, "--timeout=60s"])
        .ok()
        .unwrap();
    // The report outlives its experiment unless spec.run.reports says otherwise.
    let report = BTreeSet::from([format!("configmap/{NAME}-report-1")]);
    until("only the report is left", Duration::from_secs(90), || {
        let left: BTreeSet<String> = release
            .namespace()
            .objects()
            .unwrap()
            .difference(&before)
            .cloned()
            .collect();
        if left == report { Ok(()) } else { Err(left) }
    });
    release
        .namespace()
        .kubectl(["delete", "configmap", &format!("{NAME}-report-1")])
        .ok()
        .unwrap();

    release.uninstall();
    release.left_nothing();
}

fn show(status: &Value) {
    println!(
        "{:<16} {:<18} {:>9} {:>8} {:>10}",
        "STEP", "KIND", "OUTCOME", "SECONDS", "CONVERGED"
    );
    for step in status["steps"].as_array().unwrap() {
        println!(
            "{:<16} {:<18} {:>9} {:>8.1} {:>10}",
            step["name"].as_str().unwrap(),
            step["kind"].as_str().unwrap(),
            step["outcome"].as_str().unwrap(),
            step["seconds"].as_f64().unwrap_or_default(),
            step["convergenceSeconds"]
                .as_f64()
                .map_or_else(String::new, |s| format!("{s:.1}")),
        );
    }
}

/// An operator with nothing to do writes nothing but the lease that says it is there.
fn at_rest(release: &Release) {
    let versions = || -> BTreeMap<String, String> {
        let kinds = "kinesisexperiments,statefulsets,deployments,services,configmaps,poddisruptionbudgets,events";
        let list = release
            .namespace()
            .kubectl(["get", kinds, "-o", "json"])
            .json()
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| {
                let of = &item["metadata"];
                (
                    format!("{}/{}", text(&item["kind"]), text(&of["name"])),
                    text(&of["resourceVersion"]),
                )
            })
            .collect()
    };
    // A minute in which nothing changes; the first may still hold the end of the run.
    let quiet = until("a minute without any change", Duration::from_secs(240), || {
        let (counted, seen) = (writes(release), versions());
        std::thread::sleep(Duration::from_secs(60));
        let (later, seen_later) = (writes(release), versions());
        if counted == later && seen == seen_later {
            Ok(())
        } else {
            Err((counted, later, seen, seen_later))
        }
    });
    println!(
        "0 writes in the last minute, {:?} after the end of the run",
        quiet.after
    );
}

/// Writes of the operator so far but those of its lease, by the API server's audit log; `None` where there is none.
fn writes(release: &Release) -> Option<usize> {
    let log = AuditLog::of_the_cluster()?;
    let namespace = release.namespace().name();
    let of_it = |call: &&Call| call.namespace == namespace && call.account == "kinex-operator";
    Some(
        log.calls
            .iter()
            .filter(of_it)
            .filter(|call| call.writes() && call.resource != "leases")
            .count(),
    )
}
