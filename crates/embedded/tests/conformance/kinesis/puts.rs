//! Records: put.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};

use super::{FIRST, SECOND, THIRD};
use crate::clients::Kinesis;
use crate::suite::{Check, Checked, Facts, Failure, checks, code};

pub(super) fn all(at: &Kinesis) -> Vec<Check> {
    checks![at;
        "a record goes to the shard of its key's MD5" => by_md5,
        "an explicit hash key decides instead" => explicit_hash_key,
        "a hash key of 2^128 is refused" => hash_key_bounds,
        "sequence numbers have 56 digits and rise" => sequence_numbers,
        "PutRecords answers record by record" => put_records,
        "PutRecords takes 500 records at most" => put_records_bounds,
        "a record has 1 MiB at most" => record_bounds,
        "a partition key has 1 to 256 characters" => key_bounds,
        "nothing is put to a missing stream" => put_missing,
        "data and keys come back as they were put" => round_trip,
    ]
}

async fn by_md5(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(4).await?;
    // MD5("a") = 0cc1..., MD5("b") = 92eb...
    facts.same(at.put(&name, "a", "").await?.shard_id.as_str(), FIRST, "a");
    facts.same(at.put(&name, "b", "").await?.shard_id.as_str(), THIRD, "b");
    Ok(facts)
}

async fn explicit_hash_key(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    facts.same(at.put_at(&name, 0, "").await?.shard_id.as_str(), FIRST, "the first key");
    facts.same(
        at.put_at(&name, u128::MAX, "").await?.shard_id.as_str(),
        SECOND,
        "the last key",
    );
    Ok(facts)
}

async fn hash_key_bounds(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let above = "340282366920938463463374607431768211456";
    let put = at
        .client
        .put_record()
        .stream_name(&name)
        .partition_key("k")
        .explicit_hash_key(above);
    facts.same(
        code(put.data(Blob::new("")).send().await).as_str(),
        "InvalidArgumentException",
        "2^128",
    );
    Ok(facts)
}

async fn sequence_numbers(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let mut numbers = Vec::new();
    for n in 0..5 {
        numbers.push(at.put(&name, "k", &n.to_string()).await?.sequence_number);
    }
    facts.holds(numbers.iter().all(|number| number.len() == 56), "56 digits");
    facts.holds(numbers.windows(2).all(|pair| pair[0] < pair[1]), "rising");
    let read = at
        .drain(at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?)
        .await?
        .0;
    facts.same(
        read.into_iter().map(|record| record.sequence_number).collect(),
        numbers,
        "the same when read",
    );
    Ok(facts)
}

fn entry(key: &str, data: impl Into<Vec<u8>>) -> Result<PutRecordsRequestEntry, Failure> {
    Ok(PutRecordsRequestEntry::builder()
        .partition_key(key)
        .data(Blob::new(data))
        .build()?)
}

async fn put_records(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(4).await?;
    let mut put = at.client.put_records().stream_name(&name);
    for key in ["a", "b", "a", "b"] {
        put = put.records(entry(key, key)?);
    }
    let answer = put.send().await?;
    facts.same(answer.failed_record_count, Some(0), "failed");
    let shards: Vec<_> = answer
        .records
        .iter()
        .filter_map(|record| record.shard_id.as_deref())
        .collect();
    facts.same(shards, vec![FIRST, THIRD, FIRST, THIRD], "shards");
    facts.holds(
        answer.records[0].sequence_number < answer.records[2].sequence_number,
        "in order",
    );
    Ok(facts)
}

async fn put_records_bounds(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let put = async |count: usize| -> Result<String, Failure> {
        let entries = (0..count).map(|_| entry("k", "x")).collect::<Result<Vec<_>, _>>()?;
        Ok(code(
            at.client
                .put_records()
                .stream_name(&name)
                .set_records(Some(entries))
                .send()
                .await,
        ))
    };
    facts.same(put(500).await?.as_str(), "ok", "500");
    facts.same(put(501).await?.as_str(), "ValidationException", "501");
    Ok(facts)
}

async fn record_bounds(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let put = async |size: usize| {
        let data = Blob::new(vec![b'x'; size]);
        code(
            at.client
                .put_record()
                .stream_name(&name)
                .partition_key("k")
                .data(data)
                .send()
                .await,
        )
    };
    facts.same(put((1 << 20) - 1).await.as_str(), "ok", "1 MiB with its key");
    // The documentation names no error for this.
    let refused = ["InvalidArgumentException", "ValidationException"];
    facts.holds(
        refused.contains(&put((1 << 20) + 1).await.as_str()),
        "more than 1 MiB is refused",
    );
    Ok(facts)
}

async fn key_bounds(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let put = async |key: String| {
        code(
            at.client
                .put_record()
                .stream_name(&name)
                .partition_key(key)
                .data(Blob::new("x"))
                .send()
                .await,
        )
    };
    facts.same(put("ü".repeat(256)).await.as_str(), "ok", "256 characters");
    facts.same(
        put("x".repeat(257)).await.as_str(),
        "ValidationException",
        "257 characters",
    );
    facts.same(put(String::new()).await.as_str(), "ValidationException", "none");
    Ok(facts)
}

async fn put_missing(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let gone = "ResourceNotFoundException";
    let one = at
        .client
        .put_record()
        .stream_name("none")
        .partition_key("k")
        .data(Blob::new("x"))
        .send()
        .await;
    facts.same(code(one).as_str(), gone, "PutRecord");
    let many = at
        .client
        .put_records()
        .stream_name("none")
        .records(entry("k", "x")?)
        .send()
        .await;
    facts.same(code(many).as_str(), gone, "PutRecords");
    Ok(facts)
}

async fn round_trip(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let bytes: Vec<u8> = (0..=255).cycle().take(70_001).collect();
    let put = at
        .client
        .put_record()
        .stream_name(&name)
        .partition_key("schlüssel \" \\ 鍵");
    put.data(Blob::new(bytes.clone())).send().await?;
    at.put(&name, "empty", "").await?;
    let records = at
        .drain(at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?)
        .await?
        .0;
    facts.holds(records[0].data.as_ref() == bytes, "data");
    facts.same(records[0].partition_key.as_deref(), Some("schlüssel \" \\ 鍵"), "key");
    facts.holds(records[1].data.as_ref().is_empty(), "empty data");
    Ok(facts)
}
