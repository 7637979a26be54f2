//! What-if questions with figures that a person can check.

use super::*;
use crate::member::Config;

fn candidates(names: &str) -> Vec<Candidate> {
    let candidate = |name| Candidate {
        id: WorkerId::from(name),
        hard_cap: None,
    };
    names.split_whitespace().map(candidate).collect()
}

fn names(names: &str) -> Vec<WorkerId> {
    names.split_whitespace().map(WorkerId::from).collect()
}

fn check(before: &str, change: &Change, expected: &str) {
    let answer = what_if(&fleet(before), change, &Policy::default(), &Config::default());
    let Requests { scans, reads, writes } = answer.requests;
    let text = format!(
        "{} moves {} in {:?}, {scans} scans {reads} reads {writes} writes",
        shown(&after(&answer.view, &answer.plan.moves)),
        answer.plan.moves_of_live(),
        answer.converges_in,
    );
    assert_eq!(text, expected, "from {before}");
    assert_eq!(
        answer.after.assigned() as usize,
        answer.view.leases.len() - answer.plan.spilled().count()
    );
}

#[test]
fn two_more_workers_cost_twelve_handoffs_and_under_six_seconds() {
    let change = Change {
        join: candidates("d e"),
        ..Change::default()
    };
    check(
        "a:10 b:10 c:10",
        &change,
        "a:6 b:6 c:6 d:6 e:6 moves 12 in 4.51s, 2 scans 24 reads 48 writes",
    );
}

#[test]
fn a_death_costs_the_failover_time_and_a_good_leave_does_not() {
    let die = Change {
        die: names("c"),
        ..Change::default()
    };
    check(
        "a:2 b:2 c:2",
        &die,
        "a:3 b:3 moves 0 in 11.06s, 2 scans 2 reads 2 writes",
    );
    let leave = Change {
        leave: names("c"),
        ..Change::default()
    };
    check(
        "a:2 b:2 c:2",
        &leave,
        "a:3 b:3 moves 0 in 2.31s, 2 scans 4 reads 8 writes",
    );
}

#[test]
fn children_of_a_split_are_orphans_at_first() {
    let child = |nth: usize| Placed {
        key: ShardId::from(format!("child{nth}")),
        ..placed(nth, None)
    };
    let change = Change {
        reshard: std::collections::BTreeMap::from([(ShardId::from("s000"), vec![child(0), child(1)])]),
        ..Change::default()
    };
    check("a:2 b:2", &change, "a:2 b:3 moves 0 in 1.06s, 2 scans 0 reads 2 writes");
}

#[test]
fn no_change_costs_nothing() {
    check(
        "a:2 b:2",
        &Change::default(),
        "a:2 b:2 moves 0 in 0ns, 0 scans 0 reads 0 writes",
    );
}
