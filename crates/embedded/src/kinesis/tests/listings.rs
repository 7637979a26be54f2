//! Listings: filters, pages, tokens.

use serde_json::{Value, json};

use super::{Client, id};

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
fn a_listing_keeps_its_filter_on_every_page() {
    let mut client = Client::with_stream(false, 3);
    client.now += 1_000;
    let scale = json!({ "StreamName": "s", "TargetShardCount": 6, "ScalingType": "UNIFORM_SCALING" });
    client.ok("UpdateShardCount", scale);
    client.now += 1_000;
    let filter = json!({ "Type": "AT_TRIM_HORIZON" });
    let mut page = client.ok(
        "ListShards",
        json!({ "StreamName": "s", "ShardFilter": filter, "MaxResults": 1 }),
    );
    let mut found = Vec::new();
    while found.len() < 9 {
        found.extend(
            page["Shards"]
                .as_array()
                .unwrap()
                .iter()
                .map(|shard| id(shard).to_owned()),
        );
        let Some(next) = page["NextToken"].as_str() else { break };
        page = client.ok("ListShards", json!({ "NextToken": next, "MaxResults": 1 }));
    }
    assert_eq!(
        found,
        ["shardId-000000000000", "shardId-000000000001", "shardId-000000000002"]
    );
}
