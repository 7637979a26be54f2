//! Which events a change of status tells.

use kinex_core::experiment::{Condition, Plan, PlannedSplit, StepResult, TimelineEntry, Timestamp, Verdict};

use super::*;

fn step(name: &str, outcome: Outcome) -> StepResult {
    StepResult {
        name: name.to_owned(),
        kind: "split".to_owned(),
        outcome,
        seconds: Some(2.0),
        ..StepResult::default()
    }
}

fn run(steps: Vec<StepResult>) -> Status {
    Status {
        phase: Phase::Running,
        run_nonce: Some(1),
        steps,
        ..Status::default()
    }
}

fn check(old: &Status, new: &Status, expected: &[&str]) {
    let told = between(old, new);
    let lines: Vec<_> = told
        .iter()
        .map(|notice| {
            let mark = if notice.warning { "!" } else { "" };
            format!("{mark}{} {}: {}", notice.reason, notice.action, notice.note)
        })
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_run_tells_its_beginning_its_steps_and_its_end() {
    let (pending, begun) = (Status::default(), run(vec![]));
    check(&pending, &begun, &["RunStarted run-1: run 1 begins"]);
    let one = run(vec![step("a", Outcome::Running)]);
    check(&begun, &one, &["StepStarted a: step a (split) begins"]);
    check(&one, &one, &[]);
    let two = run(vec![step("a", Outcome::Pass), step("b", Outcome::Running)]);
    check(
        &one,
        &two,
        &[
            "StepPassed a: step a ends after 2.0 s: Pass",
            "StepStarted b: step b (split) begins",
        ],
    );
    let mut last = step("b", Outcome::Fail);
    last.message = Some("too late".to_owned());
    let ended = Status {
        phase: Phase::Failed,
        verdict: Verdict::Fail,
        message: Some("step b: too late".to_owned()),
        ..run(vec![step("a", Outcome::Pass), last, step("c", Outcome::Skipped)])
    };
    check(
        &two,
        &ended,
        &[
            "!StepFailed b: step b ends after 2.0 s: Fail: too late",
            "!RunFailed run-1: run 1 ends: Fail: step b: too late",
        ],
    );
}

#[test]
fn a_new_run_tells_its_steps_anew() {
    let old = Status {
        phase: Phase::Succeeded,
        ..run(vec![step("a", Outcome::Pass)])
    };
    let new = Status {
        run_nonce: Some(2),
        ..run(vec![step("a", Outcome::Running)])
    };
    check(
        &old,
        &new,
        &["RunStarted run-2: run 2 begins", "StepStarted a: step a (split) begins"],
    );
}

#[test]
fn what_others_do_is_told_once() {
    let what = "kubectl scaled the workers from 3 to 5";
    let entry = TimelineEntry {
        at: Timestamp(5),
        what: what.to_owned(),
        interference: true,
        open_shards: 20,
        workers: 3,
        imbalance: 1,
    };
    let before = run(vec![step("a", Outcome::Running)]);
    let mut in_step = before.clone();
    in_step.steps[0].interference = Some(what.to_owned());
    in_step.timeline.push(entry.clone());
    check(&before, &in_step, &[&format!("!Interference a: {what}")]);
    check(&in_step, &in_step, &[]);
    let mut idle = run(vec![]);
    let quiet = idle.clone();
    idle.timeline.push(entry);
    check(&quiet, &idle, &[&format!("!Interference run-1: {what}")]);
}

#[test]
fn what_is_in_the_way_is_told_when_it_comes() {
    let stalled = |reason: &str| Status {
        conditions: vec![Condition {
            kind: "Stalled".to_owned(),
            status: "True".to_owned(),
            reason: reason.to_owned(),
            message: "do this".to_owned(),
            last_transition_time: Timestamp(1),
            observed_generation: None,
        }],
        ..Status::default()
    };
    check(&Status::default(), &stalled("A"), &["!A reconcile: do this"]);
    check(&stalled("A"), &stalled("A"), &[]);
    check(&stalled("A"), &stalled("B"), &["!B reconcile: do this"]);
    check(&stalled("B"), &Status::default(), &[]);
}

#[test]
fn what_a_step_does_and_the_report_are_told_by_name() {
    let split = |shard: &str| PlannedSplit {
        shard: shard.into(),
        at: "1".to_owned(),
        done: false,
    };
    let mut before = run(vec![step("a", Outcome::Running)]);
    before.steps[0].plan = Some(Plan {
        splits: (0..12).map(|nth| split(&format!("s-{nth}"))).collect(),
        ..Plan::default()
    });
    let mut acts = before.clone();
    acts.steps[0].acted_at = Some(Timestamp(5));
    check(
        &before,
        &acts,
        &["ShardsSplit a: step a: splits s-0, s-1, s-2, s-3, s-4, s-5, s-6, s-7, s-8, s-9 and 2 more"],
    );
    check(&acts, &acts, &[]);
    let complete = |status: &str| Status {
        report: Some("orders-report-1".to_owned()),
        conditions: vec![Condition {
            kind: "Complete".to_owned(),
            status: status.to_owned(),
            reason: "Pass".to_owned(),
            message: String::new(),
            last_transition_time: Timestamp(1),
            observed_generation: None,
        }],
        ..run(vec![])
    };
    let told = "ReportWritten run-1: the report of run 1 is configmap orders-report-1";
    check(&complete("False"), &complete("True"), &[told]);
    check(&complete("True"), &complete("True"), &[]);
}
