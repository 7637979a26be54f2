//! The model as a client sees it, in virtual time: requests and answers are JSON.

mod distribution;
mod limits;
mod lineage;
mod listings;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Settings, Streams, Trimmed};
use crate::tenant::Tenant;

const START: u64 = 1_790_000_000_000;
const DELAY: u64 = 50;

/// A client with a clock of its own.
struct Client {
    streams: Streams,
    tenant: Tenant,
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
            tenant: Tenant::default(),
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
        let body = request.to_string();
        let answer = self
            .streams
            .call(&self.tenant, api, body.as_bytes(), self.now, Trimmed::Skipped);
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
fn a_stream_made_again_knows_nothing_of_the_old_one() {
    for pause in [0, 10_000] {
        let mut client = Client::delayed(false, 0);
        let create = json!({ "StreamName": "s", "ShardCount": 1 });
        let (shard, again) = ("shardId-000000000000", create.clone());
        client.ok("CreateStream", create);
        let created = |client: &Client| {
            let summary = client.ok("DescribeStreamSummary", json!({ "StreamName": "s" }));
            summary["StreamDescriptionSummary"]["StreamCreationTimestamp"]
                .as_f64()
                .unwrap()
        };
        let (old, first) = (client.put("a", "old"), created(&client));
        let iterator = client.iterator(shard, "LATEST");
        client.ok("DeleteStream", json!({ "StreamName": "s" }));
        client.now += pause;
        client.ok("CreateStream", again);
        let gone = client.call("GetRecords", json!({ "ShardIterator": iterator }));
        assert_eq!(gone, Err("ResourceNotFoundException".to_owned()));
        let number = |put: &Value| put["SequenceNumber"].as_str().unwrap().to_owned();
        for kind in ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] {
            let request = json!({
                "StreamName": "s", "ShardId": shard, "ShardIteratorType": kind, "StartingSequenceNumber": number(&old),
            });
            assert_eq!(
                client.call("GetShardIterator", request),
                Err("InvalidArgumentException".to_owned())
            );
        }
        let new = client.put("a", "new");
        assert!(number(&new) > number(&old), "after {pause} ms");
        assert_eq!(created(&client) - first, pause as f64 / 1_000.0);
    }
}

#[test]
fn a_trimmed_position_goes_on_at_the_oldest_record_or_stalls_when_told_to() {
    let client = Client::with_stream(false, 1);
    let shard = "shardId-000000000000";
    let numbers: Vec<Value> = ["a", "b"]
        .map(|data| client.put("k", data)["SequenceNumber"].clone())
        .to_vec();
    let after = |number: &Value| {
        let request = json!({
            "StreamName": "s", "ShardId": shard, "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
            "StartingSequenceNumber": number,
        });
        client.ok("GetShardIterator", request)["ShardIterator"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(client.streams.trim("s"), Some(2));
    assert_eq!(client.streams.trim("missing"), None);
    client.put("k", "c");
    let stalled = |iterator: &str| {
        let body = json!({ "ShardIterator": iterator }).to_string();
        let answer = client.streams.call(
            &client.tenant,
            "GetRecords",
            body.as_bytes(),
            client.now,
            Trimmed::Stalls,
        );
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    // `b`, which comes after `a`, is gone; nothing after `b` is.
    let mut iterator = after(&numbers[0]);
    for _ in 0..3 {
        let answer = stalled(&iterator);
        assert_eq!(answer["Records"].as_array().unwrap().len(), 0);
        assert_eq!(answer["MillisBehindLatest"], 86_400_000);
        iterator = answer["NextShardIterator"].as_str().unwrap().to_owned();
    }
    assert_eq!(text(&client.get(&iterator)["Records"][0]["Data"]), "c");
    for iterator in [after(&numbers[1]), client.iterator(shard, "TRIM_HORIZON")] {
        assert_eq!(text(&stalled(&iterator)["Records"][0]["Data"]), "c");
    }
}

#[test]
fn each_account_and_region_has_streams_of_its_own() {
    let mut client = Client::with_stream(false, 1);
    let arn = |client: &Client| {
        let summary = client.ok("DescribeStreamSummary", json!({ "StreamName": "s" }));
        summary["StreamDescriptionSummary"]["StreamARN"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(arn(&client), "arn:aws:kinesis:us-east-1:000000000000:stream/s");
    let foreign = client.iterator("shardId-000000000000", "LATEST");
    for (account, region, expected) in [
        (
            "000000000000",
            "eu-central-1",
            "arn:aws:kinesis:eu-central-1:000000000000:stream/s",
        ),
        (
            "123456789012",
            "us-east-1",
            "arn:aws:kinesis:us-east-1:123456789012:stream/s",
        ),
        (
            "000000000000",
            "cn-north-1",
            "arn:aws-cn:kinesis:cn-north-1:000000000000:stream/s",
        ),
    ] {
        client.tenant = Tenant {
            account: account.to_owned(),
            region: region.to_owned(),
        };
        let not_found = Err("ResourceNotFoundException".to_owned());
        assert_eq!(
            client.call("DescribeStreamSummary", json!({ "StreamName": "s" })),
            not_found
        );
        client.ok("CreateStream", json!({ "StreamName": "s", "ShardCount": 1 }));
        client.now += DELAY;
        assert_eq!(arn(&client), expected);
        client.ok("ListShards", json!({ "StreamARN": expected }));
        let elsewhere = json!({ "StreamARN": "arn:aws:kinesis:us-west-2:000000000000:stream/s" });
        assert_eq!(client.call("ListShards", elsewhere), not_found);
        let get = client.call("GetRecords", json!({ "ShardIterator": foreign }));
        assert_eq!(get, not_found);
    }
    let wrong = |request: Value| client.call("ListShards", request).unwrap_err();
    assert_eq!(wrong(json!({ "StreamARN": "s" })), "ValidationException");
    let other = "arn:aws-cn:kinesis:cn-north-1:000000000000:stream/s";
    assert_eq!(
        wrong(json!({ "StreamARN": other, "StreamName": "t" })),
        "InvalidArgumentException"
    );
}
