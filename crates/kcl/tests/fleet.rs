//! Several workers share the shards of a stream.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Fleet, until};
use kinex_kcl::memory::{InjectedFault, MemoryStore};
use kinex_kcl::ports::FaultKind;
use kinex_kcl::{Checkpoint, Departure, RenewalMode, StopReason, WorkerEvent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_reads_every_record_and_leaves_its_checkpoints_behind() {
    let mut fleet = Fleet::new(3);
    fleet.put(0, 100);
    fleet.add("worker-0");
    fleet.all_delivered(100).await;
    fleet.put(100, 100);
    fleet.all_delivered(200).await;
    let store = fleet.store.clone();
    let last = fleet.stream.positions();
    let delivery_log = fleet.delivery_log.clone();
    assert_eq!(fleet.leave().await, [].into());
    assert_eq!(delivery_log.duplicates(), 0);
    for row in store.lease_rows() {
        assert_eq!(row.owner, None, "{} is given up", row.key);
        let last = last[&row.key].last().expect("two hundred records hit every shard");
        assert_eq!(row.checkpoint, Checkpoint::At(last.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_share_twenty_shards_seven_seven_six() {
    let mut fleet = Fleet::new(20);
    for name in ["worker-0", "worker-1", "worker-2"] {
        fleet.add(name);
    }
    fleet.settle(&[6, 7, 7]).await;
    fleet.put(0, 500);
    fleet.all_delivered(500).await;
    let status = fleet.workers[0].handle.status();
    until("the imbalance of the workers' rows", || {
        fleet
            .workers
            .iter()
            .all(|worker| worker.handle.status().imbalance() == Some(1))
    })
    .await;
    assert_eq!(status.workers.len(), 3);
    assert_eq!(status.holds.len(), fleet.workers[0].handle.status().holds.len());
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_new_workers_even_out_thirty_leases_with_the_fewest_moves_and_no_duplicate() {
    let mut fleet = Fleet::new(30);
    for name in ["worker-0", "worker-1", "worker-2"] {
        fleet.add(name);
    }
    fleet.settle(&[10, 10, 10]).await;
    fleet.put(0, 300);
    fleet.all_delivered(300).await;
    fleet.add("worker-3");
    fleet.add("worker-4");
    fleet.put(300, 300);
    fleet.settle(&[6, 6, 6, 6, 6]).await;
    fleet.put(600, 300);
    fleet.all_delivered(900).await;
    let moves = |event: &WorkerEvent| matches!(event, WorkerEvent::LeaseMoved { from: Some(_), .. });
    let moved: usize = fleet.workers.iter().map(|worker| worker.count(moves)).sum();
    assert_eq!(moved, 12, "each lease moves once, and only those that must");
    assert_eq!(fleet.delivery_log.duplicates(), 0);
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leases_of_a_worker_that_vanished_go_to_the_others() {
    let mut fleet = Fleet::new(12);
    for name in ["worker-0", "worker-1", "worker-2"] {
        fleet.add(name);
    }
    fleet.settle(&[4, 4, 4]).await;
    fleet.workers.remove(1).crash();
    fleet.put(0, 200);
    fleet.settle(&[6, 6]).await;
    fleet.all_delivered(200).await;
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_hands_over_without_a_duplicate() {
    let mut fleet = Fleet::new(10);
    for name in ["worker-0", "worker-1"] {
        fleet.add(name);
    }
    fleet.settle(&[5, 5]).await;
    fleet.put(0, 200);
    let leaver = fleet.workers.remove(0);
    let events = Arc::clone(&leaver.events);
    assert_eq!(leaver.leave().await.hung, [].into());
    fleet.put(200, 200);
    fleet.settle(&[10]).await;
    fleet.all_delivered(400).await;
    assert_eq!(fleet.delivery_log.duplicates(), 0);
    let lost = |event: &WorkerEvent| {
        matches!(
            event,
            WorkerEvent::ShardStopped {
                reason: StopReason::Lost | StopReason::Evicted,
                ..
            }
        )
    };
    assert!(!events.lock().unwrap().iter().any(lost), "nothing was lost on the way");
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_read_and_finished_parents_go() {
    let mut fleet = Fleet::new(4);
    for name in ["worker-0", "worker-1"] {
        fleet.add(name);
    }
    fleet.settle(&[2, 2]).await;
    fleet.put(0, 100);
    let open = fleet.stream.open_shards();
    let (child, _) = fleet.stream.split(&open[0]);
    fleet.stream.split(&open[1]);
    fleet.stream.split(&child);
    fleet.stream.merge(&open[2], &open[3]);
    fleet.put(100, 200);
    fleet.all_delivered(300).await;
    let open = fleet.stream.open_shards();
    until("rows of the open shards only", || {
        fleet
            .store
            .lease_rows()
            .into_iter()
            .map(|row| row.key)
            .collect::<Vec<_>>()
            == open
    })
    .await;
    fleet.settle(&[3, 3]).await;
    assert_eq!(fleet.delivery_log.duplicates(), 0);
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_the_same_name_does_not_start() {
    let mut fleet = Fleet::new(2);
    fleet.add("worker-0");
    fleet.settle(&[2]).await;
    fleet.add("worker-0");
    let second = fleet.workers.pop().expect("two workers");
    let error = second.run.await.expect("no panic").expect_err("the name is in use");
    assert!(error.to_string().contains("worker id `worker-0` is in use"), "{error}");
    fleet.put(0, 20);
    fleet.all_delivered(20).await;
    fleet.workers[0].handle.shutdown(Departure::Release).await;
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_can_be_renewed_one_by_one() {
    let mut fleet = Fleet::new(7);
    fleet.config.protocol.renewal = RenewalMode::PerLease;
    fleet.add("worker-0");
    fleet.settle(&[7]).await;
    fleet.put(0, 100);
    fleet.add("worker-1");
    fleet.settle(&[3, 4]).await;
    fleet.put(100, 100);
    fleet.all_delivered(200).await;
    assert_eq!(fleet.delivery_log.duplicates(), 0);
    let mut other = Fleet::new(7);
    other.store = fleet.store.clone();
    other.stream = fleet.stream.clone();
    other.add("worker-2");
    let error = other
        .workers
        .remove(0)
        .run
        .await
        .expect("no panic")
        .expect_err("the other mode");
    assert!(
        error
            .to_string()
            .contains("renewal mode PerLease, this worker is set to PerWorker"),
        "{error}"
    );
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapsed_window_stops_delivery_until_the_lease_is_renewed() {
    let mut fleet = Fleet::new(2);
    fleet.add("worker-0");
    fleet.settle(&[2]).await;
    fleet.put(0, 10);
    fleet.all_delivered(10).await;
    // A call that is under way when the window ends is cut short, and its records come again.
    until("the calls to return", || {
        fleet.workers[0].handle.status().records_processed == 10
    })
    .await;
    fleet.store.inject(|request| {
        request
            .starts_with("write ")
            .then_some(InjectedFault::FailBefore(FaultKind::Unreachable))
    });
    let worker = &fleet.workers[0];
    let lapses = || worker.count(|event| matches!(event, WorkerEvent::WindowLapsed { .. }));
    until("both windows to lapse", || lapses() == 2).await;
    fleet.put(10, 10);
    let failures = || worker.count(|event| matches!(event, WorkerEvent::RequestFailed { .. }));
    let before = failures();
    until("five more failures", || failures() >= before + 5).await;
    assert_eq!(
        fleet.delivery_log.distinct(),
        10,
        "nothing is delivered outside the window"
    );
    fleet.store.inject(|_| None);
    fleet.all_delivered(20).await;
    assert_eq!(fleet.delivery_log.duplicates(), 0);
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_slept_cannot_write_or_deliver_when_it_wakes_up() {
    let mut fleet = Fleet::new(4);
    for name in ["worker-0", "worker-1"] {
        fleet.add(name);
    }
    fleet.settle(&[2, 2]).await;
    fleet.put(0, 40);
    fleet.all_delivered(40).await;
    // The thread that keeps the leases of worker-0 stands still in the middle of its next heartbeat.
    let asleep = Arc::new(AtomicBool::new(true));
    let sleeping = Arc::clone(&asleep);
    fleet.store.inject(move |request| {
        while request == "write beat worker-0" && sleeping.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        None
    });
    let mine = |store: &MemoryStore| {
        store
            .lease_rows()
            .iter()
            .filter(|row| row.present_owner() == Some(&"worker-1".into()))
            .count()
    };
    let mut checkpoints = BTreeMap::new();
    let mut forward = |store: &MemoryStore| {
        for row in store.lease_rows() {
            let last = checkpoints.insert(row.key.clone(), row.checkpoint.clone());
            assert!(
                last.is_none_or(|last| last.may_become(&row.checkpoint)),
                "{} went back",
                row.key
            );
        }
    };
    until("worker-1 to have all", || {
        forward(&fleet.store);
        mine(&fleet.store) == 4
    })
    .await;
    fleet.put(40, 40);
    until("the records", || fleet.delivery_log.distinct() == 80).await;
    asleep.store(false, Ordering::SeqCst);
    until("worker-0 to notice and share again", || {
        forward(&fleet.store);
        fleet
            .delivery_log
            .notes()
            .iter()
            .any(|note| note.starts_with("worker-0 lost"))
            && fleet.spread() == [2, 2]
    })
    .await;
    fleet.put(80, 40);
    fleet.all_delivered(120).await;
    forward(&fleet.store);
    fleet.leave().await;
}
