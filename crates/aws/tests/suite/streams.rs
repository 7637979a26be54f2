//! Streams: changes that are made once, whatever becomes of their answers.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use kinex_aws::{Deleted, Entry, FaultKind, Outcome, StreamIdentity, StreamStatus};
use kinex_core::id::ShardId;
use kinex_core::shard_map::Shard;
use kinex_embedded::{Fault, Rule, Service};
use kinex_kcl::ports::{ReadFrom, StreamReader};
use tokio::task::JoinSet;

use crate::bench::Bench;

fn middle(shard: &Shard) -> u128 {
    shard.hash_range.start + shard.hash_range.width() / 2 + 1
}

async fn figures(bench: &Bench, stream: &str) -> (usize, usize) {
    let shards = bench.clients.streams().shards(stream).await.expect("shards");
    let open = shards.iter().filter(|shard| shard.open).count();
    (shards.len(), open)
}

#[tokio::test]
async fn many_that_create_a_stream_at_once_get_the_same_one() {
    let bench = Bench::start().await;
    let mut creations = JoinSet::new();
    for _ in 0..4 {
        let streams = bench.clients.streams();
        creations.spawn(async move { streams.create("orders", 3).await });
    }
    let made: Result<Vec<_>, _> = creations.join_all().await.into_iter().collect();
    let made = made.expect("all succeed");
    assert!(made.iter().all(|summary| *summary == made[0]), "{made:?}");
    assert_eq!((made[0].status, made[0].open_shards), (StreamStatus::Active, 3));
    assert_eq!(made[0].retention, Duration::from_secs(24 * 3600));
    assert_eq!(bench.clients.streams().list().await.expect("list"), ["orders"]);
}

#[tokio::test]
async fn ten_splits_of_twenty_shards_leave_thirty_open() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    streams.create("orders", 20).await.expect("create");
    let shards = streams.shards("orders").await.expect("shards");
    for shard in &shards[..10] {
        let children = streams.split("orders", &shard.id, middle(shard)).await.expect("split");
        assert_eq!(children.len(), 2, "{children:?}");
    }
    assert_eq!(figures(&bench, "orders").await, (40, 30));
    let summary = streams.describe("orders").await.expect("describe");
    assert_eq!((summary.status, summary.open_shards), (StreamStatus::Active, 30));
}

#[tokio::test]
async fn a_split_whose_answer_is_lost_is_found_and_not_made_twice() {
    for fault in [
        Fault::ReplyLost,
        Fault::ServerErrorAfterCommit,
        Fault::DropBeforeCommit,
        Fault::Throttle,
        Fault::ServerError,
    ] {
        let bench = Bench::start().await;
        let streams = bench.clients.streams();
        streams.create("orders", 2).await.expect("create");
        let shards = streams.shards("orders").await.expect("shards");
        bench
            .endpoints
            .faults()
            .add(Rule::new(Service::Kinesis, "SplitShard", fault.clone()).times(1));
        let children = streams
            .split("orders", &shards[0].id, middle(&shards[0]))
            .await
            .expect("split");
        assert_eq!(children.len(), 2, "{fault:?}: {children:?}");
        assert_eq!(figures(&bench, "orders").await, (4, 3), "{fault:?}");

        bench
            .endpoints
            .faults()
            .add(Rule::new(Service::Kinesis, "MergeShards", fault.clone()).times(1));
        let child = streams
            .merge("orders", &children[0].id, &children[1].id)
            .await
            .expect("merge");
        assert_eq!(child.hash_range, shards[0].hash_range, "{fault:?}");
        assert_eq!(figures(&bench, "orders").await, (5, 2), "{fault:?}");
    }
}

