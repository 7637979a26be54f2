//! An application that begins at LATEST gets every record that came after it joined, whatever happens meanwhile.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use common::scripted::Script;
use common::{Running, until};
use kinex_kcl::ports::{FaultKind, LeaseStore};
use kinex_kcl::{Checkpoint, Epoch, InitialPosition, WorkerEvent};

const RECORDS: usize = 10;

fn at_latest(shards: usize) -> Script {
    let mut script = Script::new(shards);
    script.config.initial_position = InitialPosition::Latest;
    script
}

/// The worker has joined, and reads far beyond its first iterator.
async fn joined(worker: &Running) {
    until("a first read", || worker.handle.status().behind_millis().is_some()).await;
}

fn put(script: &Script) {
    let shard = script.stream.open_shards().remove(0);
    for number in 0..RECORDS {
        script.stream.put_into(&shard, "key", format!("{number}"));
    }
}

async fn all_delivered(script: &Script) {
    until("every record", || script.delivery_log.distinct() == RECORDS).await;
}

fn since(script: &Script) -> Option<i64> {
    let rows = script.store.lease_rows();
    match rows.first().map(|row| &row.checkpoint) {
        Some(Checkpoint::Since(millis)) => Some(*millis),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_before_the_first_checkpoint_survive_the_end_of_their_reader() {
    for (crashes, next) in [(true, "worker-1"), (false, "worker-0")] {
        let script = at_latest(1);
        let worker = script.start("worker-0");
        joined(&worker).await;
        if crashes {
            worker.crash();
        } else {
            worker.leave().await;
        }
        put(&script);
        let worker = script.start(next);
        all_delivered(&script).await;
        worker.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_come_while_a_lease_moves_are_delivered() {
    let script = at_latest(2);
    let first = script.start("worker-0");
    until("both shards", || first.handle.status().holds.len() == 2).await;
    joined(&first).await;
    let second = script.start("worker-1");
    // The row says who has asked; the old owner has not yielded yet.
    until("a hand-off", || {
        let rows = script.store.lease_rows();
        rows.iter()
            .any(|row| row.owner.as_ref().is_some_and(|owner| owner.as_str() == "worker-1"))
    })
    .await;
    let rows = script.store.lease_rows();
    let moving = rows
        .iter()
        .find(|row| row.owner.as_ref().is_some_and(|owner| owner.as_str() == "worker-1"))
        .expect("a lease moves");
    for number in 0..RECORDS {
        script.stream.put_into(&moving.key, "key", format!("{number}"));
    }
    all_delivered(&script).await;
    first.leave().await;
    second.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_shard_goes_on_at_its_first_record_after_a_restart() {
    let mended = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&mended);
    let script = at_latest(1).process(move |_, _| {
        let works = works.load(Ordering::SeqCst);
        async move { if works { Ok(()) } else { Err("broken".into()) } }
    });
    let worker = script.start("worker-0");
    joined(&worker).await;
    put(&script);
    until("a failed call", || {
        worker.saw(|event| matches!(event, WorkerEvent::ProcessorFailed { .. }))
    })
    .await;
    worker.leave().await;
    mended.store(true, Ordering::SeqCst);
    let worker = script.start("worker-0");
    until("ten processed records", || {
        worker.handle.status().records_processed == RECORDS as u64
    })
    .await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_iterator_that_expires_before_the_first_record_skips_none() {
    let script = at_latest(1);
    let worker = script.start("worker-0");
    joined(&worker).await;
    // A long outage: nothing can be read, and the iterator dies of age meanwhile.
    script.stream.fail_next(&[FaultKind::Unreachable, FaultKind::Service]);
    script.stream.expire_iterators();
    put(&script);
    all_delivered(&script).await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_says_latest_is_resolved_by_its_first_reader_and_only_then() {
    let script = at_latest(1);
    let shard = script.stream.open_shards().remove(0);
    let row = kinex_core::lease::Lease::unowned(shard, Checkpoint::Latest, Epoch(7));
    let written = script
        .store
        .write_lease(&kinex_core::lease::LeaseWrite::Create(Box::new(row)))
        .await;
    assert!(written.is_ok());
    let worker = script.start("worker-0");
    joined(&worker).await;
    let resolved = since(&script).expect("the row says a time");
    worker.crash();
    put(&script);
    let worker = script.start("worker-1");
    until("the second reader", || {
        worker.saw(|event| matches!(event, WorkerEvent::ShardStarted { .. }))
    })
    .await;
    assert_eq!(since(&script), Some(resolved), "the first time stands");
    all_delivered(&script).await;
    worker.leave().await;
}

fn wall_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Ten minutes: more than the difference of clocks that AWS accepts.
const SKEW: i64 = 600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_the_stream_decides_what_latest_is() {
    for skew in [-SKEW, SKEW] {
        let script = at_latest(1);
        script.stream.skew_clock(skew);
        let shard = script.stream.open_shards().remove(0);
        script.stream.put_into(&shard, "key", "before");
        let arrived = script.stream.records(&shard)[0].arrived_millis;
        until("the next millisecond", || wall_millis() + skew > arrived).await;
        let worker = script.start("worker-0");
        joined(&worker).await;
        worker.crash();
        put(&script);
        let worker = script.start("worker-1");
        all_delivered(&script).await;
        assert!(!script.delivery_log.times().contains_key("before"), "skew {skew}");
        worker.leave().await;
    }
}
