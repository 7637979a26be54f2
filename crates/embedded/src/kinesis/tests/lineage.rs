//! Splits, merges and updates of the shard count: what they do to hash keys and records.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Client, DELAY, id, is_open, range, text};

#[test]
fn a_split_shard_ends_and_names_its_children() {
    let mut client = Client::with_stream(false, 1);
    client.put("a", "before");
    let parent = "shardId-000000000000";
    let latest = client.iterator(parent, "LATEST");
    let middle = (1u128 << 127).to_string();
    let split = json!({ "StreamName": "s", "ShardToSplit": parent, "NewStartingHashKey": middle });
    client.ok("SplitShard", split.clone());
    client.put("a", "while updating");
    assert_eq!(
        client.call("SplitShard", split.clone()),
        Err("ResourceInUseException".to_owned())
    );
    client.now += DELAY;
    assert_eq!(
        client.call("SplitShard", split),
        Err("InvalidArgumentException".to_owned())
    );
    client.put("a", "after");

    let end = client.get(&latest);
    assert_eq!(text(&end["Records"][0]["Data"]), "while updating");
    assert!(end["NextShardIterator"].is_null());
    let children: Vec<&str> = end["ChildShards"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(children, ["shardId-000000000001", "shardId-000000000002"]);
    assert_eq!(
        client.drain(parent),
        (vec!["before".to_owned(), "while updating".to_owned()], true)
    );
    let shards = client.shards();
    let start = |shard: &Value| {
        shard["SequenceNumberRange"]["StartingSequenceNumber"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let parent_end = shards[0]["SequenceNumberRange"]["EndingSequenceNumber"]
        .as_str()
        .unwrap();
    assert!(shards[1..].iter().all(|child| start(child).as_str() > parent_end));
}

fn update(count: usize) -> Value {
    json!({ "StreamName": "s", "TargetShardCount": count, "ScalingType": "UNIFORM_SCALING" })
}

#[test]
fn the_shard_count_is_updated_evenly_and_ten_times_a_day() {
    let mut client = Client::with_stream(true, 4);
    for count in [9, 1] {
        assert_eq!(
            client.call("UpdateShardCount", update(count)),
            Err("InvalidArgumentException".to_owned())
        );
    }
    for count in [8, 4, 7, 5, 10, 6, 3, 2, 1, 2] {
        client.now += 1_000;
        client.ok("UpdateShardCount", update(count));
        client.now += DELAY;
        let open: Vec<u128> = client
            .shards()
            .iter()
            .filter(|s| is_open(s))
            .map(|s| range(s).1 - range(s).0)
            .collect();
        assert_eq!(open.len(), count);
        let (least, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
        assert!(most - least <= most / 100_000, "{count}: {least} to {most}");
    }
    client.now += 1_000;
    assert_eq!(
        client.call("UpdateShardCount", update(4)),
        Err("LimitExceededException".to_owned())
    );
    client.now += 24 * 3_600_000;
    client.ok("UpdateShardCount", update(4));
    // Without limits nobody counts.
    let mut client = Client::with_stream(false, 1);
    for count in [2, 1].repeat(8) {
        client.ok("UpdateShardCount", update(count));
        client.now += DELAY;
    }
}

#[test]
fn the_shard_count_is_updated_by_the_fewest_splits_and_merges() {
    let check = |counts: &[usize], splits: usize, merges: usize| {
        let mut client = Client::with_stream(false, counts[0]);
        let mut before = Vec::new();
        for &count in &counts[1..] {
            before = client.shards();
            client.ok("UpdateShardCount", update(count));
            client.now += DELAY;
        }
        let shards = client.shards();
        let made = &shards[before.len()..];
        let merged = made
            .iter()
            .filter(|shard| !shard["AdjacentParentShardId"].is_null())
            .count();
        assert_eq!(((made.len() - merged) / 2, merged), (splits, merges), "{counts:?}");
        assert_eq!(
            shards.iter().filter(|shard| is_open(shard)).count(),
            counts[counts.len() - 1]
        );
        // The narrowest piece that two different counts can leave between them.
        let narrowest = u128::MAX / 20_000;
        let sliver = shards.iter().find(|shard| range(shard).1 - range(shard).0 < narrowest);
        assert_eq!(sliver, None, "{counts:?}");
    };
    for n in [1, 2, 3, 5, 6, 7, 10, 12, 20, 64, 100] {
        check(&[n, 2 * n], n, 0);
        check(&[2 * n, n], 0, n);
        check(&[n, 2 * n, n], 0, n);
        check(&[n, 2 * n, n, 2 * n], n, 0);
    }
    // Of the new bounds those that are not there are split, of the old ones those that go are merged.
    check(&[4, 5], 4, 3);
    check(&[5, 4], 3, 4);
    check(&[4, 6], 4, 2);
    check(&[20, 30], 20, 10);
    check(&[30, 20], 10, 20);
    check(&[3, 5, 10], 5, 0);
    check(&[7, 7], 0, 0);
    check(&[20, 21, 20], 19, 20);
}

#[test]
fn ranges_cut_by_hand_are_left_alone_where_they_are_even() {
    let mut client = Client::with_stream(false, 1);
    let middle = 1u128 << 127;
    // One key off, as a caller computes it who halves the last key.
    let split = json!({
        "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": (middle - 1).to_string(),
    });
    client.ok("SplitShard", split);
    client.now += DELAY;
    client.ok("UpdateShardCount", update(4));
    client.now += DELAY;
    let shards = client.shards();
    assert_eq!(shards.len(), 1 + 2 + 4);
    assert!(shards.iter().all(|shard| shard["AdjacentParentShardId"].is_null()));
}

#[derive(Clone, Debug)]
enum Step {
    Put { key: u16 },
    Split { nth: usize, at: u8 },
    Merge { nth: usize },
    Scale { to: usize },
    Pass { millis: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u16>().prop_map(|key| Step::Put { key }),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(nth, at)| Step::Split { nth, at }),
        2 => any::<usize>().prop_map(|nth| Step::Merge { nth }),
        1 => (1usize..12).prop_map(|to| Step::Scale { to }),
        4 => (0u16..200).prop_map(|millis| Step::Pass { millis }),
    ]
}

proptest! {
    /// Whatever is split and merged while records are put: open shards always cover the hash keys without overlap, and
    /// reading the whole lineage gives every record once, in order per key.
    #[test]
    fn resharding_keeps_the_hash_keys_whole_and_loses_no_record(
        shards in 1usize..5,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut client = Client::with_stream(false, shards);
        let mut put = Vec::new();
        for step in steps {
            let mut open: Vec<Value> = client.shards().into_iter().filter(is_open).collect();
            open.sort_by_key(range);
            prop_assert_eq!((range(&open[0]).0, range(&open[open.len() - 1]).1), (0, u128::MAX));
            prop_assert!(open.windows(2).all(|pair| range(&pair[0]).1 + 1 == range(&pair[1]).0));
            match step {
                Step::Put { key } => {
                    let answer = client.put(&key.to_string(), &format!("{key} {}", put.len()));
                    prop_assert!(open.iter().any(|shard| shard["ShardId"] == answer["ShardId"]));
                    put.push(format!("{key} {}", put.len()));
                }
                // What may not be done now (UPDATING, too narrow, no neighbor) is refused and changes nothing.
                Step::Split { nth, at } => {
                    let shard = &open[nth % open.len()];
                    let (first, last) = range(shard);
                    let at = first + (last - first) / 256 * u128::from(at);
                    let _ = client.call("SplitShard", json!({
                        "StreamName": "s", "ShardToSplit": id(shard), "NewStartingHashKey": at.to_string(),
                    }));
                }
                Step::Merge { nth } => {
                    let lower = nth % open.len();
                    let upper = (lower + 1) % open.len();
                    let _ = client.call("MergeShards", json!({
                        "StreamName": "s",
                        "ShardToMerge": id(&open[lower]),
                        "AdjacentShardToMerge": id(&open[upper]),
                    }));
                }
                Step::Scale { to } => {
                    let _ = client.call("UpdateShardCount", json!({
                        "StreamName": "s", "TargetShardCount": to, "ScalingType": "UNIFORM_SCALING",
                    }));
                }
                Step::Pass { millis } => client.now += u64::from(millis),
            }
        }
        client.now += DELAY;
        let mut found = Vec::new();
        // Parents have smaller numbers than their children, so that this order follows every lineage.
        for shard in client.shards() {
            let (records, ended) = client.drain(id(&shard));
            prop_assert_eq!(ended, !is_open(&shard));
            found.extend(records);
        }
        let by_key = |records: &[String]| {
            let mut by_key = BTreeMap::<String, Vec<String>>::new();
            for record in records {
                by_key.entry(record.split(' ').next().unwrap().to_owned()).or_default().push(record.clone());
            }
            by_key
        };
        prop_assert_eq!(by_key(&found), by_key(&put));
    }
}
