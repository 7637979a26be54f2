//! Where reading starts, how it goes on, and what it makes of aggregates.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::scripted::Script;
use common::{Fleet, aggregate, until};
use kinex_kcl::ports::FaultKind;
use kinex_kcl::{Checkpoint, DropReason, InitialPosition, OutOfRange, Position, WorkerEvent};

/// Which of the records `before` and `after` a worker gets that starts between them.
async fn check(initial_position: InitialPosition, expected: &[&str]) {
    let mut script = Script::new(1);
    script.config.initial_position = initial_position;
    script.stream.put("key", "before");
    // Records are stamped by the millisecond, and LATEST begins with the present one.
    let put_at = std::time::Instant::now();
    until("a later millisecond", || put_at.elapsed().as_millis() > 1).await;
    let worker = script.start("worker-0");
    until("a first read", || worker.handle.status().behind_millis().is_some()).await;
    script.stream.put("key", "after");
    until("the new record", || script.delivery_log.times().contains_key("after")).await;
    assert_eq!(
        script.delivery_log.times().into_keys().collect::<Vec<_>>(),
        expected,
        "{initial_position:?}"
    );
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_application_starts_where_it_is_set_to() {
    check(InitialPosition::TrimHorizon, &["after", "before"]).await;
    check(InitialPosition::Latest, &["after"]).await;
    check(InitialPosition::AtTimestamp(0), &["after", "before"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_appears_later_is_read_from_its_start() {
    let mut script = Script::new(1);
    script.config.initial_position = InitialPosition::Latest;
    let parent = script.stream.open_shards().remove(0);
    let worker = script.start("worker-0");
    until("a first read", || worker.handle.status().behind_millis().is_some()).await;
    let (low, high) = script.stream.split(&parent);
    script.stream.put_into(&low, "key", "low");
    script.stream.put_into(&high, "key", "high");
    until("the first records of both children", || {
        script.delivery_log.distinct() == 2
    })
    .await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_iterators_and_throttled_reads_cost_no_record_and_no_duplicate() {
    let mut fleet = Fleet::new(2);
    fleet.add("worker-0");
    for round in 0..6 {
        fleet.put(round * 20, 20);
        match round % 3 {
            0 => fleet.stream.expire_iterators(),
            1 => fleet
                .stream
                .fail_next(&[FaultKind::Throttled, FaultKind::Service, FaultKind::Unreachable]),
            _ => fleet
                .stream
                .fail_next(&[FaultKind::IteratorExpired, FaultKind::IteratorExpired]),
        }
        fleet.all_delivered((round + 1) * 20).await;
    }
    assert_eq!(fleet.delivery_log.duplicates(), 0);
    let requests = fleet.workers[0].handle.status().requests;
    assert!(requests[&("GetRecords", "iterator-expired")] > 0, "{requests:?}");
    fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_inside_an_aggregate() {
    let processed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&processed);
    // The first process stops in the middle of the aggregate, at a sub-sequence checkpoint.
    let script = Script::new(1).process(move |batch, checkpointer| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                checkpointer.checkpoint_at(&batch.records[1].position).await?;
                std::future::pending::<()>().await;
            }
            checkpointer.checkpoint().await.map_err(Into::into)
        }
    });
    let users = [("a", "0"), ("b", "1"), ("c", "2"), ("d", "3")];
    let shard = script.stream.open_shards().remove(0);
    let sequence = script
        .stream
        .put_into(&shard, "outer", aggregate::sealed(&aggregate::message(&users)));
    let worker = script.start("worker-0");
    let middle = Checkpoint::At(Position {
        sequence: sequence.clone(),
        sub: 1,
    });
    until("the checkpoint inside", || {
        script.store.lease_rows().iter().any(|row| row.checkpoint == middle)
    })
    .await;
    worker.crash();
    let worker = script.start("worker-1");
    until("the rest", || worker.handle.status().records_processed == 2).await;
    assert_eq!(
        script.delivery_log.times().into_values().collect::<Vec<_>>(),
        [1, 1, 2, 2]
    );
    let last = Checkpoint::At(Position { sequence, sub: 3 });
    until("the last checkpoint", || {
        script.store.lease_rows()[0].checkpoint == last
    })
    .await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_aggregate_is_delivered_raw_and_its_neighbors_are_intact() {
    let script = Script::new(1);
    let shard = script.stream.open_shards().remove(0);
    let good = aggregate::sealed(&aggregate::message(&[("a", "one"), ("b", "two")]));
    let bad = aggregate::sealed(b"\x0a\x05k");
    for data in [good.clone(), bad.clone(), good] {
        script.stream.put_into(&shard, "outer", data);
    }
    let worker = script.start("worker-0");
    until("five records", || script.delivery_log.deliveries().len() == 5).await;
    let found: Vec<_> = script
        .delivery_log
        .deliveries()
        .into_iter()
        .map(|delivery| delivery.data)
        .collect();
    assert_eq!(
        found,
        [
            b"one".to_vec(),
            b"two".to_vec(),
            bad.to_vec(),
            b"one".to_vec(),
            b"two".to_vec()
        ]
    );
    until("the event", || {
        worker.saw(|event| matches!(event, WorkerEvent::BadAggregate { .. }))
    })
    .await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_of_another_shard_are_dropped_whole_and_counted_unless_wanted() {
    for (policy, dropped, outside) in [(OutOfRange::Drop, 20, 0), (OutOfRange::Deliver, 0, 10)] {
        let mut script = Script::new(2);
        script.config.out_of_range = policy;
        let sealed = ten_keys();
        // The same aggregate in both shards: each of its records belongs to exactly one of them.
        for shard in script.stream.open_shards() {
            script.stream.put_into(&shard, "outer", sealed.clone());
            script.stream.put_into(&shard, "outer", "last");
        }
        let worker = script.start("worker-0");
        until("both aggregates", || counted(&worker) == (dropped, outside)).await;
        let delivered = 2 + 20 - usize::try_from(dropped).expect("a few");
        until("the records", || script.delivery_log.deliveries().len() >= delivered).await;
        assert_eq!(script.delivery_log.deliveries().len(), delivered);
        worker.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_distributes_records_by_itself_loses_no_aggregate() {
    let script = Script::new(2);
    script.stream.distribute_by_itself();
    for shard in script.stream.open_shards() {
        script.stream.put_into(&shard, "outer", ten_keys());
    }
    let worker = script.start("worker-0");
    until("every record", || script.delivery_log.deliveries().len() == 20).await;
    assert_eq!(counted(&worker).0, 0);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregate_that_came_without_a_key_is_delivered_everywhere() {
    let script = Script::new(2);
    for shard in script.stream.open_shards() {
        script.stream.put_unkeyed(&shard, ten_keys());
    }
    let worker = script.start("worker-0");
    until("every record", || script.delivery_log.deliveries().len() == 20).await;
    assert_eq!(counted(&worker).0, 0);
    worker.leave().await;
}

/// An aggregate of ten records, some for each of two shards.
fn ten_keys() -> bytes::Bytes {
    let names: Vec<String> = (0..10).map(|number| format!("key-{number}")).collect();
    let users: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    aggregate::sealed(&aggregate::message(&users))
}

/// Records that were dropped, and those of another shard that were delivered, by the events.
fn counted(worker: &common::Running) -> (u64, u64) {
    let of = |event: &WorkerEvent| match event {
        WorkerEvent::RecordsDropped { records, reason, .. } => {
            assert_eq!(*reason, DropReason::OutOfRange);
            (*records, 0)
        }
        WorkerEvent::OutOfRange { records, .. } => (0, *records),
        _ => (0, 0),
    };
    let counts = worker.events.lock().expect("not poisoned");
    counts
        .iter()
        .map(of)
        .fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_retention_has_removed_are_reported() {
    let script =
        Script::new(1).process(|_, checkpointer| async move { checkpointer.checkpoint().await.map_err(Into::into) });
    let shard = script.stream.open_shards().remove(0);
    script.stream.put_into(&shard, "key", "0");
    let worker = script.start("worker-0");
    until("the first record", || worker.handle.status().records_processed == 1).await;
    worker.leave().await;
    for number in 1..5 {
        script.stream.put_into(&shard, "key", format!("{number}"));
    }
    script.stream.trim(&shard, 3);
    let worker = script.start("worker-0");
    until("what is left", || script.delivery_log.distinct() == 3).await;
    until("the report", || {
        worker.saw(|event| matches!(event, WorkerEvent::BehindHorizon { .. }))
    })
    .await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_retention_has_removed_ends_and_its_children_go_on() {
    let script = Script::new(1);
    let parent = script.stream.open_shards().remove(0);
    let worker = script.start("worker-0");
    until("a first read", || worker.handle.status().behind_millis().is_some()).await;
    worker.leave().await;
    let (low, high) = script.stream.split(&parent);
    script.stream.put_into(&low, "key", "low");
    script.stream.put_into(&high, "key", "high");
    script.stream.forget(&parent);
    let worker = script.start("worker-1");
    until("the children's records", || script.delivery_log.distinct() == 2).await;
    until("the parent's row to go", || {
        script.store.lease_rows().iter().all(|row| row.key != parent)
    })
    .await;
    assert!(worker.saw(|event| matches!(event, WorkerEvent::BehindHorizon { shard, .. } if *shard == parent)));
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_wait_for_their_parents_when_told_to() {
    for parents_first in [true, false] {
        let mut script = Script::new(2).process(|batch, _| async move {
            let stuck = batch.records.iter().any(|record| &record.data[..] == b"stuck");
            if stuck { Err("stuck".into()) } else { Ok(()) }
        });
        script.config.protocol.parents_first = parents_first;
        let shards = script.stream.open_shards();
        script.stream.put_into(&shards[0], "key", "stuck");
        let child = script.stream.merge(&shards[0], &shards[1]);
        script.stream.put_into(&child, "key", "child");
        let worker = script.start("worker-0");
        until("the alarm", || {
            worker.saw(|event| matches!(event, WorkerEvent::ShardFailing { .. }))
        })
        .await;
        until("the end of the other parent", || {
            worker.saw(|event| matches!(event, WorkerEvent::ShardEnded { shard, .. } if *shard == shards[1]))
        })
        .await;
        let beats = || script.store.worker_rows()[0].beat;
        if parents_first {
            let before = beats();
            until("ten more heartbeats", || beats() >= before + 10).await;
            assert!(
                !script.delivery_log.times().contains_key("child"),
                "one parent is not done"
            );
        } else {
            until("the child's record", || {
                script.delivery_log.times().contains_key("child")
            })
            .await;
        }
        worker.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_reads_of_many_shards_fit_a_small_budget() {
    let mut script = Script::new(8).process(|_, _| async { Ok(()) });
    script.config.memory_max = 10 * 1024 * 1024;
    script.config.batch_records_max = 3;
    let shards = script.stream.open_shards();
    for shard in &shards {
        for number in 0..12 {
            let mut data = format!("{shard} {number} ").into_bytes();
            data.resize(100_000, b'.');
            script.stream.put_into(shard, "key", data);
        }
    }
    let worker = script.start("worker-0");
    until("every record", || script.delivery_log.distinct() == 96).await;
    assert_eq!(script.delivery_log.duplicates(), 0);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_row_hides_nothing_from_its_children_and_does_not_disturb_the_others() {
    let mut script = Script::new(2);
    script.config.initial_position = InitialPosition::Latest;
    let shards = script.stream.open_shards();
    let worker = script.start("worker-0");
    until("two rows", || script.store.lease_rows().len() == 2).await;
    worker.leave().await;
    script.store.spoil(&shards[0], "leaseCounter is not a number");
    let (low, high) = script.stream.split(&shards[0]);
    script.stream.put_into(&low, "key", "low");
    script.stream.put_into(&high, "key", "high");
    let worker = script.start("worker-1");
    until("the children's first records", || script.delivery_log.distinct() == 2).await;
    let told = |event: &WorkerEvent| matches!(event, WorkerEvent::UnreadableLease { key, .. } if *key == shards[0].to_string());
    assert_eq!(worker.count(told), 1, "told once");
    until("the other shard to be read", || {
        worker.handle.status().holds.contains_key(&shards[1])
    })
    .await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_that_outlives_the_row_of_its_child_still_ends() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = Arc::clone(&gate);
    let script = Script::new(1).process(move |batch, _| {
        let open = Arc::clone(&open);
        async move {
            let slow = batch.records.iter().any(|record| &record.data[..] == b"slow");
            if slow {
                until("the gate", || open.load(Ordering::SeqCst)).await;
            }
            Ok(())
        }
    });
    let parent = script.stream.open_shards().remove(0);
    script.stream.put_into(&parent, "key", "slow");
    let worker = script.start("worker-0");
    until("the slow record", || script.delivery_log.distinct() == 1).await;
    let (child, _) = script.stream.split(&parent);
    script.stream.split(&child);
    let gone = |shard: &kinex_kcl::ShardId| {
        worker.saw(|event| matches!(event, WorkerEvent::LeaseDeleted { shard: deleted } if deleted == shard))
    };
    until("the child's row to go", || gone(&child)).await;
    assert!(!gone(&parent), "an unfinished shard keeps its row");
    gate.store(true, Ordering::SeqCst);
    until("the parent's row to go", || gone(&parent)).await;
    worker.leave().await;
}
