//! Facts about shard sync.

mod random;

use super::*;

/// `a[0-9] b[10-19]! c<b[10-14]`: b is closed, c came out of b; the numbers are hash keys.
fn listing(text: &str) -> Vec<Shard> {
    text.split_whitespace().map(shard).collect()
}

fn shard(text: &str) -> Shard {
    let (name, rest) = text.split_once('[').unwrap();
    let (range, closed) = rest.split_once(']').unwrap();
    let (id, parents) = name.split_once('<').unwrap_or((name, ""));
    let mut parents = parents
        .split('+')
        .filter(|parent| !parent.is_empty())
        .map(ShardId::from);
    let (start, end) = range.split_once('-').unwrap();
    Shard {
        id: id.into(),
        parent: parents.next(),
        adjacent_parent: parents.next(),
        hash_range: HashRange {
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
        },
        starts_at: 0.into(),
        open: closed.is_empty(),
    }
}

/// Rows as the listing has them; `*` behind a row: finished.
fn rows(text: &str) -> Vec<Lease> {
    let row = |text: &str| {
        let shard = shard(text.trim_end_matches('*'));
        let checkpoint = if text.ends_with('*') {
            Checkpoint::ShardEnd
        } else {
            Checkpoint::TrimHorizon
        };
        let LeaseWrite::Create(lease) = create(&shard, checkpoint, Epoch(1)) else {
            unreachable!()
        };
        *lease
    };
    text.split_whitespace().map(row).collect()
}

fn shown(plan: &SyncPlan) -> String {
    let mut words = Vec::new();
    for write in plan.creates.iter().chain(&plan.deletes) {
        words.push(match write {
            LeaseWrite::Create(lease) => format!("+{}:{:?}", lease.key, lease.checkpoint),
            other => format!("-{}", other.key()),
        });
    }
    words.extend(plan.waiting.iter().map(|id| format!("?{id}")));
    words.extend(plan.trimmed.iter().map(|id| format!("!{id}")));
    words.join(" ")
}

struct Case {
    rows: &'static str,
    listing: &'static str,
    initial: InitialPosition,
    missing_before: &'static str,
}

const CASE: Case = Case {
    rows: "",
    listing: "",
    initial: InitialPosition::TrimHorizon,
    missing_before: "",
};

fn check(case: &Case, expected: &str) {
    let missing_before = case.missing_before.split_whitespace().map(ShardId::from).collect();
    let plan = sync(
        &rows(case.rows),
        &listing(case.listing),
        case.initial,
        &missing_before,
        Epoch(7),
    );
    assert_eq!(shown(&plan), expected);
}

#[test]
fn the_first_look_begins_at_the_initial_position() {
    let case = Case {
        listing: "a[0-49] b[50-99]",
        ..CASE
    };
    check(&case, "+a:TrimHorizon +b:TrimHorizon");
    check(
        &Case {
            initial: InitialPosition::Latest,
            ..case
        },
        "+a:Latest +b:Latest",
    );
}

#[test]
fn latest_leaves_closed_shards_out_and_the_others_read_parents_first() {
    let case = Case {
        listing: "c<p[0-49] d<p[50-99] p[0-99]!",
        ..CASE
    };
    check(
        &Case {
            initial: InitialPosition::Latest,
            ..case
        },
        "+c:Latest +d:Latest",
    );
    check(
        &Case {
            initial: InitialPosition::TrimHorizon,
            ..case
        },
        "+p:TrimHorizon +c:TrimHorizon +d:TrimHorizon",
    );
    check(
        &Case {
            initial: InitialPosition::AtTimestamp,
            ..case
        },
        "+p:AtTimestamp +c:AtTimestamp +d:AtTimestamp",
    );
}

#[test]
fn children_are_read_from_their_start_whatever_the_initial_position_is() {
    for initial in [
        InitialPosition::Latest,
        InitialPosition::AtTimestamp,
        InitialPosition::TrimHorizon,
    ] {
        let case = Case {
            rows: "p[0-99]",
            listing: "p[0-99]! c<p[0-49] d<p[50-99]",
            initial,
            ..CASE
        };
        check(&case, "+c:TrimHorizon +d:TrimHorizon");
    }
}

#[test]
fn all_generations_of_a_split_of_a_split_appear() {
    let case = Case {
        rows: "p[0-99]",
        listing: "d<c[0-24] e<c[25-49] q<p[50-99] c<p[0-49]! p[0-99]!",
        ..CASE
    };
    check(&case, "+c:TrimHorizon +q:TrimHorizon +d:TrimHorizon +e:TrimHorizon");
}

#[test]
fn a_first_look_that_was_cut_short_goes_on_where_it_stopped() {
    let case = Case {
        rows: "a[0-49]",
        listing: "a[0-49] b[50-99]",
        initial: InitialPosition::Latest,
        ..CASE
    };
    check(&case, "+b:Latest");
}

#[test]
fn a_shard_whose_parents_in_between_are_trimmed_is_read_from_its_start() {
    let case = Case {
        rows: "p[0-99]",
        listing: "e<c[0-99]",
        initial: InitialPosition::Latest,
        ..CASE
    };
    check(&case, "?e");
    check(
        &Case {
            missing_before: "c p",
            ..case
        },
        "+e:TrimHorizon !p",
    );
}

