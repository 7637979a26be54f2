//! Two operators, and the one that leads is cut off from everybody: only on the test cluster, whose network is ours.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use kinex_cluster_tests::{AuditLog, Call, Release, until};

const LONG: Duration = Duration::from_secs(240);
/// Longer than the operator's Lease.
const CUT: Duration = Duration::from_secs(40);

/// Every step is written down when it begins and when it ends.
fn manifest() -> String {
    let pauses: String = (0..25)
        .map(|number| format!("  - {{name: p{number}, pause: {{for: 3s}}}}\n"))
        .collect();
    format!(
        "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {{name: cut}}\nspec:\n  \
         stream: {{name: cut, initialShards: 2, deletionPolicy: Delete}}\n  replicas: 1\n  steps:\n{pauses}"
    )
}

/// A pod that nobody hears and that hears nobody; it is connected again at the end, whatever comes.
struct Cut;

impl Cut {
    /// Before anything else looks at a packet.
    fn off(address: &str) -> Self {
        for command in [
            "add table ip kinex-test".to_owned(),
            "add chain ip kinex-test from { type filter hook prerouting priority raw; }".to_owned(),
            "add chain ip kinex-test to { type filter hook output priority raw; }".to_owned(),
            format!("add rule ip kinex-test from ip saddr {address} drop"),
            format!("add rule ip kinex-test to ip daddr {address} drop"),
        ] {
            nft(&command).unwrap();
        }
        Self
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Err(error) = nft("delete table ip kinex-test") {
            eprintln!("the pod stays cut off: {error}");
        }
    }
}

fn nft(command: &str) -> anyhow::Result<()> {
    let output = Command::new("nft").arg(command).output()?;
    anyhow::ensure!(output.status.success(), "nft {command}: {output:?}");
    Ok(())
}

/// The pod that holds the operator's Lease.
fn leader(release: &Release) -> anyhow::Result<String> {
    let lease = release.namespace().get("lease/kinex-operator")?;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    let holder = holder.rsplit('/').next().unwrap_or_default();
    let pods = release.namespace().kubectl(["get", "pods", "-o", "name"]).ok()?;
    let pod = pods
        .lines()
        .filter_map(|name| name.strip_prefix("pod/"))
        .find(|pod| holder.contains(pod));
    Ok(pod.with_context(|| format!("no pod is {holder}"))?.to_owned())
}

/// What the operators wrote besides their Lease, and was carried out.
fn effects(release: &Release) -> Vec<Call> {
    let log = AuditLog::of_the_cluster().expect("tests/cluster/test names the log");
    let mut calls = log.calls;
    calls.retain(|call| {
        call.namespace == release.namespace().name()
            && call.account == "kinex-operator"
            && call.writes()
            && call.resource != "leases"
            && call.code < 400
    });
    calls
}

#[test]
#[ignore = "needs the test cluster: make cluster-test"]
fn leader_that_is_cut_off_has_no_effect_once_another_has() {
    let release = Release::install("partition", &["operator.replicas=2"]);
    release.apply(&manifest());
    let _ = release.begun("cut", "p3", LONG);
    let old = leader(&release).unwrap();
    let pod = release.namespace().get(&format!("pod/{old}")).unwrap();
    let cut = Cut::off(pod["status"]["podIP"].as_str().unwrap());
    let new = until("another leader", CUT, || {
        let now = leader(&release)?;
        anyhow::ensure!(now != old, "{now} still leads");
        Ok(now)
    });
    until("its first effect", LONG, || {
        let calls = effects(&release);
        anyhow::ensure!(
            calls.iter().any(|call| call.pod == new.value),
            "none of {} writes",
            calls.len()
        );
        Ok(())
    });
    // What the old one sent may be under way until it is there again.
    drop(cut);
    let status = release.verdict("cut", LONG);
    assert_eq!(status["verdict"], "Pass", "{status:#}");

    let calls = effects(&release);
    let of = |pod: &str| -> Vec<&str> {
        let of = calls.iter().filter(|call| call.pod == pod);
        of.map(|call| call.at.as_str()).collect()
    };
    let (before, after) = (of(&old), of(&new.value));
    let (last, first) = (before.iter().max().unwrap(), after.iter().min().unwrap());
    println!(
        "{} writes of {old}, the last at {last}; {} of {}, the first at {first}; another led {:.1} s after the cut",
        before.len(),
        after.len(),
        new.value,
        new.after.as_secs_f64()
    );
    assert!(last < first, "both have an effect: {calls:#?}");
}
