//! What is refused when there is too much of it, and what is forgotten.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Client, DELAY, id};

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

#[test]
fn each_api_has_the_rate_that_is_documented() {
    // Calls per second of an account, or of a stream where that is said.
    let check = |api: &str, per_second: usize, request: &dyn Fn(usize) -> serde_json::Value| {
        for limits in [true, false] {
            let mut client = Client::delayed(limits, 0);
            for name in ["s", "t"] {
                client.ok("CreateStream", json!({ "StreamName": name, "ShardCount": 1 }));
                client.now += 1_000;
            }
            client.now += 10_000;
            let calls = per_second + 1;
            let refused = |client: &Client| {
                (0..calls)
                    .map(|n| client.call(api, request(n)))
                    .filter(|result| *result == Err("LimitExceededException".to_owned()))
                    .count()
            };
            assert_eq!(refused(&client), usize::from(limits), "{api}");
            client.now += 1_000;
            assert_eq!(refused(&client), usize::from(limits), "{api} a second later");
        }
    };
    // Two streams, one account.
    let either = |n: usize| if n.is_multiple_of(2) { "s" } else { "t" };
    check("DescribeStreamSummary", 20, &|n| json!({ "StreamName": either(n) }));
    check("DescribeStream", 10, &|n| json!({ "StreamName": either(n) }));
    check("ListShards", 1_000, &|_| json!({ "StreamName": "s" }));
    check("ListStreams", 5, &|_| json!({}));
    check("DescribeLimits", 1, &|_| json!({}));
    check("ListTagsForStream", 5, &|n| json!({ "StreamName": either(n) }));
    // Calls that are refused for another reason count as well.
    check(
        "CreateStream",
        5,
        &|n| json!({ "StreamName": either(n), "ShardCount": 1 }),
    );
    check("DeleteStream", 5, &|_| json!({ "StreamName": "missing" }));
    let split =
        |n| json!({ "StreamName": either(n), "ShardToSplit": "shardId-000000000009", "NewStartingHashKey": "5" });
    check("SplitShard", 5, &split);
    let merge = |n| {
        json!({
            "StreamName": either(n),
            "ShardToMerge": "shardId-000000000009",
            "AdjacentShardToMerge": "shardId-000000000008",
        })
    };
    check("MergeShards", 5, &merge);
    // Streams have ListShards of their own.
    let client = Client::delayed(true, 0);
    for name in ["s", "t"] {
        client.ok("CreateStream", json!({ "StreamName": name, "ShardCount": 1 }));
    }
    for n in 0..2_000 {
        client.ok("ListShards", json!({ "StreamName": either(n) }));
    }
}

#[test]
fn an_iterator_is_given_out_five_times_a_second_for_each_shard() {
    let client = Client::with_stream(true, 2);
    let given = |shard: &str| {
        let request = json!({ "StreamName": "s", "ShardId": shard, "ShardIteratorType": "LATEST" });
        (0..7)
            .map(|_| {
                client
                    .call("GetShardIterator", request.clone())
                    .err()
                    .unwrap_or_default()
            })
            .collect::<Vec<_>>()
    };
    for shard in ["shardId-000000000000", "shardId-000000000001"] {
        let mut expected = vec![String::new(); 5];
        expected.resize(7, "ProvisionedThroughputExceededException".to_owned());
        assert_eq!(given(shard), expected);
    }
}

#[test]
fn a_record_has_the_size_that_its_stream_allows() {
    let mut client = Client::new(false);
    let create = |name: &str, kib: i64| json!({ "StreamName": name, "ShardCount": 1, "MaxRecordSizeInKiB": kib });
    client.ok("CreateStream", json!({ "StreamName": "s", "ShardCount": 1 }));
    client.ok("CreateStream", create("large", 2_048));
    for kib in [1_023, 10_241, -1] {
        assert_eq!(
            client.call("CreateStream", create("wrong", kib)),
            Err("ValidationException".to_owned())
        );
    }
    client.now += DELAY;
    let kib = |client: &Client, name: &str| {
        let summary = client.ok("DescribeStreamSummary", json!({ "StreamName": name }));
        summary["StreamDescriptionSummary"]["MaxRecordSizeInKiB"].as_i64()
    };
    assert_eq!((kib(&client, "s"), kib(&client, "large")), (Some(1_024), Some(2_048)));
    let put = |client: &Client, name: &str, size: usize| {
        let data = STANDARD.encode(vec![b'x'; size]);
        let put = json!({ "StreamName": name, "PartitionKey": "k", "Data": data });
        let puts = json!({ "StreamName": name, "Records": [{ "PartitionKey": "k", "Data": data }] });
        let one = client.call("PutRecord", put).err().unwrap_or_default();
        assert_eq!(client.call("PutRecords", puts).err().unwrap_or_default(), one);
        one
    };
    // The partition key counts.
    let mib = 1 << 20;
    assert_eq!(put(&client, "s", mib - 1), "");
    assert_eq!(put(&client, "s", mib), "ValidationException");
    assert_eq!(put(&client, "large", 2 * mib - 1), "");
    assert_eq!(put(&client, "large", 2 * mib), "ValidationException");

    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let update = |kib: i64| json!({ "StreamARN": arn, "MaxRecordSizeInKiB": kib });
    assert_eq!(
        client.call("UpdateMaxRecordSize", update(10_241)),
        Err("ValidationException".to_owned())
    );
    client.ok("UpdateMaxRecordSize", update(5_000));
    assert_eq!(kib(&client, "s"), Some(5_000));
    assert_eq!(put(&client, "s", 4 * mib), "");
}

#[test]
fn a_large_record_is_a_burst_that_later_ones_pay_for() {
    let mut client = Client::new(true);
    client.ok(
        "CreateStream",
        json!({ "StreamName": "s", "ShardCount": 1, "MaxRecordSizeInKiB": 10_240 }),
    );
    client.now += 2_000;
    let put = |client: &Client, size: usize| {
        let data = STANDARD.encode(vec![b'x'; size]);
        let put = json!({ "StreamName": "s", "PartitionKey": "k", "Data": data });
        client.call("PutRecord", put).err().unwrap_or_default()
    };
    let throttled = "ProvisionedThroughputExceededException";
    assert_eq!(put(&client, 5 << 20), "");
    assert_eq!(put(&client, 1), throttled);
    client.now += 3_900;
    assert_eq!(put(&client, 1), throttled);
    client.now += 200;
    assert_eq!(put(&client, 1), "");
}
