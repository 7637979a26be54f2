//! Facts about splits and merges.

use super::*;

/// `b:10` is an open shard b of ten hash keys behind the one before it, `b:10!` a closed one beside it.
fn stream(text: &str) -> Vec<Shard> {
    let mut next = 0;
    let mut shards = Vec::new();
    for (nth, part) in text.split_whitespace().enumerate() {
        let (id, keys) = part.split_once(':').unwrap();
        let open = !keys.ends_with('!');
        let keys: u128 = keys.trim_end_matches('!').parse().unwrap();
        shards.push(Shard {
            id: id.into(),
            parent: None,
            adjacent_parent: None,
            hash_range: HashRange {
                start: next,
                end: next + keys - 1,
            },
            starts_at: (1_000 - nth as u128).into(),
            open,
        });
        if open {
            next += keys;
        }
    }
    shards
}

fn check_split(text: &str, count: usize, select: Select, named: &str, expected: &str) {
    let rates = BTreeMap::from([("b".into(), 5.0), ("c".into(), 7.5)]);
    let named: Vec<ShardId> = named.split_whitespace().map(ShardId::from).collect();
    let shown = match splits(&stream(text), count, select, &rates, &named) {
        Ok(splits) => splits
            .iter()
            .map(|split| format!("{}@{}", split.shard, split.at))
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => error.to_string(),
    };
    assert_eq!(shown, expected);
}

#[test]
fn the_widest_hottest_oldest_or_named_shards_are_split_in_their_middle() {
    check_split("a:4 b:10 c:10 d:2", 3, Select::Widest, "", "b@9 c@19 a@2");
    check_split("a:4 b:10 c:10 d:2", 3, Select::Hottest, "", "c@19 b@9 a@2");
    check_split("a:4 b:10 c:10 d:2", 2, Select::Oldest, "", "d@25 c@19");
    check_split("a:4 b:10 c:10 d:2", 2, Select::ShardIds, "d a", "d@25 a@2");
}

#[test]
fn what_cannot_be_split_is_refused_with_the_number_there_is() {
    check_split(
        "a:4 b:4 c:4!",
        3,
        Select::Widest,
        "",
        "a split of 3 shards was asked for but only 2 are open: lower the count, or split twice",
    );
    check_split(
        "a:4 b:1",
        2,
        Select::Widest,
        "",
        "a split of 2 shards was asked for but only 2 are open, and 1 of them have a single hash key: lower the count, or \
         split twice",
    );
    check_split(
        "a:4 c:4!",
        1,
        Select::ShardIds,
        "c",
        "shard c is closed, it was split or merged before: name one of the 1 open shards",
    );
    check_split(
        "a:4",
        1,
        Select::ShardIds,
        "x",
        "shard x is not in the stream: name one of its 1 open shards",
    );
    check_split(
        "a:1",
        1,
        Select::ShardIds,
        "a",
        "shard a has a single hash key and cannot be split: leave it out",
    );
    check_split(
        "a:4",
        2,
        Select::ShardIds,
        "a a",
        "shard a is named twice: name it once",
    );
    check_split(
        "a:4",
        2,
        Select::ShardIds,
        "a",
        "2 shards are to be split and 1 are named: make both the same",
    );
}

#[test]
fn the_middle_lies_strictly_inside_the_range() {
    assert_eq!(midpoint(HashRange { start: 7, end: 7 }), None);
    assert_eq!(midpoint(HashRange { start: 7, end: 8 }), Some(8));
    assert_eq!(midpoint(HashRange::FULL), Some(1 << 127));
    let top = HashRange {
        start: u128::MAX - 1,
        end: u128::MAX,
    };
    assert_eq!(midpoint(top), Some(u128::MAX));
}

fn check_merge(text: &str, count: usize, expected: &str) {
    let shown = match merges(&stream(text), count) {
        Ok(merges) => merges
            .iter()
            .map(|merge| format!("{}+{}", merge.shard, merge.adjacent))
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => error.to_string(),
    };
    assert_eq!(shown, expected);
}

#[test]
fn the_narrowest_separate_neighbors_are_merged() {
    check_merge("a:8 b:4 c:4 d:2 e:2 f:8", 2, "d+e b+c");
    check_merge("a:8 b:1 c:1 d:8", 1, "b+c");
}

#[test]
fn every_possible_number_of_merges_is_found() {
    check_merge("a:8 b:1 c:1 d:8", 2, "a+b c+d");
    check_merge(
        "a:8 b:1 c:1 d:8",
        3,
        "3 merges were asked for but the 4 open shards have only 2 separate pairs of neighbors: lower the count, or merge \
         twice",
    );
    check_merge(
        "a:8",
        1,
        "1 merge was asked for but the one open shard has no neighbor to merge with",
    );
}

#[test]
fn shard_counts_go_to_half_or_double_in_one_call() {
    assert_eq!(check_shard_count(30, 60), Ok(()));
    assert_eq!(check_shard_count(31, 16), Ok(()));
    assert_eq!(check_shard_count(1, 1), Ok(()));
    assert!(check_shard_count(31, 15).is_err());
    assert!(check_shard_count(6_000, 10_001).is_err());
    assert_eq!(
        check_shard_count(30, 61).unwrap_err().to_string(),
        "the stream has 30 open shards and UpdateShardCount goes to 15 to 60 from there in one call, not to 61: choose a \
         number between, or go there in several steps"
    );
}
