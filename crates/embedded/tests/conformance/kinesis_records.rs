//! Kinesis: records, iterators and resharding.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ScalingType, Shard, ShardIteratorType, StreamStatus};

use crate::clients::{Kinesis, TRIES, is_open, range, text};
use crate::suite::{Check, Checked, Facts, Failure, checks, code};

const FIRST: &str = "shardId-000000000000";
const SECOND: &str = "shardId-000000000001";
const THIRD: &str = "shardId-000000000002";

pub(crate) fn all(at: &Kinesis) -> Vec<Check> {
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
        "data and keys come back as they were put" => round_trip,
        "a split closes the parent and opens two children" => split,
        "a stream takes records while it is UPDATING" => put_while_updating,
        "a second split while UPDATING is ResourceInUse" => split_while_updating,
        "a closed shard is not split again" => split_closed,
        "a split outside of the shard is refused" => split_outside,
        "a closed shard ends and names its children" => shard_end,
        "children start after their parent's end" => lineage_order,
        "a merge opens one child with two parents" => merge,
        "shards that are not neighbours are not merged" => merge_apart,
        "UpdateShardCount doubles evenly" => scale_up,
        "UpdateShardCount halves evenly" => scale_down,
        "UpdateShardCount stays between half and double" => scale_bounds,
        "a shard's records are read along two generations" => generations,
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

/// A stream of one shard with a record, split in the middle.
async fn split_stream(at: &Kinesis) -> Result<(String, Vec<Shard>), Failure> {
    let name = at.stream(1).await?;
    at.put(&name, "k", "parent").await?;
    at.split(&name, FIRST, 1 << 127).await?;
    let shards = at.shards(&name).await?;
    Ok((name, shards))
}

async fn split(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, shards) = split_stream(&at).await?;
    facts.same(shards.len(), 3, "shards");
    facts.same(shards.iter().map(is_open).collect(), vec![false, true, true], "open");
    facts.same(range(&shards[1]), (0, (1 << 127) - 1), "the lower child");
    facts.same(range(&shards[2]), (1 << 127, u128::MAX), "the upper child");
    facts.holds(
        shards[1..]
            .iter()
            .all(|child| child.parent_shard_id.as_deref() == Some(FIRST)),
        "the parent's name",
    );
    facts.holds(
        shards[1..].iter().all(|child| child.adjacent_parent_shard_id.is_none()),
        "one parent",
    );
    facts.same(
        at.put_at(&name, 0, "x").await?.shard_id.as_str(),
        SECOND,
        "a record's shard",
    );
    Ok(facts)
}

/// Begins to split the only shard of a new stream.
async fn begin_split(at: &Kinesis) -> Result<String, Failure> {
    let name = at.stream(1).await?;
    let split = at.client.split_shard().stream_name(&name).shard_to_split(FIRST);
    split.new_starting_hash_key((1u128 << 127).to_string()).send().await?;
    Ok(name)
}

async fn put_while_updating(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (mut name, mut seen) = (String::new(), None);
    for _ in 0..TRIES {
        name = begin_split(&at).await?;
        seen = Some(at.status(&name).await?);
        if seen == Some(StreamStatus::Updating) {
            break;
        }
    }
    facts.same(seen, Some(StreamStatus::Updating), "status");
    let put = at.put(&name, "k", "meanwhile").await?;
    at.active(&name).await?;
    let texts = at.texts(&name, &put.shard_id).await?;
    facts.same(texts, vec!["meanwhile".to_owned()], "records");
    Ok(facts)
}

async fn split_while_updating(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let mut refusal = String::new();
    for _ in 0..TRIES {
        let name = begin_split(&at).await?;
        let split = at
            .client
            .split_shard()
            .stream_name(&name)
            .shard_to_split(FIRST)
            .new_starting_hash_key("1000");
        refusal = code(split.send().await);
        // The first split may be over already; then the shard is closed.
        if refusal == "ResourceInUseException" && at.status(&name).await? == StreamStatus::Updating {
            break;
        }
    }
    facts.same(refusal.as_str(), "ResourceInUseException", "SplitShard");
    Ok(facts)
}

async fn split_closed(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = split_stream(&at).await?;
    let split = at
        .client
        .split_shard()
        .stream_name(&name)
        .shard_to_split(FIRST)
        .new_starting_hash_key("1000");
    facts.same(
        code(split.send().await).as_str(),
        "InvalidArgumentException",
        "SplitShard",
    );
    facts.same(at.shards(&name).await?.len(), 3, "shards");
    Ok(facts)
}

async fn split_outside(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    let outside = (u128::MAX - 5).to_string();
    let split = at
        .client
        .split_shard()
        .stream_name(&name)
        .shard_to_split(FIRST)
        .new_starting_hash_key(outside);
    facts.same(
        code(split.send().await).as_str(),
        "InvalidArgumentException",
        "SplitShard",
    );
    facts.same(at.shards(&name).await?.len(), 2, "shards");
    Ok(facts)
}

async fn shard_end(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = split_stream(&at).await?;
    let iterator = at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?;
    let (records, last) = at.drain(iterator).await?;
    facts.same(records.len(), 1, "records");
    facts.same(last.next_shard_iterator.as_deref(), None, "the last iterator");
    let children: Vec<_> = last
        .child_shards()
        .iter()
        .map(|child| (child.shard_id.as_str(), child.parent_shards.len()))
        .collect();
    facts.same(children, vec![(SECOND, 1), (THIRD, 1)], "children");
    Ok(facts)
}

