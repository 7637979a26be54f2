//! What becomes of processors that fail, panic, hang or block, and of their checkpoints.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::scripted::Script;
use common::{Running, until};
use kinex_core::lease::{LeaseWrite, Process};
use kinex_kcl::memory::InjectedFault;
use kinex_kcl::ports::{FaultKind, LeaseStore};
use kinex_kcl::{Checkpoint, CheckpointError, HoldState, PoisonAction, Position, ShardId, WorkerEvent};

fn halted(worker: &Running) -> bool {
    worker.saw(|event| matches!(event, WorkerEvent::ShardHalted { .. }))
}

async fn holds(worker: &Running, leases: usize) {
    until("its leases", || worker.handle.status().holds.len() == leases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_is_made_again_with_the_same_records() {
    let failures = Arc::new(AtomicUsize::new(3));
    let left = Arc::clone(&failures);
    let script = Script::new(1).process(move |_, _| {
        let fails = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        async move { if fails { Err("not today".into()) } else { Ok(()) } }
    });
    script.stream.put("key", "one");
    let worker = script.start("worker-0");
    until("four deliveries", || script.delivery_log.deliveries().len() == 4).await;
    assert_eq!(script.delivery_log.times()["one"], 4);
    let failed =
        |event: &WorkerEvent| matches!(event, WorkerEvent::ProcessorFailed { error, .. } if error == "not today");
    until("the processed count", || worker.handle.status().records_processed == 1).await;
    assert_eq!(worker.count(failed), 3);
    assert!(!halted(&worker));
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_whose_processor_panics_is_halted_when_told_to_and_the_others_go_on() {
    let mut script = Script::new(2).process(|batch, checkpointer| async move {
        assert!(
            !batch.records.iter().any(|record| &record.data[..] == b"poison"),
            "cannot digest it"
        );
        checkpointer.checkpoint().await.map_err(Into::into)
    });
    script.config.on_poison = PoisonAction::Halt;
    let shards = script.stream.open_shards();
    script.stream.put_into(&shards[0], "key", "good");
    let worker = script.start("worker-0");
    until("the good record", || script.delivery_log.distinct() == 1).await;
    script.stream.put_into(&shards[0], "key", "poison");
    script.stream.put_into(&shards[0], "key", "behind");
    until("the alarm", || halted(&worker)).await;
    let alarm = |event: &WorkerEvent| {
        matches!(event, WorkerEvent::ShardHalted { shard, call: "process", error }
            if *shard == shards[0] && error.contains("panicked") && error.contains("cannot digest it"))
    };
    assert!(worker.saw(alarm), "{:?}", worker.events);
    for number in 0..20 {
        script.stream.put_into(&shards[1], "key", format!("{number}"));
    }
    until("the other shard", || {
        (0..20).all(|number| script.delivery_log.times().contains_key(&number.to_string()))
    })
    .await;
    let beats = || script.store.worker_rows()[0].beat;
    let before = beats();
    until("ten more heartbeats", || beats() >= before + 10).await;
    let status = worker.handle.status();
    assert_eq!(status.holds[&shards[0]].state, HoldState::Halted, "the lease is kept");
    assert_eq!(status.holds[&shards[1]].state, HoldState::Reading);
    worker.leave().await;
    let rows = script.store.lease_rows();
    let good = script.stream.records(&shards[0])[0].sequence.clone();
    assert_eq!(
        rows[0].checkpoint,
        Checkpoint::At(Position { sequence: good, sub: 0 }),
        "nothing is skipped"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_checkpointed_inside_a_failed_call_does_not_come_again() {
    let first = Arc::new(AtomicBool::new(true));
    let script = Script::new(1).process(move |batch, checkpointer| {
        let first = first.swap(false, Ordering::SeqCst);
        async move {
            for record in &batch.records {
                checkpointer.checkpoint_at(&record.position).await?;
                if first && &record.data[..] == b"1" {
                    return Err("half way".into());
                }
            }
            Ok(())
        }
    });
    let shard = script.stream.open_shards().remove(0);
    for number in 0..4 {
        script.stream.put_into(&shard, "key", format!("{number}"));
    }
    let worker = script.start("worker-0");
    until("all four", || worker.handle.status().records_processed > 0).await;
    assert_eq!(
        script.delivery_log.times().into_values().collect::<Vec<_>>(),
        [1, 1, 2, 2]
    );
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_batch_is_not_in_the_final_checkpoint() {
    let script = Script::new(1)
        .process(|batch, _| async move {
            if batch.records.iter().any(|record| &record.data[..] == b"bad") {
                Err("no".into())
            } else {
                Ok(())
            }
        })
        .flush(|checkpointer| async move { checkpointer.checkpoint().await.map_err(Into::into) });
    let shard = script.stream.open_shards().remove(0);
    let good = script.stream.put_into(&shard, "key", "good");
    let worker = script.start("worker-0");
    until("the good record", || worker.handle.status().records_processed == 1).await;
    script.stream.put_into(&shard, "key", "bad");
    until("the alarm", || {
        worker.saw(|event| matches!(event, WorkerEvent::ShardFailing { .. }))
    })
    .await;
    worker.leave().await;
    let row = script.store.lease_rows().remove(0);
    assert_eq!(row.checkpoint, Checkpoint::At(Position { sequence: good, sub: 0 }));
    assert_eq!(row.owner, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_stay_between_the_last_one_and_what_was_delivered() {
    let outcome = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = Arc::clone(&outcome);
    let script = Script::new(1).process(move |batch, checkpointer| {
        let told = Arc::clone(&told);
        async move {
            let (first, last) = (&batch.records[0].position, &batch.records[2].position);
            let beyond = Position {
                sequence: last.sequence.clone(),
                sub: 1,
            };
            let found = [
                checkpointer.checkpoint_at(&beyond).await,
                checkpointer.checkpoint_at(&batch.records[1].position).await,
                checkpointer.checkpoint_at(first).await,
                checkpointer.checkpoint_at(&batch.records[1].position).await,
                checkpointer.checkpoint().await,
            ];
            told.lock().unwrap().extend(found);
            Ok(())
        }
    });
    let shard = script.stream.open_shards().remove(0);
    let positions: Vec<_> = (0..3)
        .map(|number| Position {
            sequence: script.stream.put_into(&shard, "key", format!("{number}")),
            sub: 0,
        })
        .collect();
    let worker = script.start("worker-0");
    until("five checkpoints", || outcome.lock().unwrap().len() == 5).await;
    let beyond = Position {
        sub: 1,
        ..positions[2].clone()
    };
    assert_eq!(
        *outcome.lock().unwrap(),
        [
            Err(CheckpointError::AboveDelivered {
                asked: beyond,
                delivered: Some(positions[2].clone())
            }),
            Ok(()),
            Err(CheckpointError::BelowLast {
                asked: positions[0].clone(),
                last: positions[1].clone()
            }),
            Ok(()),
            Ok(()),
        ]
    );
    assert_eq!(
        script.store.lease_rows()[0].checkpoint,
        Checkpoint::At(positions[2].clone())
    );
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_checkpoint_means_that_the_lease_is_lost() {
    let outcome = Arc::new(std::sync::Mutex::new(None));
    let (told, store) = (Arc::clone(&outcome), Arc::new(std::sync::OnceLock::new()));
    let tables: Arc<std::sync::OnceLock<kinex_kcl::memory::MemoryStore>> = Arc::clone(&store);
    let script = Script::new(1).process(move |batch, checkpointer| {
        let (told, tables) = (Arc::clone(&told), Arc::clone(&tables));
        async move {
            // Somebody else takes the lease while the batch is in the processor's hands.
            let store = tables.get().expect("the tables are there").clone();
            let row = store.lease(&batch.shard).await.unwrap().unwrap();
            let to = Process {
                worker: "thief".into(),
                incarnation: "elsewhere".into(),
            };
            let take = LeaseWrite::Take {
                key: row.key.clone(),
                to,
                seen: row.seen(),
            };
            store.write_lease(&take).await.unwrap();
            *told.lock().unwrap() = Some(checkpointer.checkpoint().await);
            Ok(())
        }
    });
    store.set(script.store.clone()).expect("once");
    script.stream.put("key", "one");
    let worker = script.start("worker-0");
    until("the checkpoint", || outcome.lock().unwrap().is_some()).await;
    assert_eq!(*outcome.lock().unwrap(), Some(Err(CheckpointError::LeaseLost)));
    until("lease_lost", || {
        script
            .delivery_log
            .notes()
            .iter()
            .any(|note| note.starts_with("worker-0 lost"))
    })
    .await;
    let row = &script.store.lease_rows()[0];
    assert_eq!(row.checkpoint, Checkpoint::TrimHorizon, "nothing was written");
    assert!(worker.saw(|event| matches!(event, WorkerEvent::Checkpointed { written: false, .. })));
    worker.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_whose_reply_is_lost_is_known_as_ones_own() {
    let script =
        Script::new(2).process(|_, checkpointer| async move { checkpointer.checkpoint().await.map_err(Into::into) });
    let calls = AtomicUsize::new(0);
    // Every other answer of the lease table is lost, whatever was asked.
    script.store.inject(move |request| {
        let every_other = calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        (every_other && request.starts_with("write ") && request.contains("shardId"))
            .then_some(InjectedFault::FailAfter(FaultKind::Unreachable))
    });
    let shards = script.stream.open_shards();
    script.stream.put_into(&shards[0], "key", "one");
    script.stream.split(&shards[0]);
    for number in 0..50 {
        script.stream.put(&format!("{number}"), format!("{number}"));
    }
    let worker = script.start("worker-0");
    until("all records", || script.delivery_log.distinct() == 51).await;
    until("the rows of the open shards", || script.store.lease_rows().len() == 3).await;
    assert_eq!(script.delivery_log.duplicates(), 0);
    let lost = |note: &String| note.contains(" lost ");
    assert!(
        !script.delivery_log.notes().iter().any(lost),
        "{:?}",
        script.delivery_log.notes()
    );
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_removed_before_the_shard_end_is_confirmed_is_not_a_lost_lease() {
    let script = Script::new(1);
    let parent = script.stream.open_shards().remove(0);
    script.stream.split(&parent);
    let (ending, missed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (ends, seen, key) = (Arc::clone(&ending), Arc::clone(&missed), parent.clone());
    // The end is written at once, and its answer arrives only after the removed row was missed. Reads of all rows fail
    // until the row is removed, or one of them would show the end.
    let table = script.store.clone();
    script.store.inject(move |request| {
        let removed = table.lease_rows().iter().all(|row| row.key != key);
        if request == format!("write checkpoint {key}") {
            ends.store(true, Ordering::SeqCst);
            return (!seen.load(Ordering::SeqCst)).then_some(InjectedFault::FailAfter(FaultKind::Unreachable));
        }
        if request == format!("lease {key}") && removed {
            seen.store(true, Ordering::SeqCst);
        }
        (request == "leases" && ends.load(Ordering::SeqCst) && !removed)
            .then_some(InjectedFault::FailBefore(FaultKind::Unreachable))
    });
    let worker = script.start("worker-0");
    let row = || script.store.lease_rows().into_iter().find(|row| row.key == parent);
    until("the write of the end", || row().is_some_and(|row| row.finished())).await;
    let (key, epoch) = (parent.clone(), row().unwrap().epoch);
    let removal = LeaseWrite::Delete { key, epoch };
    script.store.write_lease(&removal).await.unwrap();
    until("a read that misses the row", || missed.load(Ordering::SeqCst)).await;
    until("the end of the shard", || {
        worker.saw(|event| matches!(event, WorkerEvent::ShardEnded { shard, .. } if *shard == parent))
    })
    .await;
    let lost = |note: &String| note.contains(" lost ");
    assert!(
        !script.delivery_log.notes().iter().any(lost),
        "{:?}",
        script.delivery_log.notes()
    );
    assert!(!worker.saw(|event| matches!(event, WorkerEvent::ShardStopped { .. })));
    holds(&worker, 2).await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_processor_does_not_keep_its_worker_from_leaving() {
    let mut script = Script::new(2).process(|batch, _| async move {
        if batch.records.iter().any(|record| &record.data[..] == b"hang") {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    script.config.protocol.drain_timeout = std::time::Duration::from_millis(300);
    let shards = script.stream.open_shards();
    script.stream.put_into(&shards[0], "key", "hang");
    script.stream.put_into(&shards[1], "key", "fine");
    let worker = script.start("worker-0");
    until("both", || script.delivery_log.distinct() == 2).await;
    until("the good one", || worker.handle.status().records_processed == 1).await;
    let ended = worker.leave().await;
    assert_eq!(ended.hung, [shards[0].clone()].into());
    let rows = script.store.lease_rows();
    assert_eq!(
        rows.iter().map(|row| row.owner.clone()).collect::<Vec<_>>(),
        [None, None]
    );
    assert_eq!(
        rows[0].checkpoint,
        Checkpoint::TrimHorizon,
        "no checkpoint of what may not be done"
    );
    assert!(matches!(rows[1].checkpoint, Checkpoint::At(_)));
}

#[test]
fn a_processor_that_blocks_the_only_thread_keeps_its_leases() {
    let (release, blocked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (open, inside) = (Arc::clone(&release), Arc::clone(&blocked));
    let script = Arc::new(Script::new(2).process(move |_, _| {
        let (open, inside) = (Arc::clone(&open), Arc::clone(&inside));
        async move {
            inside.store(true, Ordering::SeqCst);
            while !open.load(Ordering::SeqCst) {
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
            Ok(())
        }
    }));
    let one = Arc::clone(&script);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let worker = one.start("worker-0");
            holds(&worker, 2).await;
            one.stream.put("key", "one");
            until("the record", || worker.handle.status().records_processed == 1).await;
            assert!(!worker.saw(|event| matches!(event, WorkerEvent::WindowLapsed { .. })));
            worker.leave().await;
        });
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        until("the processor to block", || blocked.load(Ordering::SeqCst)).await;
        let beats = || script.store.worker_rows()[0].beat;
        let before = beats();
        // At 300 ms each these take longer than the failover time of three seconds.
        until("twenty heartbeats", || beats() >= before + 20).await;
        let owners: Vec<_> = script.store.lease_rows().iter().map(|row| row.owner.clone()).collect();
        assert_eq!(owners, [Some("worker-0".into()), Some("worker-0".into())]);
    });
    release.store(true, Ordering::SeqCst);
    thread.join().expect("no duplicates and no lapse");
    let lost = |shard: &ShardId| format!("worker-0 lost {shard}");
    for shard in script.stream.open_shards() {
        assert!(!script.delivery_log.notes().contains(&lost(&shard)));
    }
}
