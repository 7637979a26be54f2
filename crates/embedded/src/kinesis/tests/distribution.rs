//! The record distribution strategy: who may have it, and where records go.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Client, DELAY, id, is_open};

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

fn on_demand(limits: bool, strategy: &str) -> Client {
    let mut client = Client::new(limits);
    client.ok(
        "CreateStream",
        json!({ "StreamName": "s", "StreamModeDetails": { "StreamMode": "ON_DEMAND" }, "RecordDistributionStrategy": strategy }),
    );
    client.now += DELAY;
    client
}

fn strategy(client: &Client) -> Value {
    let summary = client.ok("DescribeStreamSummary", json!({ "StreamName": "s" }));
    summary["StreamDescriptionSummary"]["RecordDistributionStrategy"].clone()
}

fn update(client: &Client, strategy: &str) -> Result<Value, String> {
    let request = json!({ "StreamARN": ARN, "RecordDistributionStrategy": strategy });
    client.call("UpdateStreamRecordDistributionStrategy", request)
}

/// Puts records of these keys; counts them by their shards.
fn shards_of(client: &Client, count: usize, keys: &Value) -> BTreeMap<String, usize> {
    let mut taken = BTreeMap::new();
    for _ in 0..count {
        let mut record = json!({ "StreamName": "s", "Data": STANDARD.encode("x") });
        for (name, key) in keys.as_object().unwrap() {
            record[name] = key.clone();
        }
        let put = client.ok("PutRecord", record);
        *taken.entry(id(&put).to_owned()).or_default() += 1;
    }
    taken
}

fn evenly(client: &Client, each: usize) -> BTreeMap<String, usize> {
    let shards = client.shards();
    let open = shards.iter().filter(|shard| is_open(shard));
    open.map(|shard| (id(shard).to_owned(), each)).collect()
}

#[test]
fn records_of_a_stream_that_distributes_them_are_spread_over_its_open_shards() {
    let client = on_demand(false, "AUTO");
    for keys in [
        json!({}),
        json!({ "PartitionKey": null }),
        json!({ "PartitionKey": "always-the-same" }),
        json!({ "PartitionKey": "k", "ExplicitHashKey": "0" }),
        // 2^128 is the hash key of no shard, and nobody looks at it.
        json!({ "ExplicitHashKey": "340282366920938463463374607431768211456" }),
    ] {
        assert_eq!(shards_of(&client, 12, &keys), evenly(&client, 3), "{keys}");
    }
}

#[test]
fn partition_key_that_was_not_given_does_not_come_back() {
    let client = on_demand(false, "AUTO");
    let data = STANDARD.encode("x");
    let records = [json!({ "Data": data }), json!({ "Data": data, "PartitionKey": "k" })];
    let answer = client.ok("PutRecords", json!({ "StreamName": "s", "Records": records }));
    assert_eq!(answer["FailedRecordCount"], 0);
    let read = |nth: usize| {
        let shard = answer["Records"][nth]["ShardId"].as_str().unwrap();
        let found = client.get(&client.iterator(shard, "TRIM_HORIZON"));
        found["Records"][0].as_object().unwrap().get("PartitionKey").cloned()
    };
    assert_eq!((read(0), read(1)), (None, Some(json!("k"))));
}

#[test]
fn partition_key_is_needed_and_decides_unless_the_stream_distributes() {
    let client = on_demand(false, "USER_PARTITION_KEY");
    let put = |client: &Client| {
        let one = client.call("PutRecord", json!({ "StreamName": "s", "Data": "eA==" }));
        let many =
            json!({ "StreamName": "s", "Records": [{ "Data": "eA==", "PartitionKey": "k" }, { "Data": "eA==" }] });
        (one.err(), client.call("PutRecords", many).err())
    };
    let refused = Some("ValidationException".to_owned());
    assert_eq!(put(&client), (refused.clone(), refused.clone()));
    assert_eq!(shards_of(&client, 5, &json!({ "PartitionKey": "k" })).len(), 1);

    update(&client, "AUTO").unwrap();
    assert_eq!(put(&client), (None, None));
    let empty = json!({ "StreamName": "s", "Data": "eA==", "PartitionKey": "" });
    assert_eq!(
        client.call("PutRecord", empty).err(),
        refused,
        "an empty key is none at all"
    );

    update(&client, "USER_PARTITION_KEY").unwrap();
    assert_eq!(put(&client), (refused.clone(), refused));
}

#[test]
fn only_an_on_demand_stream_may_distribute_its_records() {
    let (invalid, validation) = ("InvalidArgumentException", "ValidationException");
    let client = on_demand(false, "AUTO");
    assert_eq!(strategy(&client), "AUTO");
    update(&client, "USER_PARTITION_KEY").unwrap();
    assert_eq!(strategy(&client), "USER_PARTITION_KEY");
    assert_eq!(update(&client, "BY_LUCK").unwrap_err(), validation);
    let by_name = json!({ "StreamName": "s", "RecordDistributionStrategy": "AUTO" });
    let by_name = client.call("UpdateStreamRecordDistributionStrategy", by_name);
    assert_eq!(by_name.unwrap_err(), validation, "it takes a StreamARN only");

    let client = Client::with_stream(false, 1);
    assert_eq!(strategy(&client), Value::Null, "a provisioned stream has none");
    assert_eq!(update(&client, "AUTO").unwrap_err(), invalid);
    update(&client, "USER_PARTITION_KEY").unwrap();
    for (strategy, expected) in [("AUTO", invalid), ("auto", validation)] {
        let create = json!({ "StreamName": "t", "ShardCount": 1, "RecordDistributionStrategy": strategy });
        assert_eq!(client.call("CreateStream", create).unwrap_err(), expected);
    }
    let split = json!({ "StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "9" });
    assert_eq!(
        on_demand(false, "AUTO").call("SplitShard", split).unwrap_err(),
        validation
    );
    let busy = on_demand(false, "AUTO");
    busy.ok("DeleteStream", json!({ "StreamName": "s" }));
    assert_eq!(update(&busy, "AUTO").unwrap_err(), "ResourceInUseException");
}

#[test]
fn shard_at_its_limit_is_passed_over_until_all_are() {
    let client = on_demand(true, "AUTO");
    // All four shards together take 4 MiB in a second.
    let record = json!({ "Data": STANDARD.encode(vec![0; 700_000]) });
    let request = json!({ "StreamName": "s", "Records": vec![record; 5] });
    let small = json!({ "StreamName": "s", "Records": vec![json!({ "Data": STANDARD.encode(vec![0; 300_000]) }); 4] });
    assert_eq!(client.ok("PutRecords", request)["FailedRecordCount"], 1);
    assert_eq!(client.ok("PutRecords", small.clone())["FailedRecordCount"], 0);
    assert_eq!(client.ok("PutRecords", small)["FailedRecordCount"], 4);
}
