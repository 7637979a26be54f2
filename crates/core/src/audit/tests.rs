//! The judgement against a model that keeps every single record, and the rows as JSON.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SOURCE: &str = "run/a";

fn term(shard: &str, epoch: u64, started_ms: u64) -> Term {
    Term::starting(
        shard.into(),
        Epoch(epoch),
        "w".into(),
        format!("inc-{epoch}").into(),
        started_ms,
    )
}

fn delivering(mut term: Term, lane: Lane, numbers: &[u64]) -> Term {
    for n in numbers {
        let header = Header {
            source: SOURCE.to_owned(),
            lane,
            n: *n,
        };
        term.deliver(Some(&header), term.started_ms + 10);
    }
    term
}

fn producer(lanes: &[(Lane, Vec<(u64, u64)>)]) -> ProducerRow {
    let mut row = ProducerRow::starting(SOURCE.to_owned(), 0);
    for (lane, ranges) in lanes {
        row.lanes.entry(*lane).or_default().acknowledged = Ranges::from(ranges.clone());
    }
    row
}

fn check(producers: &[ProducerRow], terms: &[Term], expected: [u64; 5]) {
    let records = judge(producers, terms);
    let got = [
        records.produced,
        records.delivered,
        records.missing,
        records.duplicates,
        records.reordered,
    ];
    assert_eq!(got, expected, "produced, delivered, missing, duplicates, reordered");
}

#[test]
fn what_was_sent_and_never_delivered_is_missing() {
    let sent = [producer(&[(0, vec![(0, 9)])])];
    check(&sent, &[], [10, 0, 10, 0, 0]);
    check(
        &sent,
        &[delivering(term("s", 1, 0), 0, &[0, 1, 2, 4])],
        [10, 4, 6, 0, 0],
    );
}

#[test]
fn terms_that_overlap_make_duplicates() {
    let sent = [producer(&[(0, vec![(0, 4)])])];
    let first = delivering(term("s", 1, 0), 0, &[0, 1, 2]);
    let second = delivering(term("s", 2, 0), 0, &[2, 3, 4]);
    check(&sent, &[first, second], [5, 5, 0, 1, 0]);
}

#[test]
fn a_smaller_number_behind_a_greater_one_is_reordered_once() {
    let sent = [producer(&[(0, vec![(0, 3)])])];
    check(
        &sent,
        &[delivering(term("s", 1, 0), 0, &[0, 2, 1, 1, 3])],
        [4, 4, 0, 1, 1],
    );
}

#[test]
fn an_uncertain_number_counts_only_when_it_was_seen() {
    let mut row = producer(&[(0, vec![(0, 1)])]);
    row.lanes.entry(0).or_default().uncertain.add(2, 3);
    check(
        &[row.clone()],
        &[delivering(term("s", 1, 0), 0, &[0, 1])],
        [2, 2, 0, 0, 0],
    );
    check(&[row], &[delivering(term("s", 1, 0), 0, &[0, 1, 3])], [3, 3, 0, 0, 0]);
}

#[test]
fn records_of_other_runs_and_of_nobody_are_outside_the_audit() {
    let sent = [producer(&[(0, vec![(0, 0)])])];
    let mut seen = delivering(term("s", 1, 0), 0, &[0]);
    let other = Header {
        source: "other/b".to_owned(),
        lane: 0,
        n: 0,
    };
    seen.deliver(Some(&other), 1);
    assert_eq!(seen.deliver(None, 1), Delivery::Foreign);
    assert_eq!((seen.delivered(), seen.foreign), (3, 1));
    check(&sent, &[seen], [1, 1, 0, 0, 0]);
}

