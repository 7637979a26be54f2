//! What a scrape shows of statuses, and what it no longer shows.

use kinex_core::experiment::{Condition, LeaseSummary, Outcome, Phase, StepResult, StreamSummary, Timestamp, Verdict};
use prometheus_client::encoding::text;

use super::*;

fn scrape(meters: &Meters) -> Vec<String> {
    let mut registry = Registry::with_prefix("kinex");
    meters.register(&mut registry);
    let mut text = String::new();
    text::encode(&mut text, &registry).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The series whose names or labels hold `part`, in their order.
fn series(meters: &Meters, part: &str) -> Vec<String> {
    let lines = scrape(meters).into_iter();
    lines
        .filter(|line| !line.starts_with('#') && line.contains(part))
        .collect()
}

fn running() -> Status {
    Status {
        phase: Phase::Running,
        started_at: Some(Timestamp(1_000_000)),
        replicas_wanted: Some(3),
        ready_replicas: 2,
        stream: Some(StreamSummary {
            status: "ACTIVE".to_owned(),
            total: 40,
            open: 30,
            closed: 10,
            newest_shard: None,
        }),
        leases: Some(LeaseSummary {
            active: 30,
            assigned: 29,
            unassigned: 1,
            imbalance: 3,
            by_worker: [("w-0".into(), 16), ("w-1".into(), 13)].into(),
            ..LeaseSummary::default()
        }),
        steps: vec![
            StepResult {
                name: "steady-1".to_owned(),
                outcome: Outcome::Pass,
                convergence_seconds: Some(1.5),
                moves: Some(7),
                moves_minimum: Some(6),
                unread_seconds_max: Some(0.25),
                ..StepResult::default()
            },
            StepResult {
                name: "split-ten".to_owned(),
                started_at: Some(Timestamp(1_012_500)),
                ..StepResult::default()
            },
        ],
        ..Status::default()
    }
}

#[test]
fn a_scrape_shows_the_last_status_of_each_experiment() {
    let meters = Meters::default();
    meters.observe_status("a", None, &running());
    meters.observe_records(
        "a",
        &RecordFacts {
            produced: 100,
            delivered: 98,
            missing: 2,
            duplicates: 1,
            reordered: 0,
            dropped: std::collections::BTreeMap::new(),
            judged_to: None,
        },
    );
    assert_eq!(
        series(&meters, "experiment=\"a\""),
        [
            r#"kinex_experiment_phase_info{experiment="a",phase="Running",verdict="Awaited"} 1.0"#,
            r#"kinex_experiment_step_info{experiment="a",step="split-ten",index="2"} 1.0"#,
            r#"kinex_experiment_step_start_time_seconds{experiment="a"} 1012.5"#,
            r#"kinex_worker_leases{experiment="a",worker="w-0"} 16.0"#,
            r#"kinex_worker_leases{experiment="a",worker="w-1"} 13.0"#,
            r#"kinex_lease_imbalance{experiment="a"} 3.0"#,
            r#"kinex_leases_unassigned{experiment="a"} 1.0"#,
            r#"kinex_stream_shards{experiment="a",state="open"} 30.0"#,
            r#"kinex_stream_shards{experiment="a",state="closed"} 10.0"#,
            r#"kinex_workers_ready{experiment="a"} 2.0"#,
            r#"kinex_workers_wanted{experiment="a"} 3.0"#,
            r#"kinex_convergence_seconds{experiment="a",step="steady-1"} 1.5"#,
            r#"kinex_step_moves{experiment="a",step="steady-1"} 7.0"#,
            r#"kinex_step_moves_minimum{experiment="a",step="steady-1"} 6.0"#,
            r#"kinex_step_unread_max_seconds{experiment="a",step="steady-1"} 0.25"#,
            r#"kinex_records_produced{experiment="a"} 100.0"#,
            r#"kinex_records_delivered{experiment="a"} 98.0"#,
            r#"kinex_records_missing{experiment="a"} 2.0"#,
            r#"kinex_records_repeated{experiment="a"} 1.0"#,
        ]
    );
}

#[test]
fn a_later_status_leaves_nothing_of_the_one_before() {
    let meters = Meters::default();
    meters.observe_status("a", None, &running());
    let mut later = running();
    later.phase = Phase::Succeeded;
    later.verdict = Verdict::Pass;
    later.steps[1].outcome = Outcome::Pass;
    later.leases.as_mut().unwrap().by_worker = [("w-1".into(), 30)].into();
    meters.observe_status("a", None, &later);
    assert_eq!(
        series(&meters, "_info{"),
        [r#"kinex_experiment_phase_info{experiment="a",phase="Succeeded",verdict="Pass"} 1.0"#]
    );
    assert_eq!(
        series(&meters, "worker="),
        [r#"kinex_worker_leases{experiment="a",worker="w-1"} 30.0"#]
    );
    assert!(series(&meters, "start_time").is_empty(), "an ended run is at no step");
}

#[test]
fn an_experiment_that_is_forgotten_has_no_series() {
    let meters = Meters::default();
    meters.observe_status("a", None, &running());
    meters.observe_status("b", None, &running());
    meters.observe_records("a", &RecordFacts::default());
    meters.forget("a");
    assert!(series(&meters, "experiment=\"a\"").is_empty());
    assert!(!series(&meters, "experiment=\"b\"").is_empty());
    meters.forget("b");
    assert!(series(&meters, "experiment=").is_empty());
}

#[test]
fn a_status_before_the_first_look_shows_no_numbers_that_nobody_saw() {
    let meters = Meters::default();
    meters.observe_status("new", None, &Status::default());
    assert_eq!(
        series(&meters, "new"),
        [r#"kinex_experiment_phase_info{experiment="new",phase="Pending",verdict="Awaited"} 1.0"#]
    );
}

#[test]
fn two_steps_of_one_name_are_one_series() {
    let mut status = running();
    status.steps[1] = StepResult {
        convergence_seconds: Some(2.0),
        ..status.steps[0].clone()
    };
    let meters = Meters::default();
    meters.observe_status("a", None, &status);
    assert_eq!(
        series(&meters, "kinex_convergence_seconds"),
        [r#"kinex_convergence_seconds{experiment="a",step="steady-1"} 2.0"#]
    );
}

#[test]
fn outcomes_are_counted_from_nought() {
    let meters = Meters::default();
    meters.leading(true);
    assert!(
        series(&meters, "kinex_reconcile_total").contains(&r#"kinex_reconcile_total{outcome="failed"} 0"#.to_owned())
    );
    meters.reconciled(Reconcile::Failed, Duration::from_millis(20));
    meters.failed(Failure::Stream);
    meters.effect("split-shard", true);
    meters.effect("split-shard", false);
    meters.api_write("statefulsets/scale", "patch");
    let all = scrape(&meters);
    for line in [
        r#"kinex_reconcile_total{outcome="failed"} 1"#,
        r#"kinex_reconcile_total{outcome="unchanged"} 0"#,
        r#"kinex_reconcile_duration_seconds_count 1"#,
        r#"kinex_reconcile_duration_seconds_bucket{le="0.025"} 1"#,
        r#"kinex_reconcile_failures_total{kind="stream"} 1"#,
        r#"kinex_effects_total{effect="split-shard",outcome="begun"} 1"#,
        r#"kinex_effects_total{effect="split-shard",outcome="refused"} 1"#,
        r#"kinex_api_writes_total{resource="statefulsets/scale",verb="patch"} 1"#,
        "kinex_leader 1",
    ] {
        assert!(all.iter().any(|found| found == line), "{line} is not in {all:#?}");
    }
}

#[test]
fn names_are_written_so_that_the_text_stays_readable() {
    let meters = Meters::default();
    meters.observe_status("a\"b\\c\nd", None, &Status::default());
    let lines = series(&meters, "phase_info");
    assert_eq!(
        lines,
        [r#"kinex_experiment_phase_info{experiment="a\"b\\c\nd",phase="Pending",verdict="Awaited"} 1.0"#]
    );
}

#[test]
fn conditions_are_shown_with_their_reasons() {
    let condition = |kind: &str, status: &str, reason: &str| Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        last_transition_time: Timestamp(1),
        observed_generation: None,
    };
    let meters = Meters::default();
    let status = Status {
        conditions: vec![
            condition("Stalled", "True", "NameTaken"),
            condition("Failed", "False", "NotFailed"),
        ],
        ..running()
    };
    meters.observe_status("orders", None, &status);
    assert_eq!(
        series(&meters, "kinex_experiment_condition"),
        [
            r#"kinex_experiment_condition{experiment="orders",type="Stalled",reason="NameTaken"} 1.0"#,
            r#"kinex_experiment_condition{experiment="orders",type="Failed",reason="NotFailed"} 0.0"#,
        ]
    );
}

#[test]
fn series_of_an_experiment_in_a_cluster_name_its_namespace() {
    let meters = Meters::default();
    meters.observe_status("lab/orders", Some("lab"), &running());
    let all = series(&meters, "kinex_experiment_phase_info");
    assert_eq!(all.len(), 1);
    assert!(
        all[0].starts_with(r#"kinex_experiment_phase_info{experiment="lab/orders",namespace="lab","#),
        "{all:?}"
    );
}

#[test]
fn steps_that_end_are_counted_once() {
    let meters = Meters::default();
    let counts = |part: &str| series(&meters, part);
    // What was over before this process looked was counted by another.
    meters.observe_status("orders", None, &running());
    assert_eq!(counts("kinex_step_duration_seconds_count"), Vec::<String>::new());
    let mut ended = running();
    let step = &mut ended.steps[1];
    step.kind = "split".to_owned();
    step.outcome = Outcome::Pass;
    step.finished_at = Some(Timestamp(1_016_000));
    step.seconds = Some(3.5);
    step.convergence_seconds = Some(1.25);
    for _ in 0..3 {
        meters.observe_status("orders", None, &ended);
    }
    assert_eq!(
        counts("kinex_step_duration_seconds_count"),
        [r#"kinex_step_duration_seconds_count{kind="split",outcome="Pass"} 1"#]
    );
    assert_eq!(
        counts("kinex_convergence_duration_seconds_sum"),
        ["kinex_convergence_duration_seconds_sum 1.25"]
    );
    // The steps of another run are other steps, whatever their names.
    ended.run_nonce = Some(9);
    meters.observe_status("orders", None, &ended);
    assert_eq!(
        counts("kinex_convergence_duration_seconds_count"),
        ["kinex_convergence_duration_seconds_count 2"]
    );
}
