//! The model as a client sees it, in virtual time: requests and answers are JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Settings, Streams};

const START: u64 = 1_790_000_000_000;
const DELAY: u64 = 50;

/// A client with a clock of its own.
struct Client {
    streams: Streams,
    now: u64,
}

impl Client {
    fn new(limits: bool) -> Self {
        Self::delayed(limits, DELAY)
    }

    fn delayed(limits: bool, millis: u64) -> Self {
        let delay = Duration::from_millis(millis);
        let settings = Settings {
            limits,
            shard_limit: 500,
            stream_bytes_max: 20_000_000,
            create_delay: delay,
            reshard_delay: delay,
        };
        Self {
            streams: Streams::new(settings),
            now: START,
        }
    }

    /// With an ACTIVE stream `s`.
    fn with_stream(limits: bool, shards: usize) -> Self {
        let mut client = Self::new(limits);
        client.ok("CreateStream", json!({ "StreamName": "s", "ShardCount": shards }));
        client.now += DELAY;
        client
    }

    fn call(&self, api: &str, request: Value) -> Result<Value, String> {
        let answer = self.streams.call(api, request.to_string().as_bytes(), self.now);
        match answer.error {
            Some(error) => Err(error),
            None if answer.body.is_empty() => Ok(Value::Null),
            None => Ok(serde_json::from_slice(&answer.body).unwrap()),
        }
    }

    fn ok(&self, api: &str, request: Value) -> Value {
        self.call(api, request.clone())
            .unwrap_or_else(|error| panic!("{api} {request}: {error}"))
    }

    fn put(&self, key: &str, data: &str) -> Value {
        self.ok(
            "PutRecord",
            json!({ "StreamName": "s", "PartitionKey": key, "Data": STANDARD.encode(data) }),
        )
    }

    fn shards(&self) -> Vec<Value> {
        self.ok("ListShards", json!({ "StreamName": "s" }))["Shards"]
            .as_array()
            .unwrap()
            .clone()
    }

