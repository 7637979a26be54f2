//! Reading: order, places, ends.

use std::collections::BTreeMap;

use bytes::Bytes;
use kinex_core::id::{SequenceNumber, ShardId};

use super::StreamBench;
use crate::ports::{FaultKind, RawRecord, ReadFrom, ShardIterator, StreamReader};

/// Reads until nothing new came for a while; says whether the shard has ended and names its children.
async fn drain(reader: &impl StreamReader, shard: &ShardId, from: ReadFrom, wanted: usize) -> (Vec<RawRecord>, bool) {
    let mut records = Vec::new();
    let mut next = Some(reader.iterator(shard, &from).await.expect("iterator"));
    let mut quiet = 0;
    while let Some(iterator) = next.take() {
        let batch = reader.read(&iterator, 10_000).await.expect("read");
        quiet = if batch.records.is_empty() { quiet + 1 } else { 0 };
        records.extend(batch.records);
        next = batch.next;
        if next.is_none() {
            return (records, true);
        }
        if records.len() >= wanted && quiet >= 1 || quiet > 50 {
            break;
        }
    }
    (records, false)
}

pub(super) async fn records_come_in_order_from_every_place(bench: &impl StreamBench) {
    let reader = bench.stream(2).await;
    let mut put: BTreeMap<ShardId, Vec<SequenceNumber>> = BTreeMap::new();
    for number in 0..40 {
        let data = Bytes::from(format!("record {number}"));
        let (shard, sequence) = bench.put(&reader, &format!("key-{number}"), data).await;
        put.entry(shard).or_default().push(sequence);
    }
    let mut shards: Vec<_> = reader
        .shards()
        .await
        .expect("shards")
        .into_iter()
        .map(|shard| shard.id)
        .collect();
    shards.sort();
    assert_eq!(
        shards,
        put.keys().cloned().collect::<Vec<_>>(),
        "forty keys hit both shards"
    );
    for (shard, sequences) in &put {
        let middle = sequences.len() / 2;
        for (from, expected) in [
            (ReadFrom::TrimHorizon, &sequences[..]),
            (ReadFrom::At(sequences[middle].clone()), &sequences[middle..]),
            (ReadFrom::After(sequences[middle].clone()), &sequences[middle + 1..]),
            (ReadFrom::Latest, &[]),
            (ReadFrom::AtTimestamp(0), &sequences[..]),
        ] {
            let (records, ended) = drain(&reader, shard, from.clone(), expected.len()).await;
            let found: Vec<_> = records.iter().map(|record| record.sequence.clone()).collect();
            assert_eq!(found, expected, "{shard} from {from:?}");
            assert!(!ended, "{shard} is open");
        }
        let (records, _) = drain(&reader, shard, ReadFrom::TrimHorizon, sequences.len()).await;
        for record in records {
            let number = record
                .partition_key
                .as_deref()
                .and_then(|key| key.strip_prefix("key-"))
                .expect("the key that was put");
            assert_eq!(record.data, Bytes::from(format!("record {number}")));
            assert!(record.arrived_millis > 0);
        }
    }
}

pub(super) async fn a_batch_has_no_more_than_asked_for(bench: &impl StreamBench) {
    let reader = bench.stream(1).await;
    let mut shard = None;
    for number in 0..5 {
        shard = Some(bench.put(&reader, "key", Bytes::from(format!("{number}"))).await.0);
    }
    let shard = shard.expect("five records");
    let mut found = Vec::new();
    let mut next = reader.iterator(&shard, &ReadFrom::TrimHorizon).await.expect("iterator");
    for _ in 0..50 {
        let batch = reader.read(&next, 2).await.expect("read");
        assert!(batch.records.len() <= 2);
        found.extend(batch.records.into_iter().map(|record| record.data));
        next = batch.next.expect("the shard is open");
        if found.len() == 5 {
            break;
        }
    }
    assert_eq!(found, ["0", "1", "2", "3", "4"]);
}

pub(super) async fn a_closed_shard_ends_behind_its_last_record(bench: &impl StreamBench) {
    let reader = bench.stream(1).await;
    let (parent, last) = bench.put(&reader, "key", Bytes::from_static(b"before")).await;
    let behind: ShardIterator = reader
        .iterator(&parent, &ReadFrom::After(last))
        .await
        .expect("iterator");
    bench.split(&reader, &parent).await;

    let shards = reader.shards().await.expect("shards");
    let (open, closed): (Vec<_>, Vec<_>) = shards.iter().partition(|shard| shard.open);
    assert_eq!(closed.iter().map(|shard| &shard.id).collect::<Vec<_>>(), [&parent]);
    assert_eq!(open.len(), 2, "a split makes two: {shards:?}");
    for child in &open {
        assert_eq!(child.parents().collect::<Vec<_>>(), [&parent]);
    }
    let mut ranges: Vec<_> = open.iter().map(|child| child.hash_range).collect();
    ranges.sort();
    assert_eq!(
        (ranges[0].start, ranges[1].end),
        (closed[0].hash_range.start, closed[0].hash_range.end)
    );
    assert_eq!(ranges[0].end + 1, ranges[1].start, "no hole and no overlap");

    let (records, ended) = drain(&reader, &parent, ReadFrom::TrimHorizon, usize::MAX).await;
    assert_eq!(records.len(), 1);
    assert!(ended, "a closed shard ends");
    let children = ended_children(&reader, behind).await;
    let ids = open.iter().map(|child| child.id.clone()).collect();
    assert!(
        children.is_empty() || children == ids,
        "named are all children or none: {children:?}"
    );

    let (child, _) = bench.put(&reader, "key", Bytes::from_static(b"after")).await;
    assert_ne!(child, parent, "a closed shard takes nothing");
    let (records, ended) = drain(&reader, &child, ReadFrom::TrimHorizon, 1).await;
    assert_eq!(
        records.iter().map(|record| &record.data[..]).collect::<Vec<_>>(),
        [b"after"]
    );
    assert!(!ended);
}

async fn ended_children(reader: &impl StreamReader, mut next: ShardIterator) -> std::collections::BTreeSet<ShardId> {
    for _ in 0..50 {
        let batch = reader.read(&next, 100).await.expect("read");
        match batch.next {
            Some(iterator) => next = iterator,
            None => return batch.children.into_iter().map(|child| child.id).collect(),
        }
    }
    panic!("a closed shard has no end");
}

pub(super) async fn a_merged_shard_names_both_parents(bench: &impl StreamBench) {
    let reader = bench.stream(2).await;
    let mut shards = reader.shards().await.expect("shards");
    shards.sort_by_key(|shard| shard.hash_range.start);
    bench.merge(&reader, &shards[0].id, &shards[1].id).await;
    let merged = reader
        .shards()
        .await
        .expect("shards")
        .into_iter()
        .find(|shard| shard.open)
        .expect("an open shard");
    let mut parents: Vec<_> = merged.parents().cloned().collect();
    parents.sort();
    let mut expected: Vec<_> = shards.iter().map(|shard| shard.id.clone()).collect();
    expected.sort();
    assert_eq!(parents, expected);
    assert_eq!(merged.hash_range.start, shards[0].hash_range.start);
    assert_eq!(merged.hash_range.end, shards[1].hash_range.end);
}

pub(super) async fn what_is_not_there_is_missing_or_invalid(bench: &impl StreamBench) {
    let reader = bench.stream(1).await;
    let fault = reader
        .iterator(&ShardId::from("shardId-000000009999"), &ReadFrom::TrimHorizon)
        .await
        .expect_err("no shard");
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
}
