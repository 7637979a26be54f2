//! Workers that die, leave and sleep.

use std::process::Stdio;

use crate::support::{Process, alone, children, gone, kinex, play_text, signal};

/// Four workers on twelve shards; one of them meets its fate while records flow.
fn manifest(step: &str) -> String {
    format!(
        "apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {{name: fate}}
spec:
  stream: {{name: fate, initialShards: 12}}
  replicas: 4
  consumers: {{failoverAfter: 4s, settleFor: 1s}}
  producer: {{recordsPerSecond: 60}}
  balance: {{maxImbalance: 1, stableFor: 2s, timeout: 90s}}
  steps:
  - {{name: warm, waitUntilBalanced: {{}}}}
  - {{name: fate, {step}}}
  - {{name: again, waitUntilBalanced: {{}}}}
  - {{name: judge, assert: {{all: [{{name: no-loss, expr: 'records.missing == 0'}}]}}}}
"
    )
}

#[test]
fn with_a_witness_nobody_waits_for_the_silence_of_the_dead() {
    let _alone = alone();
    let played = play_text(&manifest("killPod: {count: 1, mode: Force}"), &[]);
    played.passed();
    let unread = played.number("/phases/1/unreadSecondsMax");
    assert!(unread < 4.0, "{unread} s: as long as the failover time");
    assert_eq!(played.number("/records/missing"), 0.0);
}

#[test]
fn without_a_witness_the_failover_time_decides() {
    let _alone = alone();
    let played = play_text(&manifest("killPod: {count: 1, mode: Force}"), &["--no-witness"]);
    played.passed();
    let unread = played.number("/phases/1/unreadSecondsMax");
    assert!((2.0..12.0).contains(&unread), "{unread} s");
    assert_eq!(played.number("/records/missing"), 0.0);
}

#[test]
fn a_worker_that_leaves_in_good_order_costs_no_duplicate() {
    let _alone = alone();
    let played = play_text(&manifest("killPod: {count: 1, mode: Delete}"), &[]);
    played.passed();
    assert_eq!(
        (played.number("/records/missing"), played.number("/records/duplicates")),
        (0.0, 0.0)
    );
}

#[test]
fn a_worker_that_sleeps_three_failover_times_takes_nothing_back() {
    let _alone = alone();
    let played = play_text(&manifest("freezePod: {count: 1, for: 12s}"), &[]);
    played.passed();
    assert_eq!(played.number("/records/missing"), 0.0);
}

fn start(directory: &std::path::Path) -> Process {
    let path = directory.join("experiment.yaml");
    std::fs::write(&path, manifest("pause: {for: 60s}")).unwrap();
    let mut command = kinex();
    command
        .arg("run")
        .arg(&path)
        .arg("--report")
        .arg(directory.join("report"));
    Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

#[test]
fn no_child_outlives_a_run_that_is_killed_not_even_a_stopped_one() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let run = start(directory.path());
    let ids = children(run.0.id(), 4);
    signal(ids[0], "STOP");
    run.signal("KILL");
    gone(&ids);
}

#[test]
fn an_interrupted_run_ends_its_children_and_writes_what_it_saw() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let run = start(directory.path());
    let ids = children(run.0.id(), 4);
    run.signal("INT");
    assert_eq!(run.wait(), Some(130));
    gone(&ids);
    let summary = std::fs::read_to_string(directory.path().join("report/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["verdict"], "Aborted");
}
