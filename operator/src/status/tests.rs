//! Conditions follow the run and keep their times.

use kinex_core::experiment::Verdict;

use super::*;

const EARLIER: Timestamp = Timestamp(1_000);
const NOW: Timestamp = Timestamp(9_000);

fn condition(kind: &str, truth: bool) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: if truth { "True" } else { "False" }.to_owned(),
        reason: "Any".to_owned(),
        message: String::new(),
        last_transition_time: EARLIER,
        observed_generation: None,
    }
}

/// A status as the core leaves it.
fn status(phase: Phase, verdict: Verdict, stands: bool) -> Status {
    Status {
        phase,
        verdict,
        conditions: vec![
            condition("StreamReady", stands),
            condition("WorkersReady", stands),
            condition("Complete", phase.ended()),
            condition("Failed", phase.ended() && verdict != Verdict::Pass),
        ],
        ..Status::default()
    }
}

/// The conditions that hold, with their reasons.
fn holding(status: &Status) -> String {
    let holds = status.conditions.iter().filter(|one| one.status == "True");
    let named = holds.map(|one| format!("{}={}", one.kind, one.reason));
    named.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_conditions_follow_the_run() {
    let stall = Stall {
        reason: "TooManyShards",
        message: "ask for fewer".to_owned(),
    };
    let check = |phase, verdict, stands, stall: Option<&Stall>, reported, expected: &str| {
        let stored = status(phase, verdict, stands);
        let mut found = stored.clone();
        complete(&mut found, &stored, stall, reported, NOW);
        assert_eq!(holding(&found), expected, "{phase:?} {verdict:?} {stall:?}");
    };
    let up = "StreamReady=Any WorkersReady=Any";
    check(
        Phase::Pending,
        Verdict::Awaited,
        false,
        Some(&stall),
        true,
        "Stalled=TooManyShards",
    );
    check(
        Phase::Setup,
        Verdict::Awaited,
        false,
        None,
        false,
        "Reconciling=RunInProgress",
    );
    let running = format!("{up} Ready=Ready Reconciling=RunInProgress");
    check(Phase::Running, Verdict::Awaited, true, None, false, &running);
    let held = format!("{up} Ready=Ready Reconciling=RunInProgress Paused=Held");
    check(Phase::Paused, Verdict::Awaited, true, None, false, &held);
    let blind = format!("{up} Stalled=TooManyShards");
    check(Phase::Running, Verdict::Awaited, true, Some(&stall), false, &blind);
    let reporting = format!("{up} Ready=Ready Reconciling=Reporting");
    check(Phase::Succeeded, Verdict::Pass, true, None, false, &reporting);
    let passed = format!("{up} Complete=Any Ready=Ready");
    check(Phase::Succeeded, Verdict::Pass, true, None, true, &passed);
    let failed = format!("{up} Complete=Any Failed=Any Ready=Ready");
    check(Phase::Failed, Verdict::Fail, true, None, true, &failed);
    let aborted = format!("{up} Complete=Any Failed=Any Ready=Ready");
    check(Phase::Aborted, Verdict::Aborted, true, None, true, &aborted);
}

#[test]
fn what_is_waited_for_is_said_where_everybody_looks() {
    let stored = status(Phase::Setup, Verdict::Awaited, false);
    let mut found = stored.clone();
    found.conditions[0].status = "True".to_owned();
    found.conditions[1].message = "waiting for 3 workers: 1 live, 1 of them ready".to_owned();
    complete(&mut found, &stored, None, false, NOW);
    let ready = found.conditions.iter().find(|one| one.kind == "Ready").unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.message.as_str()),
        ("False", "waiting for 3 workers: 1 live, 1 of them ready")
    );
}

#[test]
fn a_condition_keeps_its_time_while_its_truth_is_the_same() {
    let mut stored = status(Phase::Running, Verdict::Awaited, true);
    complete(&mut stored.clone(), &stored, None, false, EARLIER);
    let empty = Status::default();
    let mut first = stored.clone();
    complete(&mut first, &empty, None, false, EARLIER);
    stored = first;
    let mut again = stored.clone();
    complete(&mut again, &stored, None, false, NOW);
    assert_eq!(again, stored, "nothing new is nothing to write");
    let stall = Stall {
        reason: "EndpointUnreadable",
        message: "gone".to_owned(),
    };
    complete(&mut again, &stored, Some(&stall), false, NOW);
    let time = |kind: &str| {
        let found = again.conditions.iter().find(|one| one.kind == kind);
        found.map(|one| one.last_transition_time)
    };
    assert_eq!(time("Stalled"), Some(NOW));
    assert_eq!(time("Ready"), Some(NOW));
    assert_eq!(time("Paused"), Some(EARLIER));
}

#[test]
fn a_denied_permission_is_named_with_the_next_step() {
    let answer = kube::core::Status::failure(
        "statefulsets.apps \"x\" is forbidden: User \"o\" cannot patch resource \"statefulsets/scale\"",
        "Forbidden",
    )
    .with_code(403);
    let stall = stall_of(&kube::Error::Api(Box::new(answer)), "scale the workers");
    assert_eq!(stall.reason, "PermissionDenied");
    assert!(
        stall.message.contains("cannot patch resource \"statefulsets/scale\""),
        "{stall:?}"
    );
    assert!(stall.message.contains("grant it"), "{stall:?}");
}

#[test]
fn a_patch_takes_away_what_is_gone_and_leaves_an_emptied_map() {
    let check = |known: Value, wanted: Value, expected: Value| assert_eq!(difference(&known, &wanted), expected);
    check(json!(null), json!({"a": 1}), json!({"a": 1}));
    check(json!({"a": 1, "b": 2}), json!({"a": 1}), json!({"b": null}));
    check(json!({"by": {"w": 1}}), json!({"by": {}}), json!({"by": {"w": null}}));
    check(
        json!({"by": {"w": 1}}),
        json!({"by": {"w": 2, "v": 1}}),
        json!({"by": {"w": 2, "v": 1}}),
    );
    check(json!({"list": [1, 2]}), json!({"list": [1]}), json!({"list": [1]}));
    check(json!({"a": 1}), json!({"a": 1}), json!({}));
}