#[tokio::test]
async fn splits_at_once_wait_for_each_other() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    streams.create("orders", 4).await.expect("create");
    let mut splits = JoinSet::new();
    for shard in streams.shards("orders").await.expect("shards") {
        let streams = streams.clone();
        splits.spawn(async move { streams.split("orders", &shard.id, middle(&shard)).await });
    }
    for split in splits.join_all().await {
        assert_eq!(split.expect("split").len(), 2);
    }
    assert_eq!(figures(&bench, "orders").await, (12, 8));
}

async fn check_refused(answer: Result<Vec<Shard>, kinex_aws::Fault>, kind: FaultKind, words: &str) {
    let fault = answer.expect_err("refused");
    assert_eq!(fault.kind, kind, "{fault}");
    assert!(fault.to_string().contains(words), "{fault}");
}

#[tokio::test]
async fn a_split_that_cannot_be_is_refused_with_the_reason() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    streams.create("orders", 2).await.expect("create");
    let shards = streams.shards("orders").await.expect("shards");
    let (first, second) = (&shards[0], &shards[1]);
    let split = |shard: ShardId, at| {
        let streams = streams.clone();
        async move { streams.split("orders", &shard, at).await }
    };
    let outside = split(first.id.clone(), second.hash_range.start).await;
    check_refused(outside, FaultKind::Invalid, "is not inside shardId-000000000000").await;
    let at_start = split(first.id.clone(), first.hash_range.start).await;
    check_refused(at_start, FaultKind::Invalid, "needs a key above the first").await;
    check_refused(
        split("shardId-9".into(), 7).await,
        FaultKind::Missing,
        "has no shard shardId-9",
    )
    .await;
    split(first.id.clone(), middle(first)).await.expect("split");
    check_refused(
        split(first.id.clone(), middle(first)).await,
        FaultKind::Invalid,
        "is closed already",
    )
    .await;
    check_refused(
        streams.split("none", &first.id, 7).await,
        FaultKind::Missing,
        "there is no stream none",
    )
    .await;
    assert_eq!(figures(&bench, "orders").await, (4, 3));
}

#[tokio::test]
async fn shards_that_are_no_neighbors_are_not_merged() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    streams.create("orders", 3).await.expect("create");
    let shards = streams.shards("orders").await.expect("shards");
    let fault = streams
        .merge("orders", &shards[0].id, &shards[2].id)
        .await
        .expect_err("a gap");
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    assert_eq!(figures(&bench, "orders").await, (3, 3));
}

#[tokio::test]
async fn the_number_of_shards_is_changed_once() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    streams.create("orders", 2).await.expect("create");
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::Kinesis, "UpdateShardCount", Fault::ReplyLost).times(1));
    streams.update_shard_count("orders", 4).await.expect("update");
    assert_eq!(figures(&bench, "orders").await.1, 4);
    let asked = bench.endpoints.requests().count(Service::Kinesis, "UpdateShardCount");
    streams.update_shard_count("orders", 4).await.expect("nothing to do");
    assert_eq!(
        bench.endpoints.requests().count(Service::Kinesis, "UpdateShardCount"),
        asked
    );
    let fault = streams.update_shard_count("orders", 0).await.expect_err("none");
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
}

#[tokio::test]
async fn a_stream_made_anew_under_the_same_name_is_another_one() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    streams.create("orders", 1).await.expect("create");
    let reader = bench.clients.reader("orders");
    let first = reader.identity().await.expect("identity");
    let shard = reader.shards().await.expect("shards").remove(0);
    streams.delete("orders").await.expect("delete");
    streams.delete("orders").await.expect("delete what is gone");
    assert_eq!(reader.shards().await.expect_err("gone").kind, FaultKind::Missing);
    streams.create("orders", 1).await.expect("create");
    let second = bench.clients.reader("orders").identity().await.expect("identity");
    assert_ne!(first, second);
    // The stream of now never had that number, and neither is it a shard whose records are gone.
    let position = ReadFrom::At(shard.starts_at.clone());
    let fault = reader.iterator(&shard.id, &position).await.expect_err("another one");
    assert_eq!(fault.kind, FaultKind::StreamReplaced, "{fault}");
    let fault = reader.shards().await.expect_err("another one");
    let mismatch = fault.mismatch().expect("both streams");
    assert_eq!((&mismatch.bound, &mismatch.found), (&first, &second));
}

