//! A stream that was split, split again and merged, with its oldest shards trimmed.

use super::*;

/// `id<parent+parent start-end`, `!` behind it: closed.
fn listing() -> Vec<Shard> {
    let shard = |(id, parents, start, end, open): (&str, &str, u128, u128, bool)| {
        let mut parents = parents
            .split('+')
            .filter(|parent| !parent.is_empty())
            .map(ShardId::from);
        Shard {
            id: id.into(),
            parent: parents.next(),
            adjacent_parent: parents.next(),
            hash_range: HashRange { start, end },
            starts_at: 0.into(),
            open,
        }
    };
    let half = 1_u128 << 127;
    let quarter = 1_u128 << 126;
    let shards = [
        ("b", "", half, u128::MAX, false),
        ("c", "a", 0, quarter - 1, true),
        ("d", "a", quarter, half - 1, false),
        ("e", "d+b", quarter, u128::MAX, false),
        ("f", "e", quarter, half - 1, true),
        ("g", "e", half, u128::MAX, true),
    ];
    shards.into_iter().map(shard).collect()
}

fn names<'a>(shards: impl IntoIterator<Item = &'a ShardId>) -> String {
    shards.into_iter().map(ShardId::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn who_came_from_whom() {
    let listing = listing();
    let lineage = Lineage::of(&listing);
    assert_eq!(names(lineage.parents(&"e".into()).iter().map(|shard| &shard.id)), "d b");
    assert_eq!(names(lineage.children(&"e".into()).map(|shard| &shard.id)), "f g");
    assert_eq!(names(lineage.ancestors(&"g".into())), "b d e");
    assert_eq!(names(lineage.descendants(&"d".into())), "e f g");
    assert_eq!(names(lineage.open().map(|shard| &shard.id)), "c f g");
}

#[test]
fn a_trimmed_parent_is_named_and_still_has_children() {
    let listing = listing();
    let lineage = Lineage::of(&listing);
    assert_eq!(names(lineage.trimmed_parents(&"c".into())), "a");
    assert_eq!(names(lineage.trimmed_parents(&"e".into())), "");
    assert_eq!(names(lineage.children(&"a".into()).map(|shard| &shard.id)), "c d");
}

#[test]
fn a_generation_is_one_more_than_the_latest_parents() {
    let listing = listing();
    let generations = Lineage::of(&listing).generations();
    let text: Vec<String> = generations
        .iter()
        .map(|(id, generation)| format!("{id}{generation}"))
        .collect();
    assert_eq!(text.join(" "), "b0 c0 d0 e1 f2 g2");
}

#[test]
fn children_are_due_when_every_listed_parent_is_done() {
    let listing = listing();
    let lineage = Lineage::of(&listing);
    let due = |done: &str| {
        let done: BTreeSet<ShardId> = done.split_whitespace().map(ShardId::from).collect();
        names(lineage.due(&done).iter().map(|shard| &shard.id))
    };
    assert_eq!(due(""), "b c d");
    assert_eq!(due("d"), "b c");
    assert_eq!(due("b c d"), "e");
    assert_eq!(due("b c d e"), "f g");
}

#[test]
fn a_circle_of_parents_ends() {
    let mut listing = listing();
    listing[0].parent = Some("g".into());
    let lineage = Lineage::of(&listing);
    assert_eq!(lineage.descendants(&"b".into()).len(), 4);
    assert!(!lineage.generations().contains_key(&ShardId::from("e")));
}

fn check_audit(change: impl FnOnce(&mut Vec<Shard>), expected: &[Flaw]) {
    let mut listing = listing();
    change(&mut listing);
    assert_eq!(Lineage::of(&listing).audit(), expected);
}

#[test]
fn the_open_shards_take_every_hash_key_once() {
    let half = 1_u128 << 127;
    let quarter = 1_u128 << 126;
    check_audit(|_| {}, &[]);
    check_audit(|listing| listing[4].open = false, &[hole(quarter, half - 1)]);
    check_audit(|listing| listing[1].open = false, &[hole(0, quarter - 1)]);
    check_audit(|listing| listing[5].open = false, &[hole(half, u128::MAX)]);
    check_audit(|listing| listing.clear(), &[Flaw::Hole(HashRange::FULL)]);
    let both = Flaw::Overlap {
        a: "f".into(),
        b: "d".into(),
    };
    check_audit(
        |listing| listing[2].open = true,
        &[Flaw::Overlap {
            a: "d".into(),
            b: "f".into(),
        }],
    );
    check_audit(
        |listing| (listing[2].open, listing[2].hash_range.start) = (true, quarter + 1),
        &[both],
    );
}