async fn lineage_order(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, shards) = split_stream(&at).await?;
    let iterator = at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?;
    let last = at.drain(iterator).await?.0.pop().ok_or("no record")?.sequence_number;
    let number = |shard: &Shard| {
        shard
            .sequence_number_range
            .clone()
            .map(|r| (r.starting_sequence_number, r.ending_sequence_number))
    };
    let end = number(&shards[0])
        .and_then(|(_, end)| end)
        .ok_or("no ending sequence number")?;
    facts.same(end.len(), 56, "digits of the end");
    facts.holds(last <= end, "the last record is not after the end");
    let starts = shards[1..].iter().filter_map(number).map(|(start, _)| start);
    facts.holds(
        starts.clone().all(|start| start > last),
        "children start after the parent's last record",
    );
    let child = at.put_at(&name, 0, "child").await?.sequence_number;
    facts.holds(child > last, "a child's record comes after the parent's");
    Ok(facts)
}

async fn merge(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    at.put_at(&name, 0, "lower").await?;
    at.merge(&name, FIRST, SECOND).await?;
    let shards = at.shards(&name).await?;
    facts.same(shards.len(), 3, "shards");
    facts.same(shards.iter().map(is_open).collect(), vec![false, false, true], "open");
    facts.same(shards[2].parent_shard_id.as_deref(), Some(FIRST), "parent");
    facts.same(
        shards[2].adjacent_parent_shard_id.as_deref(),
        Some(SECOND),
        "adjacent parent",
    );
    facts.same(range(&shards[2]), (0, u128::MAX), "range");
    let end = at
        .drain(at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?)
        .await?
        .1;
    let children: Vec<_> = end
        .child_shards()
        .iter()
        .map(|child| (child.shard_id.as_str(), child.parent_shards.len()))
        .collect();
    facts.same(children, vec![(THIRD, 2)], "child shards");
    Ok(facts)
}

async fn merge_apart(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(3).await?;
    let merge = at
        .client
        .merge_shards()
        .stream_name(&name)
        .shard_to_merge(FIRST)
        .adjacent_shard_to_merge(THIRD);
    facts.same(
        code(merge.send().await).as_str(),
        "InvalidArgumentException",
        "MergeShards",
    );
    facts.same(at.shards(&name).await?.len(), 3, "shards");
    Ok(facts)
}

async fn scale(at: &Kinesis, name: &str, count: i32) -> String {
    let update = at
        .client
        .update_shard_count()
        .stream_name(name)
        .target_shard_count(count);
    code(update.scaling_type(ScalingType::UniformScaling).send().await)
}

async fn open_ranges(at: &Kinesis, name: &str) -> Result<Vec<(u128, u128)>, Failure> {
    at.active(name).await?;
    let mut open: Vec<_> = at
        .shards(name)
        .await?
        .iter()
        .filter(|shard| is_open(shard))
        .map(range)
        .collect();
    open.sort_unstable();
    Ok(open)
}

async fn scale_up(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    facts.same(scale(&at, &name, 4).await.as_str(), "ok", "UpdateShardCount");
    let open = open_ranges(&at, &name).await?;
    facts.same(open.len(), 4, "open shards");
    facts.holds(
        open.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0),
        "no gap and no overlap",
    );
    facts.holds(
        open.iter()
            .all(|(first, last)| (last - first).abs_diff(u128::MAX / 4) <= 4),
        "even widths",
    );
    let lineage = at.shards(&name).await?;
    facts.holds(
        lineage
            .iter()
            .filter(|shard| is_open(shard))
            .all(|shard| shard.parent_shard_id.is_some()),
        "parents",
    );
    Ok(facts)
}

async fn scale_down(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(4).await?;
    facts.same(scale(&at, &name, 2).await.as_str(), "ok", "UpdateShardCount");
    let open = open_ranges(&at, &name).await?;
    facts.same(open.len(), 2, "open shards");
    facts.holds(
        open.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0),
        "no gap and no overlap",
    );
    facts.holds(
        open.iter()
            .all(|(first, last)| (last - first).abs_diff(u128::MAX / 2) <= 4),
        "even widths",
    );
    Ok(facts)
}

async fn scale_bounds(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(4).await?;
    facts.same(
        scale(&at, &name, 9).await.as_str(),
        "InvalidArgumentException",
        "more than double",
    );
    at.active(&name).await?;
    facts.same(
        scale(&at, &name, 1).await.as_str(),
        "InvalidArgumentException",
        "less than half",
    );
    at.active(&name).await?;
    facts.same(open_ranges(&at, &name).await?.len(), 4, "open shards");
    Ok(facts)
}

async fn generations(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    at.put_at(&name, 0, "1").await?;
    at.split(&name, FIRST, 1 << 127).await?;
    at.put_at(&name, 0, "2").await?;
    at.split(&name, SECOND, 1 << 126).await?;
    at.put_at(&name, 0, "3").await?;
    let (mut shard, mut found) = (FIRST.to_owned(), String::new());
    loop {
        let iterator = at.iterator(&name, &shard, ShardIteratorType::TrimHorizon).await?;
        let (records, last) = at.drain(iterator).await?;
        found.extend(records.iter().map(text));
        let lower = last.child_shards().iter().find(|child| {
            child
                .hash_key_range
                .as_ref()
                .is_some_and(|range| range.starting_hash_key == "0")
        });
        let Some(child) = lower else { break };
        shard.clone_from(&child.shard_id);
    }
    facts.same(found.as_str(), "123", "records");
    Ok(facts)
}