/// Makes the stream `orders`, and gives it if this very call made it.
async fn made(bench: &Bench) -> Option<StreamIdentity> {
    let told = Mutex::new(None);
    let note = |made| *told.lock().expect("nobody panics with it") = Some(made);
    bench.clients.streams().make("orders", 1, note).await.expect("create");
    told.into_inner().expect("nobody panics with it")
}

#[tokio::test]
async fn stream_is_deleted_by_its_maker_alone() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    let first = made(&bench).await.expect("it was not there");
    assert_eq!(made(&bench).await, None, "it is there");
    assert_eq!(streams.delete_made("orders", None).await.unwrap(), Deleted::Foreign);

    streams.delete("orders").await.expect("delete");
    let second = made(&bench).await.expect("it was not there");
    let kept = streams.delete_made("orders", Some(&first)).await.unwrap();
    assert_eq!(kept, Deleted::Replaced);
    streams.describe("orders").await.expect("it stays");
    for _ in 0..2 {
        let gone = streams.delete_made("orders", Some(&second)).await.unwrap();
        assert_eq!(gone, Deleted::Gone);
    }
}

#[tokio::test]
async fn stream_whose_creation_lost_its_answer_is_nobodys() {
    let bench = Bench::start().await;
    let lost = Rule::new(Service::Kinesis, "CreateStream", Fault::ReplyLost).times(1);
    bench.endpoints.faults().add(lost);
    assert_eq!(made(&bench).await, None);
}

#[tokio::test]
async fn stream_that_cannot_be_described_at_once_is_told_all_the_same() {
    let bench = Bench::start().await;
    // The first look finds no stream, and those behind the creation fail.
    for nth in 2..=9 {
        let failing = Rule::new(Service::Kinesis, "DescribeStreamSummary", Fault::ServerError).nth(nth);
        bench.endpoints.faults().add(failing);
    }
    assert!(made(&bench).await.is_some());
}

#[tokio::test]
async fn patience_has_an_end() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams().patience(Duration::from_millis(200));
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::Kinesis, "CreateStream", Fault::Throttle));
    let fault = streams.create("orders", 1).await.expect_err("never");
    assert_eq!(fault.kind, FaultKind::Throttled, "{fault}");
}

#[tokio::test]
async fn every_record_has_its_own_outcome_and_nothing_is_sent_twice() {
    let bench = Bench::start().await;
    bench.clients.streams().create("orders", 2).await.expect("create");
    let sender = bench.clients.sender("orders");
    let entry = |key: &str, hash| Entry {
        key: key.into(),
        explicit_hash_key: hash,
        data: Bytes::from_static(b"data"),
    };
    let entries = [entry("a", Some(0)), entry("b", Some(u128::MAX)), entry("c", None)];
    let outcomes = sender.put_records(&entries).await.expect("put");
    let shards: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Taken { shard, .. } => shard.as_str(),
            Outcome::Refused { message, .. } => panic!("{message}"),
        })
        .collect();
    assert_eq!(shards[..2], ["shardId-000000000000", "shardId-000000000001"]);
    assert_eq!(shards.len(), 3);

    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::Kinesis, "PutRecords", Fault::ReplyLost).times(1));
    let before = bench.endpoints.requests().count(Service::Kinesis, "PutRecords");
    let fault = sender.put_records(&entries).await.expect_err("nothing is known");
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    assert_eq!(
        bench.endpoints.requests().count(Service::Kinesis, "PutRecords"),
        before + 1
    );
    let too_many: Vec<_> = (0..501).map(|_| entry("a", None)).collect();
    let fault = sender.put_records(&too_many).await.expect_err("501");
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
}
