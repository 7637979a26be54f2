//! Records: iterators and reads.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;

use super::{FIRST, SECOND};
use crate::clients::{Kinesis, text};
use crate::suite::{Check, Checked, Facts, Failure, checks, code};

pub(super) fn all(at: &Kinesis) -> Vec<Check> {
    checks![at;
        "TRIM_HORIZON reads from the first record on" => trim_horizon,
        "LATEST reads what comes after" => latest,
        "AT_ and AFTER_SEQUENCE_NUMBER read from there on" => by_sequence_number,
        "AT_TIMESTAMP reads from that time on" => by_timestamp,
        "a sequence number of another shard is refused" => foreign_sequence_number,
        "an iterator of a missing shard is ResourceNotFound" => missing_shard,
        "a made-up iterator is InvalidArgument" => made_up_iterator,
        "GetRecords keeps its limit and goes on without a gap" => get_pages,
        "MillisBehindLatest is zero at the tip only" => millis_behind,
        "an empty open shard gives an iterator that goes on" => empty_shard,
        "arrival times are about now and do not fall" => arrival_times,
    ]
}

/// A stream of one shard with the records 0 to 4.
async fn filled(at: &Kinesis) -> Result<(String, Vec<String>), Failure> {
    let name = at.stream(1).await?;
    let mut numbers = Vec::new();
    for n in 0..5 {
        numbers.push(at.put(&name, "k", &n.to_string()).await?.sequence_number);
    }
    Ok((name, numbers))
}

async fn trim_horizon(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = filled(&at).await?;
    facts.same(at.texts(&name, FIRST).await?.join(" ").as_str(), "0 1 2 3 4", "records");
    Ok(facts)
}

async fn latest(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = filled(&at).await?;
    let iterator = at.iterator(&name, FIRST, ShardIteratorType::Latest).await?;
    at.put(&name, "k", "5").await?;
    let texts: Vec<_> = at.drain(iterator).await?.0.iter().map(text).collect();
    facts.same(texts.join(" ").as_str(), "5", "records");
    Ok(facts)
}

async fn by_sequence_number(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, numbers) = filled(&at).await?;
    let read = async |kind| -> Result<String, Failure> {
        let ask = at
            .client
            .get_shard_iterator()
            .stream_name(&name)
            .shard_id(FIRST)
            .shard_iterator_type(kind);
        let iterator = ask
            .starting_sequence_number(&numbers[2])
            .send()
            .await?
            .shard_iterator
            .ok_or("none")?;
        Ok(at
            .drain(iterator)
            .await?
            .0
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(" "))
    };
    facts.same(read(ShardIteratorType::AtSequenceNumber).await?.as_str(), "2 3 4", "at");
    facts.same(
        read(ShardIteratorType::AfterSequenceNumber).await?.as_str(),
        "3 4",
        "after",
    );
    Ok(facts)
}

async fn by_timestamp(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    at.put(&name, "k", "early").await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let between = DateTime::from(SystemTime::now());
    tokio::time::sleep(Duration::from_millis(20)).await;
    at.put(&name, "k", "late").await?;
    let read = async |time| -> Result<String, Failure> {
        let ask = at
            .client
            .get_shard_iterator()
            .stream_name(&name)
            .shard_id(FIRST)
            .timestamp(time);
        let ask = ask.shard_iterator_type(ShardIteratorType::AtTimestamp);
        let iterator = ask.send().await?.shard_iterator.ok_or("none")?;
        Ok(at
            .drain(iterator)
            .await?
            .0
            .iter()
            .map(text)
            .collect::<Vec<_>>()
            .join(" "))
    };
    facts.same(read(between).await?.as_str(), "late", "between");
    facts.same(
        read(DateTime::from_secs(1_000)).await?.as_str(),
        "early late",
        "long ago",
    );
    Ok(facts)
}

async fn foreign_sequence_number(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    let number = at.put_at(&name, 0, "x").await?.sequence_number;
    let ask = async |shard: &str, number: &str| {
        let ask = at
            .client
            .get_shard_iterator()
            .stream_name(&name)
            .shard_id(shard)
            .starting_sequence_number(number);
        code(
            ask.shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .send()
                .await,
        )
    };
    facts.same(ask(FIRST, &number).await.as_str(), "ok", "its own");
    facts.same(
        ask(SECOND, &number).await.as_str(),
        "InvalidArgumentException",
        "another shard's",
    );
    facts.same(ask(FIRST, "123").await.as_str(), "InvalidArgumentException", "made up");
    Ok(facts)
}

async fn missing_shard(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let ask = at
        .client
        .get_shard_iterator()
        .stream_name(&name)
        .shard_id("shardId-000000000009");
    let ask = ask.shard_iterator_type(ShardIteratorType::Latest).send().await;
    facts.same(code(ask).as_str(), "ResourceNotFoundException", "GetShardIterator");
    Ok(facts)
}

async fn made_up_iterator(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let asked = at.client.get_records().shard_iterator("bWFkZSB1cA==").send().await;
    facts.same(code(asked).as_str(), "InvalidArgumentException", "GetRecords");
    Ok(facts)
}

async fn get_pages(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = filled(&at).await?;
    let mut iterator = at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?;
    let mut pages = Vec::new();
    for _ in 0..3 {
        let answer = at
            .client
            .get_records()
            .shard_iterator(&iterator)
            .limit(2)
            .send()
            .await?;
        pages.push(answer.records.iter().map(text).collect::<String>());
        iterator = answer.next_shard_iterator.ok_or("no iterator")?;
    }
    facts.same(pages.join(" ").as_str(), "01 23 4", "pages");
    let again = at
        .get(&at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?)
        .await?;
    facts.same(again.records.len(), 5, "without a limit");
    let refused = at
        .client
        .get_records()
        .shard_iterator(&iterator)
        .limit(10_001)
        .send()
        .await;
    facts.same(code(refused).as_str(), "InvalidArgumentException", "a limit of 10,001");
    Ok(facts)
}

async fn millis_behind(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = filled(&at).await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let iterator = at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?;
    let behind = at
        .client
        .get_records()
        .shard_iterator(&iterator)
        .limit(2)
        .send()
        .await?;
    facts.holds(
        behind
            .millis_behind_latest
            .is_some_and(|millis| (1..60_000).contains(&millis)),
        "behind",
    );
    let tip = at.client.get_records().shard_iterator(&iterator).send().await?;
    facts.same(tip.millis_behind_latest, Some(0), "at the tip");
    Ok(facts)
}

async fn empty_shard(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let answer = at
        .get(&at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?)
        .await?;
    facts.holds(answer.records.is_empty() && answer.child_shards().is_empty(), "nothing");
    let next = answer.next_shard_iterator.ok_or("no iterator")?;
    at.put(&name, "k", "first").await?;
    facts.same(at.get(&next).await?.records.len(), 1, "what comes later");
    Ok(facts)
}

async fn arrival_times(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let before = DateTime::from(SystemTime::now() - Duration::from_secs(1)).as_secs_f64();
    let (name, _) = filled(&at).await?;
    let after = DateTime::from(SystemTime::now() + Duration::from_secs(1)).as_secs_f64();
    let records = at
        .drain(at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?)
        .await?
        .0;
    let times: Vec<f64> = records
        .iter()
        .filter_map(|record| record.approximate_arrival_timestamp.map(|time| time.as_secs_f64()))
        .collect();
    facts.same(times.len(), 5, "times");
    facts.holds(times.is_sorted(), "not falling");
    facts.holds(times.iter().all(|time| (before..after).contains(time)), "about now");
    Ok(facts)
}
