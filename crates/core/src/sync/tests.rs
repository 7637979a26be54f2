//! Facts about shard sync, and random streams with interrupted, late and simultaneous syncers.

use proptest::prelude::*;

use super::*;

/// `a[0-9] b[10-19]! c<b[10-14]`: b is closed, c came out of b; ranges in percent of the hash keys.
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

/// A stream that reshards, forgets and is listed late; a table; syncers that are cut short at any write.
#[derive(Default)]
struct Model {
    shards: Vec<Shard>,
    forgotten: BTreeSet<ShardId>,
    table: BTreeMap<ShardId, Lease>,
    syncers: Vec<Syncer>,
    began: BTreeMap<ShardId, Vec<Checkpoint>>,
    initial: InitialPosition,
    finished: BTreeSet<ShardId>,
}

#[derive(Default)]
struct Syncer {
    missing: BTreeSet<ShardId>,
    was_late: bool,
    todo: Vec<LeaseWrite>,
}

impl Model {
    fn new(shards: u128) -> Self {
        let range = |nth: u128| format!("s{nth}[{}-{}]", nth * 16, nth * 16 + 15);
        Self {
            shards: (0..shards).map(|nth| shard(&range(nth))).collect(),
            syncers: vec![Syncer::default(), Syncer::default()],
            ..Self::default()
        }
    }

    fn act(&mut self, (what, which, much): (u8, usize, usize)) {
        match what {
            0 => self.split(which),
            1 => self.merge(which),
            2 => self.finish(which),
            3 => self.forget(which),
            4..=6 => self.look(which % 2, if what == 6 { much } else { 0 }),
            _ => self.write(which % 2, much),
        }
    }

    fn open(&self, which: usize) -> Option<usize> {
        let open: Vec<usize> = (0..self.shards.len()).filter(|nth| self.shards[*nth].open).collect();
        open.get(which % open.len()).copied()
    }

    fn split(&mut self, which: usize) {
        let Some(parent) = self.open(which) else { return };
        let range = self.shards[parent].hash_range;
        if range.width() == 0 {
            return;
        }
        let middle = range.start + range.width() / 2;
        let halves = [(range.start, middle), (middle + 1, range.end)];
        self.replace(&[parent], &halves);
    }

    fn merge(&mut self, which: usize) {
        let Some(a) = self.open(which) else { return };
        let end = self.shards[a].hash_range.end;
        let next = |shard: &Shard| shard.open && shard.hash_range.start == end + 1;
        let Some(b) = self.shards.iter().position(next) else {
            return;
        };
        let whole = (self.shards[a].hash_range.start, self.shards[b].hash_range.end);
        self.replace(&[a, b], &[whole]);
    }

    fn replace(&mut self, parents: &[usize], ranges: &[(u128, u128)]) {
        let names: Vec<String> = parents.iter().map(|nth| self.shards[*nth].id.to_string()).collect();
        for parent in parents {
            self.shards[*parent].open = false;
        }
        for (start, end) in ranges {
            let nth = self.shards.len();
            self.shards
                .push(shard(&format!("s{nth}<{}[{start}-{end}]", names.join("+"))));
        }
    }

    /// A worker reads a closed shard that has a row to its end.
    fn finish(&mut self, which: usize) {
        let closed: Vec<&Shard> = self.shards.iter().filter(|shard| !shard.open).collect();
        let ready: Vec<&ShardId> = closed
            .iter()
            .map(|shard| &shard.id)
            .filter(|id| self.table.contains_key(*id))
            .collect();
        if let Some(id) = ready.get(which % ready.len().max(1)) {
            let id = (*id).clone();
            self.table.get_mut(&id).unwrap().checkpoint = Checkpoint::ShardEnd;
            self.finished.insert(id);
        }
    }

    /// Retention removes a closed shard whose records have all been read, parents before children.
    fn forget(&mut self, which: usize) {
        let old = |shard: &&Shard| {
            self.finished.contains(&shard.id) && shard.parents().all(|parent| self.forgotten.contains(parent))
        };
        let old: Vec<ShardId> = self.shards.iter().filter(old).map(|shard| shard.id.clone()).collect();
        if let Some(id) = old.get(which % old.len().max(1)) {
            self.forgotten.insert(id.clone());
        }
    }