#[test]
fn rows_come_back_from_json_as_they_were() {
    let mut row = delivering(term("shardId-000000000001", 7, 1_000), 3, &[5, 6, 8, 8]);
    row.end = Some((1_100, TermEnd::Handed));
    let text = serde_json::to_string(&row).unwrap();
    insta::assert_snapshot!(text, @r#"{"shard":"shardId-000000000001","epoch":7,"worker":"w","incarnation":"inc-7","startedMs":1000,"firstMs":1010,"lastMs":1010,"seenMs":1000,"end":[1100,"handed"],"lanes":{"run/a":{"3":{"d":4,"r":[[5,6],[8,8]]}}}}"#);
    assert_eq!(serde_json::from_str::<Term>(&text).unwrap(), row);
    assert_eq!(row.repeats(), 1);

    let mut row = producer(&[(0, vec![(0, 41), (43, 60)])]);
    row.lanes.entry(0).or_default().uncertain.add(42, 42);
    let text = serde_json::to_string(&row).unwrap();
    insta::assert_snapshot!(text, @r#"{"source":"run/a","seenMs":0,"ended":false,"lanes":{"0":{"a":[[0,41],[43,60]],"u":[[42,42]]}}}"#);
    assert_eq!(serde_json::from_str::<ProducerRow>(&text).unwrap(), row);
}

#[test]
fn children_start_before_or_after_their_parents_end() {
    let lineage = [("c1", "p"), ("c2", "p"), ("root", "")]
        .map(|(child, parent)| {
            (
                child.into(),
                BTreeSet::from([parent].map(Into::into))
                    .into_iter()
                    .filter(|p: &ShardId| !p.as_str().is_empty())
                    .collect(),
            )
        })
        .into();
    let mut parent = term("p", 1, 0);
    parent.end = Some((500, TermEnd::ShardEnd));
    let starts = child_starts(&lineage, &[parent.clone(), term("c1", 4, 300), term("c1", 3, 700)]);
    assert_eq!(starts.len(), 2, "a shard without parents is no child");
    assert!(starts[&"c1".into()].before_parent_end(), "{starts:?}");
    assert_eq!(starts[&"c1".into()].delay_ms(200), Some(100));
    assert!(!starts[&"c2".into()].before_parent_end(), "not read yet");
    let late = child_starts(&lineage, &[parent, term("c2", 1, 500)]);
    assert!(!late[&"c2".into()].before_parent_end());
    let running = child_starts(&lineage, &[term("p", 1, 0), term("c2", 1, 500)]);
    assert!(
        running[&"c2".into()].before_parent_end(),
        "the parent has not ended at all"
    );
}

#[test]
fn a_gap_runs_from_the_end_of_a_term_to_the_start_of_the_next() {
    let mut handed = term("s", 1, 0);
    handed.end = Some((1_000, TermEnd::Handed));
    let mut killed = term("s", 2, 1_040);
    killed.seen_ms = 2_000;
    let after = term("s", 4, 3_500);
    let terms = [after, handed, killed, term("alone", 1, 0)];
    let gaps = |deaths: &[(&str, u64)]| {
        let deaths = deaths.iter().map(|(inc, at)| ((*inc).into(), *at)).collect();
        let gaps = unread_gaps(&terms, &deaths);
        gaps.into_values()
            .flatten()
            .map(|gap| (gap.epoch.0, gap.millis()))
            .collect::<Vec<_>>()
    };
    assert_eq!(gaps(&[]), [(2, 40), (4, 1_500)]);
    assert_eq!(
        gaps(&[("inc-2", 3_000)]),
        [(2, 40), (4, 500)],
        "a witness saw the process end"
    );
    assert_eq!(
        unread_seconds(&terms, &BTreeMap::new()),
        BTreeMap::from([("s".into(), 1.54)])
    );
}

/// Deliveries as (epoch, lane, number), in the order in which they happened.
fn some_deliveries() -> impl Strategy<Value = Vec<(u64, Lane, u64)>> {
    prop::collection::vec((0..4_u64, 0..3_u32, 0..20_u64), 0..80)
}

fn terms_of(deliveries: &[(u64, Lane, u64)]) -> Vec<Term> {
    let mut terms: BTreeMap<u64, Term> = BTreeMap::new();
    for (epoch, lane, n) in deliveries {
        let shard = format!("shard-{}", epoch % 2);
        let row = terms.remove(epoch).unwrap_or_else(|| term(&shard, *epoch, 0));
        terms.insert(*epoch, delivering(row, *lane, &[*n]));
    }
    terms.into_values().collect()
}

fn model(acknowledged: &[(Lane, u64)], deliveries: &[(u64, Lane, u64)]) -> Records {
    let sent: BTreeSet<(Lane, u64)> = acknowledged.iter().copied().collect();
    let seen: BTreeSet<(Lane, u64)> = deliveries.iter().map(|(_, lane, n)| (*lane, *n)).collect();
    let reordered = deliveries.iter().enumerate().filter(|(at, (epoch, lane, n))| {
        let mut before = deliveries[..*at]
            .iter()
            .filter(|(e, l, _)| (e, l) == (epoch, lane))
            .map(|(_, _, n)| n);
        before.clone().any(|other| other > n) && before.all(|other| other != n)
    });
    Records {
        produced: sent.union(&seen).count() as u64,
        delivered: seen.len() as u64,
        missing: sent.difference(&seen).count() as u64,
        duplicates: (deliveries.len() - seen.len()) as u64,
        reordered: reordered.count() as u64,
        dropped: Dropped::new(),
    }
}

#[test]
fn dropped_records_count_by_reason_unless_the_term_read_for_another_run() {
    let sent = [producer(&[(0, vec![(0, 9)])])];
    let mut mine = delivering(term("s", 1, 0), 0, &[0, 1]);
    mine.drop_records("out-of-range", 5);
    let older = mine.clone();
    mine.drop_records("out-of-range", 2);
    mine.drop_records("poison", 1);
    mine.seen_ms += 1;
    let mut nothing_delivered = term("t", 1, 0);
    nothing_delivered.drop_records("poison", 3);
    let mut of_another_run = term("u", 1, 0);
    let header = Header {
        source: "earlier/b".to_owned(),
        lane: 0,
        n: 0,
    };
    of_another_run.deliver(Some(&header), 1);
    of_another_run.drop_records("poison", 100);
    let records = judge(&sent, &[mine, older, nothing_delivered, of_another_run]);
    let expected = [("out-of-range".to_owned(), 7), ("poison".to_owned(), 4)];
    assert_eq!(records.dropped, Dropped::from(expected));
    assert_eq!(records.missing, 8);
}

proptest! {
    #[test]
    fn the_judgement_is_that_of_a_model_that_keeps_every_record(
        acknowledged in prop::collection::vec((0..3_u32, 0..20_u64), 0..40),
        deliveries in some_deliveries(),
    ) {
        let mut row = ProducerRow::starting(SOURCE.to_owned(), 0);
        for (lane, n) in &acknowledged {
            row.lanes.entry(*lane).or_default().acknowledged.insert(*n);
        }
        let terms = terms_of(&deliveries);
        let expected = model(&acknowledged, &deliveries);
        prop_assert_eq!(judge(std::slice::from_ref(&row), &terms), expected.clone());

        // Neither the order of the rows, nor rows given twice or in an older state change it.
        let mut shuffled: Vec<Term> = terms.iter().rev().cloned().collect();
        shuffled.extend(terms_of(&deliveries[..deliveries.len() / 2]));
        shuffled.extend(terms);
        prop_assert_eq!(judge(&[row.clone(), row], &shuffled), expected);
    }
}
