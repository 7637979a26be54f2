//! Reading over links that are slow or break, from services that reject, next to processors that hang.

mod common;

use std::time::{Duration, Instant};

use common::scripted::Script;
use common::{Running, until};
use kinex_kcl::memory::Link;
use kinex_kcl::ports::FaultKind;
use kinex_kcl::{HoldState, InitialPosition};

const MIB: usize = 1024 * 1024;

/// A payload that begins with its number.
fn payload(number: usize, bytes: usize) -> Vec<u8> {
    let mut data = format!("{number} ").into_bytes();
    data.resize(bytes, b'.');
    data
}

fn requests(worker: &Running, request: &'static str, outcome: &'static str) -> u64 {
    let requests = worker.handle.status().requests;
    requests.get(&(request, outcome)).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_iterator_is_kept_over_every_failure_that_says_nothing_about_it() {
    let mut script = Script::new(1);
    script.config.initial_position = InitialPosition::Latest;
    let worker = script.start("worker-0");
    until("a first read", || worker.handle.status().behind_millis().is_some()).await;
    let kinds = [
        (FaultKind::Rejected, "rejected"),
        (FaultKind::Denied, "denied"),
        (FaultKind::Unreachable, "unreachable"),
        (FaultKind::Incomplete, "incomplete"),
        (FaultKind::Service, "service"),
        (FaultKind::Throttled, "throttled"),
    ];
    for (round, (kind, outcome)) in kinds.into_iter().enumerate() {
        script.stream.fail_reads(Some(kind));
        until(outcome, || requests(&worker, "GetRecords", outcome) > 0).await;
        for number in 0..5 {
            script.stream.put("key", format!("{kind:?} {number}"));
        }
        let failed = requests(&worker, "GetRecords", outcome);
        until(outcome, || requests(&worker, "GetRecords", outcome) > failed).await;
        script.stream.fail_reads(None);
        until("every record", || script.delivery_log.distinct() == 5 * (round + 1)).await;
    }
    assert_eq!(requests(&worker, "GetShardIterator", "ok"), 1);
    assert_eq!(script.delivery_log.duplicates(), 0);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_is_rejected_is_made_again_once_a_second_at_most() {
    let script = Script::new(1);
    script.stream.fail_reads(Some(FaultKind::Rejected));
    let worker = script.start("worker-0");
    until("a first rejection", || requests(&worker, "GetRecords", "rejected") > 0).await;
    let (start, first) = (Instant::now(), requests(&worker, "GetRecords", "rejected"));
    until("two more", || requests(&worker, "GetRecords", "rejected") >= first + 2).await;
    // A second after the first one, two more after the second; the first was seen a little late.
    assert!(start.elapsed() > Duration::from_millis(2_500), "{:?}", start.elapsed());
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iterators_that_are_never_worth_anything_are_asked_for_more_and_more_seldom() {
    let script = Script::new(1);
    script.stream.fail_reads(Some(FaultKind::Invalid));
    let worker = script.start("worker-0");
    until("two iterators", || requests(&worker, "GetShardIterator", "ok") >= 2).await;
    let start = Instant::now();
    until("two more", || requests(&worker, "GetShardIterator", "ok") >= 4).await;
    assert!(start.elapsed() > Duration::from_millis(2_500), "{:?}", start.elapsed());
    script.stream.put("key", "after all");
    script.stream.fail_reads(None);
    until("the record", || script.delivery_log.distinct() == 1).await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_that_break_off_are_asked_for_smaller_until_they_come() {
    let script = Script::new(1);
    for number in 0..20 {
        script.stream.put("key", payload(number, 200_000));
    }
    script.stream.link(Link {
        response_max: Some(500_000),
        ..Link::default()
    });
    let worker = script.start("worker-0");
    until("every record", || script.delivery_log.distinct() == 20).await;
    assert!(requests(&worker, "GetRecords", "incomplete") > 0);
    assert_eq!(requests(&worker, "GetShardIterator", "ok"), 1);
    assert_eq!(script.delivery_log.duplicates(), 0);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_come_too_late_are_asked_for_smaller_until_they_come_in_time() {
    let mut script = Script::new(1);
    script.config.read_timeout = Duration::from_millis(500);
    for number in 0..20 {
        script.stream.put("key", payload(number, 200_000));
    }
    // All of them together would take two seconds.
    script.stream.link(Link {
        bytes_per_second: Some(2_000_000),
        ..Link::default()
    });
    let worker = script.start("worker-0");
    until("every record", || script.delivery_log.distinct() == 20).await;
    assert!(requests(&worker, "GetRecords", "incomplete") > 0);
    assert_eq!(script.delivery_log.duplicates(), 0);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_may_take_longer_than_any_other_request() {
    let mut script = Script::new(1);
    script.config.request_timeout = Duration::from_millis(200);
    script.stream.put("key", "slow");
    script.stream.link(Link {
        latency: Duration::from_millis(600),
        ..Link::default()
    });
    let worker = script.start("worker-0");
    until("the record", || script.delivery_log.distinct() == 1).await;
    assert_eq!(requests(&worker, "GetRecords", "incomplete"), 0);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_whose_processors_hang_starve_no_other() {
    let mut script = Script::new(3).process(|batch, _| async move {
        if batch.records[0].data.len() > 100 {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    script.config.memory_max = 10 * MIB;
    script.config.batch_records_max = 2;
    let shards = script.stream.open_shards();
    for number in 0..40 {
        for shard in &shards[..2] {
            script.stream.put_into(shard, "key", payload(number, 1_000_000));
        }
    }
    let worker = script.start("worker-0");
    until("two hung processors", || script.delivery_log.distinct() >= 2).await;
    script.stream.put_into(&shards[2], "key", "third");
    until("the record of the third shard", || {
        script.delivery_log.times().contains_key("third")
    })
    .await;
    worker.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_shards_do_not_wait_for_each_others_reads() {
    let mut script = Script::new(60);
    script.config.memory_max = 10 * MIB;
    script.stream.link(Link {
        latency: Duration::from_millis(300),
        ..Link::default()
    });
    let worker = script.start("worker-0");
    until("half of the shards to be read at the same time", || {
        script.stream.reads_at_once_max() >= 30
    })
    .await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_processor_shows_in_the_gauges_and_in_the_state() {
    let script = Script::new(1).process(|_, _| std::future::pending());
    let shard = script.stream.open_shards().remove(0);
    script.stream.put("key", "hangs");
    let worker = script.start("worker-0");
    until("the hung call", || script.delivery_log.distinct() == 1).await;
    let status = || worker.handle.status();
    until("ten seconds behind", || status().behind() >= Duration::from_secs(10)).await;
    until("ten seconds in the call", || {
        status().since_processed() >= Duration::from_secs(10)
    })
    .await;
    assert_eq!(status().holds[&shard].state, HoldState::Blocked);
    assert_eq!(status().stalled(), None, "the process itself is in order");
    assert_eq!(status().unreadable(), 0);
    worker.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_fail_show_within_ten_seconds_and_go_with_the_first_good_one() {
    let script = Script::new(2);
    let worker = script.start("worker-0");
    let status = || worker.handle.status();
    until("a first read of both", || {
        status().holds.len() == 2 && status().holds.values().all(|hold| hold.behind_millis.is_some())
    })
    .await;
    assert_eq!(status().unreadable(), 0);
    script.stream.fail_reads(Some(FaultKind::Rejected));
    let start = Instant::now();
    until("both to be unreadable", || status().unreadable() == 2).await;
    assert!(start.elapsed() > Duration::from_secs(8), "a failure or two are no news");
    let seen = status();
    let since = seen.since_read();
    assert!(since >= Duration::from_secs(10) && seen.behind() >= since, "{seen:?}");
    assert_eq!(seen.stalled(), None, "the process itself is in order");
    script.stream.fail_reads(None);
    until("both to be read again", || status().unreadable() == 0).await;
    worker.leave().await;
}