    /// A syncer reads rows and shards; the listing may lack the newest shards, but not twice in a row: that is what
    /// the syncer relies on.
    fn look(&mut self, who: usize, lag: usize) {
        let lag = if self.syncers[who].was_late { 0 } else { lag };
        self.syncers[who].was_late = lag > 0;
        let seen = self.shards.len().saturating_sub(lag % 4).max(1);
        let listed = self.shards[..seen]
            .iter()
            .filter(|shard| !self.forgotten.contains(&shard.id));
        let listing: Vec<Shard> = listed.cloned().collect();
        let rows: Vec<Lease> = self.table.values().cloned().collect();
        let syncer = &mut self.syncers[who];
        let plan = sync(&rows, &listing, self.initial, &syncer.missing, Epoch(0));
        syncer.missing = plan.missing;
        syncer.todo = plan.creates.into_iter().chain(plan.deletes).rev().collect();
    }

    fn write(&mut self, who: usize, much: usize) {
        for _ in 0..=much % 4 {
            let Some(write) = self.syncers[who].todo.pop() else {
                return;
            };
            let key = write.key().clone();
            let is_new = matches!(write, LeaseWrite::Create(_));
            match write.apply(self.table.get(&key)) {
                Ok(Some(row)) => {
                    if is_new {
                        self.began.entry(key.clone()).or_default().push(row.checkpoint.clone());
                    }
                    self.table.insert(key, row);
                }
                Ok(None) => drop(self.table.remove(&key)),
                Err(_) => {}
            }
        }
    }

    /// No more trouble: a few complete rounds, everything closed read to its end.
    fn come_to_rest(&mut self) {
        for _ in 0..8 {
            self.look(0, 0);
            while !self.syncers[0].todo.is_empty() {
                self.write(0, 0);
            }
            for shard in self.shards.iter().filter(|shard| !shard.open) {
                if let Some(row) = self.table.get_mut(&shard.id) {
                    row.checkpoint = Checkpoint::ShardEnd;
                    self.finished.insert(shard.id.clone());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_shard_is_passed_over_and_only_the_open_ones_keep_rows(
        shards in 1_u128..5,
        acts in prop::collection::vec((0_u8..10, 0_usize..16, 0_usize..16), 0..120),
    ) {
        let mut model = Model::new(shards);
        for act in acts {
            model.act(act);
        }
        model.come_to_rest();
        let never: Vec<_> = model.shards.iter().filter(|shard| !model.began.contains_key(&shard.id)).collect();
        prop_assert!(never.is_empty(), "never read: {never:?}");
        let open: BTreeSet<_> = model.shards.iter().filter(|shard| shard.open).map(|shard| shard.id.clone()).collect();
        prop_assert_eq!(model.table.keys().cloned().collect::<BTreeSet<_>>(), open);
    }

    #[test]
    fn one_syncer_at_a_time_never_reads_a_shard_again(
        shards in 1_u128..5,
        acts in prop::collection::vec((0_u8..10, 0_usize..16, 0_usize..16), 0..120),
    ) {
        let mut model = Model::new(shards);
        for (what, which, much) in acts {
            model.act((what, if what >= 4 { which & !1 } else { which }, much));
        }
        model.come_to_rest();
        let again: Vec<_> = model.began.iter().filter(|(_, times)| times.len() > 1).collect();
        prop_assert!(again.is_empty(), "read again: {again:?}");
    }

    #[test]
    fn what_appears_after_the_first_look_is_read_from_its_start(
        shards in 1_u128..5,
        latest in any::<bool>(),
        early in prop::collection::vec((0_u8..2, 0_usize..16, 0_usize..16), 0..6),
        acts in prop::collection::vec((0_u8..10, 0_usize..16, 0_usize..16), 0..80),
    ) {
        let mut model = Model::new(shards);
        model.initial = if latest { InitialPosition::Latest } else { InitialPosition::AtTimestamp };
        for act in early {
            model.act(act);
        }
        model.look(0, 0);
        while !model.syncers[0].todo.is_empty() {
            model.write(0, 0);
        }
        let before = model.shards.len();
        let first: BTreeSet<_> = model.began.keys().cloned().collect();
        for act in acts {
            model.act(act);
        }
        model.come_to_rest();
        for checkpoint in first.iter().map(|id| &model.began[id][0]) {
            prop_assert_eq!(checkpoint, &model.initial.checkpoint());
        }
        for shard in &model.shards[before..] {
            prop_assert_eq!(model.began.get(&shard.id).map(|times| &times[0]), Some(&Checkpoint::TrimHorizon), "{}", shard.id);
        }
        let late: Vec<_> = model.shards[..before].iter().filter(|shard| !first.contains(&shard.id)).collect();
        prop_assert!(late.iter().all(|shard| latest && !model.began.contains_key(&shard.id)), "{late:?}");
    }
}
