//! What is refused when there is too much of it, and what is forgotten.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Client, id};

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