    fn iterator(&self, shard: &str, kind: &str) -> String {
        let request = json!({ "StreamName": "s", "ShardId": shard, "ShardIteratorType": kind });
        self.ok("GetShardIterator", request)["ShardIterator"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn get(&self, iterator: &str) -> Value {
        self.ok("GetRecords", json!({ "ShardIterator": iterator }))
    }

    /// Everything in a shard, in order, and whether it has ended.
    fn drain(&self, shard: &str) -> (Vec<String>, bool) {
        let (mut found, mut iterator) = (Vec::new(), self.iterator(shard, "TRIM_HORIZON"));
        loop {
            let answer = self.ok("GetRecords", json!({ "ShardIterator": iterator, "Limit": 3 }));
            let records = answer["Records"].as_array().unwrap();
            found.extend(records.iter().map(|record| text(&record["Data"])));
            assert!(found.len() < 1_000, "more records than any test puts");
            match answer["NextShardIterator"].as_str() {
                None => return (found, true),
                Some(_) if records.is_empty() => return (found, false),
                Some(next) => iterator = next.to_owned(),
            }
        }
    }
}

fn text(data: &Value) -> String {
    String::from_utf8(STANDARD.decode(data.as_str().unwrap()).unwrap()).unwrap()
}

fn id(shard: &Value) -> &str {
    shard["ShardId"].as_str().unwrap()
}

fn is_open(shard: &Value) -> bool {
    shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null()
}

fn range(shard: &Value) -> (u128, u128) {
    let key = |name: &str| shard["HashKeyRange"][name].as_str().unwrap().parse().unwrap();
    (key("StartingHashKey"), key("EndingHashKey"))
}

#[test]
fn a_stream_is_creating_and_then_active() {
    let mut client = Client::new(false);
    client.ok("CreateStream", json!({ "StreamName": "s", "ShardCount": 2 }));
    let status = |client: &Client| {
        let summary = client.ok("DescribeStreamSummary", json!({ "StreamName": "s" }));
        summary["StreamDescriptionSummary"]["StreamStatus"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(status(&client), "CREATING");
    let put = json!({ "StreamName": "s", "PartitionKey": "k", "Data": "" });
    assert_eq!(
        client.call("PutRecord", put),
        Err("ResourceNotFoundException".to_owned())
    );
    client.now += DELAY;
    assert_eq!(status(&client), "ACTIVE");
    client.ok("DeleteStream", json!({ "StreamName": "s" }));
    assert_eq!(status(&client), "DELETING");
    client.now += DELAY;
    let gone = client.call("DescribeStreamSummary", json!({ "StreamName": "s" }));
    assert_eq!(gone, Err("ResourceNotFoundException".to_owned()));
}

#[test]
fn the_account_bounds_calls_streams_and_shards() {
    let check = |limits: bool, (creates, pause, delay): (usize, u64, u64), shards: usize, expected: &[&str]| {
        let mut client = Client::delayed(limits, delay);
        let mut found = Vec::new();
        for n in 0..creates {
            let create = json!({ "StreamName": format!("s{n}"), "ShardCount": shards });
            found.push(client.call("CreateStream", create).err().unwrap_or_default());
            client.now += pause;
        }
        assert_eq!(found, expected);
    };
    let limit = "LimitExceededException";
    // Five calls at once and one more every 200 ms.
    check(true, (7, 60, 50), 1, &["", "", "", "", "", "", limit]);
    check(true, (7, 200, 50), 1, &["", "", "", "", "", "", ""]);
    check(false, (7, 0, 50), 1, &["", "", "", "", "", "", ""]);
    // Five streams CREATING at a time.
    check(true, (7, 200, 1_100), 1, &["", "", "", "", "", limit, ""]);
    // 500 open shards, those of streams that are CREATING too.
    check(false, (3, 60, 50), 200, &["", "", limit]);
    check(false, (3, 0, 50), 200, &["", "", limit]);
}

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

#[test]
fn an_iterator_expires_after_five_minutes() {
    let mut client = Client::with_stream(false, 1);
    let iterator = client.iterator("shardId-000000000000", "LATEST");
    client.now += 300_000;
    client.get(&iterator);
    client.now += 1;
    let late = client.call("GetRecords", json!({ "ShardIterator": iterator }));
    assert_eq!(late, Err("ExpiredIteratorException".to_owned()));
    let garbage = client.call("GetRecords", json!({ "ShardIterator": "garbage" }));
    assert_eq!(garbage, Err("InvalidArgumentException".to_owned()));
}

#[test]
fn a_listing_token_expires_after_five_minutes() {
    let mut client = Client::with_stream(false, 3);
    let page = client.ok("ListShards", json!({ "StreamName": "s", "MaxResults": 2 }));
    let next = json!({ "NextToken": page["NextToken"], "MaxResults": 2 });
    assert_eq!(
        client.ok("ListShards", next.clone())["Shards"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    client.now += 300_001;
    assert_eq!(
        client.call("ListShards", next),
        Err("ExpiredNextTokenException".to_owned())
    );
}

#[test]
fn records_and_closed_shards_go_past_retention() {
    let mut client = Client::with_stream(false, 1);
    client.put("a", "old");
    let split = json!({ "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000" });
    client.ok("SplitShard", split);
    client.now += DELAY;
    let hour = 3_600_000;
    client.now += 23 * hour;
    client.put("a", "new");
    assert_eq!(client.drain("shardId-000000000000").0, ["old"]);
    client.now += hour + 1;
    let shards = client.shards();
    assert_eq!(
        shards.iter().map(id).collect::<Vec<_>>(),
        ["shardId-000000000001", "shardId-000000000002"]
    );
    let request = json!({ "StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST" });
    assert_eq!(
        client.call("GetShardIterator", request),
        Err("ResourceNotFoundException".to_owned())
    );
    assert_eq!(client.drain("shardId-000000000002").0, ["new"]);
    client.now += 24 * hour;
    assert_eq!(client.drain("shardId-000000000002").0, [""; 0]);
}

#[test]
fn the_oldest_records_of_a_stream_go_when_it_holds_too_much() {
    let client = Client::with_stream(false, 2);
    let large = "x".repeat(700_000);
    for n in 0..30 {
        client.put(&n.to_string(), &format!("{n} {large}"));
    }
    let kept: BTreeSet<u32> = client
        .shards()
        .iter()
        .flat_map(|shard| client.drain(id(shard)).0)
        .map(|record| record.split(' ').next().unwrap().parse().unwrap())
        .collect();
    // 20 MB hold 21 records of 933,340 base64 digits; reading goes on at the oldest one that is left.
    assert_eq!(kept, (9..30).collect());
}

#[test]
fn each_shard_filter_lists_its_shards() {
    let mut client = Client::with_stream(false, 1);
    let before = client.now;
    client.now += 1_000;
    client.ok(
        "SplitShard",
        json!({ "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000" }),
    );
    client.now += 1_000;
    let check = |filter: Value, expected: &[u32]| {
        let shards = client.ok("ListShards", json!({ "StreamName": "s", "ShardFilter": filter }));
        let numbers: Vec<u32> = shards["Shards"]
            .as_array()
            .unwrap()
            .iter()
            .map(|shard| id(shard)[8..].parse().unwrap())
            .collect();
        assert_eq!(numbers, expected, "{filter}");
    };
    let seconds = |millis: u64| millis as f64 / 1_000.0;
    check(json!({ "Type": "AT_LATEST" }), &[1, 2]);
    check(json!({ "Type": "AT_TRIM_HORIZON" }), &[0]);
    check(json!({ "Type": "FROM_TRIM_HORIZON" }), &[0, 1, 2]);
    check(
        json!({ "Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000000" }),
        &[1, 2],
    );
    check(json!({ "Type": "AT_TIMESTAMP", "Timestamp": seconds(before) }), &[0]);
    check(
        json!({ "Type": "AT_TIMESTAMP", "Timestamp": seconds(client.now) }),
        &[1, 2],
    );
    check(
        json!({ "Type": "FROM_TIMESTAMP", "Timestamp": seconds(before) }),
        &[0, 1, 2],
    );
    check(
        json!({ "Type": "FROM_TIMESTAMP", "Timestamp": seconds(client.now) }),
        &[1, 2],
    );
}

#[test]
fn limits_throttle_each_shard_and_no_more() {
    let mut client = Client::with_stream(true, 1);
    let entry = json!({ "PartitionKey": "k", "Data": STANDARD.encode([0; 100_000]) });
    let request = json!({ "StreamName": "s", "Records": vec![entry; 20] });
    let answer = client.ok("PutRecords", request.clone());
    assert_eq!(answer["FailedRecordCount"], 10);
    assert_eq!(
        answer["Records"][19]["ErrorCode"],
        "ProvisionedThroughputExceededException"
    );
    client.now += 500;
    assert_eq!(client.ok("PutRecords", request)["FailedRecordCount"], 15);

    let iterator = client.iterator("shardId-000000000000", "LATEST");
    let gets = |client: &Client| {
        let get = || client.call("GetRecords", json!({ "ShardIterator": iterator }));
        std::iter::from_fn(|| get().ok()).count()
    };
    assert_eq!(gets(&client), 5);
    client.now += 400;
    assert_eq!(gets(&client), 2);
    client.now += 10_000;
    let whole = client.iterator("shardId-000000000000", "TRIM_HORIZON");
    client.get(&whole);
    client.now += 10_000;
    assert_eq!(gets(&client), 5);
}

#[test]
fn a_large_read_has_to_be_paid_off() {
    let mut client = Client::with_stream(true, 1);
    for _ in 0..8 {
        client.put("k", &"x".repeat(1_000_000));
        client.now += 1_000;
    }
    let answer = client.get(&client.iterator("shardId-000000000000", "TRIM_HORIZON"));
    assert_eq!(answer["Records"].as_array().unwrap().len(), 8);
    let next = json!({ "ShardIterator": answer["NextShardIterator"] });
    client.now += 2_800;
    assert_eq!(
        client.call("GetRecords", next.clone()),
        Err("ProvisionedThroughputExceededException".to_owned())
    );
    client.now += 100;
    client.ok("GetRecords", next);
}

#[test]
fn the_shard_count_is_updated_evenly_and_ten_times_a_day() {
    let mut client = Client::with_stream(false, 4);
    let update =
        |count: usize| json!({ "StreamName": "s", "TargetShardCount": count, "ScalingType": "UNIFORM_SCALING" });
    assert_eq!(
        client.call("UpdateShardCount", update(9)),
        Err("InvalidArgumentException".to_owned())
    );
    assert_eq!(
        client.call("UpdateShardCount", update(1)),
        Err("InvalidArgumentException".to_owned())
    );
    for count in [8, 4, 7, 5, 10, 6, 3, 2, 1, 2] {
        client.ok("UpdateShardCount", update(count));
        client.now += DELAY;
        let open: Vec<u128> = client
            .shards()
            .iter()
            .filter(|s| is_open(s))
            .map(|s| range(s).1 - range(s).0)
            .collect();
        assert_eq!(open.len(), count);
        assert!(open.iter().max().unwrap() - open.iter().min().unwrap() <= 1);
    }
    assert_eq!(
        client.call("UpdateShardCount", update(4)),
        Err("LimitExceededException".to_owned())
    );
    client.now += 24 * 3_600_000;
    client.ok("UpdateShardCount", update(4));
}

#[test]
fn a_stream_made_again_knows_no_iterator_of_the_old_one() {
    let mut client = Client::with_stream(false, 2);
    let iterator = client.iterator("shardId-000000000001", "LATEST");
    client.ok("DeleteStream", json!({ "StreamName": "s" }));
    client.now += DELAY;
    client.ok("CreateStream", json!({ "StreamName": "s", "ShardCount": 1 }));
    client.now += DELAY;
    let old = client.call("GetRecords", json!({ "ShardIterator": iterator }));
    assert_eq!(old, Err("ResourceNotFoundException".to_owned()));
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
                // What may not be done now (UPDATING, too narrow, no neighbour) is refused and changes nothing.
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
