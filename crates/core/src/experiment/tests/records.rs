//! What is asserted of records, and what the last audit says of it.

use super::*;
use crate::experiment::{Assertion, Phase, RecordFacts, Verdict, World, overrule};

fn asserting(expr: &str) -> Spec {
    let all = vec![Assertion {
        name: "loss".to_owned(),
        expr: expr.to_owned(),
    }];
    spec(4, 2, vec![step("w", wait()), step("a", Action::Assert { all })])
}

#[test]
fn assertion_about_records_waits_until_they_are_due() {
    let (mut spec, mut model) = (asserting("records.missing == 0"), Model::new());
    model.audits = false;
    let mut waited = 0;
    let status = drive(&mut spec, &mut model, Status::default(), |_, model, status| {
        if status.steps.len() == 2 && waited < 40 {
            let message = status.steps[1].message.as_deref().unwrap_or_default();
            assert!(
                message.contains("delivered or overdue") || message.is_empty(),
                "{message}"
            );
            waited += 1;
        } else if waited == 40 {
            model.audits = true;
            model.world.records.missing = 3;
        }
    });
    assert_eq!(status.verdict, Verdict::Fail, "{:?}", status.message);
    assert!(status.message.unwrap().contains("records.missing = 3"));
    assert_eq!(status.steps[1].missing, Some(3));
}

#[test]
fn assertion_that_can_never_be_judged_is_inconclusive() {
    let (mut spec, mut model) = (asserting("records.missing == 0"), Model::new());
    model.audits = false;
    let status = drive(&mut spec, &mut model, Status::default(), |_, _, _| {});
    assert_eq!(status.verdict, Verdict::Inconclusive, "{:?}", status.message);
}

#[test]
fn producer_begins_when_every_shard_has_a_reader() {
    let (mut spec, mut model) = (asserting("records.missing == 0"), Model::new());
    let mut seen = false;
    drive(&mut spec, &mut model, Status::default(), |_, model, status| {
        if status.producer_rate.is_some() && !seen {
            seen = true;
            let leases = &model.world.leases;
            assert!(!leases.is_empty() && leases.iter().all(|lease| lease.present_owner().is_some()));
        }
    });
    assert!(seen);
}

#[test]
fn leases_above_strict_caps_hold_up_nobody() {
    let mut spec = asserting("records.missing == 0");
    spec.consumers.cap_policy = CapPolicy::Strict;
    spec.consumers.max_leases_per_worker = 1;
    let mut model = Model::new();
    let mut begun = None;
    drive(&mut spec, &mut model, Status::default(), |_, model, status| {
        if status.producer_rate.is_some() {
            begun.get_or_insert(model.now.since(status.started_at.unwrap()));
        }
    });
    assert!(begun.unwrap() < Duration::from_secs(30), "{begun:?}");
}

fn found(missing: u64, model: &Model) -> World {
    World {
        records: RecordFacts {
            produced: 4_000,
            delivered: 4_000 - missing,
            missing,
            ..RecordFacts::default()
        },
        ..model.observe()
    }
}

#[test]
fn last_audit_with_missing_records_overrules_an_assertion_of_none() {
    let spec = asserting("records.missing == 0");
    let (status, model) = run(spec.clone());
    assert_eq!(status.verdict, Verdict::Pass);
    assert_eq!(overrule(&spec, &status, &found(0, &model), model.now), None);
    let world = found(319, &model);
    let status = overrule(&spec, &status, &world, model.now).unwrap();
    assert_eq!((status.verdict, status.phase), (Verdict::Fail, Phase::Failed));
    assert_eq!(
        status.message.as_deref(),
        Some(
            "step a: loss: `records.missing == 0` was judged with 0 records missing, and the last audit found 319 of \
             4000 missing"
        )
    );
    assert_eq!(status.history.last().unwrap().verdict, Verdict::Fail);
    assert_eq!(overrule(&spec, &status, &world, model.now), None, "once is enough");
}

#[test]
fn last_audit_within_what_was_allowed_lets_the_verdict_stand() {
    let spec = asserting("records.missing <= 400 && leases.max == 2");
    let (status, model) = run(spec.clone());
    assert_eq!(overrule(&spec, &status, &found(319, &model), model.now), None);
    let status = overrule(&spec, &status, &found(401, &model), model.now).unwrap();
    assert_eq!(status.verdict, Verdict::Fail);
}

#[test]
fn last_audit_beside_what_is_so_no_more_is_never_a_pass() {
    let spec = asserting("records.missing == 0 && leases.max == 2");
    let (status, model) = run(spec.clone());
    let mut world = found(319, &model);
    // The workers have left since.
    world.workers.clear();
    let status = overrule(&spec, &status, &world, model.now).unwrap();
    assert_eq!(status.verdict, Verdict::Inconclusive);
}