#[test]
fn a_finished_parent_goes_when_all_children_have_rows() {
    let listing = "p[0-99]! c<p[0-49] d<p[50-99]";
    check(
        &Case {
            rows: "p[0-99]* c<p[0-49]",
            listing,
            ..CASE
        },
        "+d:TrimHorizon",
    );
    check(
        &Case {
            rows: "p[0-99]* c<p[0-49] d<p[50-99]",
            listing,
            ..CASE
        },
        "-p",
    );
    check(
        &Case {
            rows: "p[0-99] c<p[0-49] d<p[50-99]",
            listing,
            ..CASE
        },
        "",
    );
    check(
        &Case {
            rows: "c<p[0-49] d<p[50-99]",
            listing,
            ..CASE
        },
        "",
    );
}

#[test]
fn a_finished_parent_stays_while_the_listing_does_not_show_every_child() {
    check(
        &Case {
            rows: "p[0-99]* c<p[0-49]",
            listing: "p[0-99]! c<p[0-49]",
            ..CASE
        },
        "",
    );
    check(
        &Case {
            rows: "p[0-99]*",
            listing: "p[0-99]!",
            ..CASE
        },
        "",
    );
}

#[test]
fn both_parents_of_a_merge_go_when_the_child_has_a_row() {
    let listing = "a[0-49]! b[50-99]! m<a+b[0-99]";
    check(
        &Case {
            rows: "a[0-49]* b[50-99] m<a+b[0-99]",
            listing,
            ..CASE
        },
        "-a",
    );
    check(
        &Case {
            rows: "a[0-49]* b[50-99]* m<a+b[0-99]",
            listing,
            ..CASE
        },
        "-a -b",
    );
}

#[test]
fn one_listing_is_no_proof() {
    let case = Case {
        rows: "a[0-49] b[50-99]",
        listing: "a[0-49]",
        ..CASE
    };
    check(&case, "");
    check(
        &Case {
            missing_before: "b",
            ..case
        },
        "!b",
    );
    check(
        &Case {
            listing: "",
            missing_before: "a b",
            ..case
        },
        "",
    );
    check(
        &Case {
            listing: "c<x[0-99]",
            rows: "",
            ..CASE
        },
        "?c",
    );
    check(
        &Case {
            listing: "c<x[0-99]",
            rows: "",
            missing_before: "x",
            ..CASE
        },
        "+c:TrimHorizon",
    );
}

#[test]
fn a_listing_that_is_older_than_the_rows_makes_nothing() {
    let case = Case {
        rows: "m<c+d[0-99]",
        listing: "p[0-99]!",
        ..CASE
    };
    check(&case, "?p");
    let case = Case {
        rows: "p[0-99]* d<c[0-49] e<c[50-99]",
        listing: "p[0-99]! c<p[0-99]!",
        ..CASE
    };
    check(&case, "");
}

#[test]
fn two_thousand_shards_that_were_all_split_are_looked_at_quickly() {
    let width = u128::MAX / 2_000;
    let range = |nth: u128| HashRange {
        start: nth * width,
        end: if nth == 1_999 { u128::MAX } else { (nth + 1) * width - 1 },
    };
    let shard = |id: String, parent: Option<String>, hash_range, open| Shard {
        id: id.into(),
        parent: parent.map(ShardId::from),
        adjacent_parent: None,
        hash_range,
        starts_at: 0.into(),
        open,
    };
    let mut listing = Vec::new();
    let mut rows = Vec::new();
    for nth in 0..2_000 {
        let HashRange { start, end } = range(nth);
        let middle = start + width / 2;
        let parent = shard(format!("p{nth}"), None, range(nth), false);
        rows.push(Lease {
            hash_range: Some(parent.hash_range),
            ..Lease::unowned(parent.id.clone(), Checkpoint::ShardEnd, Epoch(0))
        });
        listing.push(parent);
        for (side, start, end) in [("a", start, middle), ("b", middle + 1, end)] {
            let range = HashRange { start, end };
            listing.push(shard(format!("{side}{nth}"), Some(format!("p{nth}")), range, true));
        }
    }
    let plan = sync(&rows, &listing, InitialPosition::Latest, &BTreeSet::new(), Epoch(0));
    assert_eq!((plan.creates.len(), plan.deletes.len()), (4_000, 0));
    rows.extend(plan.creates.into_iter().map(|write| match write {
        LeaseWrite::Create(row) => *row,
        other => panic!("{other:?}"),
    }));
    let plan = sync(&rows, &listing, InitialPosition::Latest, &BTreeSet::new(), Epoch(0));
    assert_eq!((plan.creates.len(), plan.deletes.len()), (0, 2_000));
}

#[test]
fn a_child_waits_for_both_parents_but_not_for_one_without_a_row() {
    let blocked = |text: &str| {
        let rows = rows(text);
        let names = |order| {
            runnable(&rows, order)
                .iter()
                .map(ShardId::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        (names(ChildOrder::AfterParents), names(ChildOrder::Immediate))
    };
    assert_eq!(blocked("a[0-49] b[50-99]* m<a+b[0-99]"), ("a".into(), "a m".into()));
    assert_eq!(blocked("a[0-49]* b[50-99]* m<a+b[0-99]"), ("m".into(), "m".into()));
    assert_eq!(blocked("b[50-99]* m<a+b[0-99]"), ("m".into(), "m".into()));
}
