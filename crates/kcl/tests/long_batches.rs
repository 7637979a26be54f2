//! A batch that takes longer than the failover time, while its lease is asked for or its worker leaves.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Fleet, Recorder, Running, until};
use kinex_kcl::{
    Checkpointer, Epoch, ProcessorError, RecordBatch, RecordProcessor, RenewalMode, ShardId, ShardStart, WorkerEvent,
};

/// A [`Recorder`] whose batches take until the gate is opened.
struct Gated {
    recorder: Recorder,
    open: Arc<AtomicBool>,
}

impl RecordProcessor for Gated {
    async fn initialize(&mut self, start: &ShardStart) -> Result<(), ProcessorError> {
        self.recorder.initialize(start).await
    }

    async fn process(&mut self, batch: &RecordBatch, checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        let Recorder {
            worker,
            delivery_log,
            epoch,
            ..
        } = &self.recorder;
        delivery_log.deliver(worker, *epoch, batch);
        while !self.open.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = checkpointer.checkpoint().await;
        Ok(())
    }

    async fn lease_lost(&mut self) {
        self.recorder.lease_lost().await;
    }

    async fn shard_ended(&mut self, checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        self.recorder.shard_ended(checkpointer).await
    }

    async fn shutdown_requested(&mut self, checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        self.recorder.shutdown_requested(checkpointer).await
    }
}

/// A fleet whose first worker is in the middle of a batch of each of four shards.
async fn in_a_batch(mode: RenewalMode) -> (Fleet, Arc<AtomicBool>) {
    let mut fleet = Fleet::new(4);
    fleet.config.protocol.renewal = mode;
    fleet.config.protocol.drain_timeout = Duration::from_secs(50);
    fleet.config.protocol.handoff_timeout = Duration::from_secs(55);
    let open = Arc::new(AtomicBool::new(false));
    let (delivery_log, gate) = (fleet.delivery_log.clone(), Arc::clone(&open));
    let factory = move |shard: &ShardId| Gated {
        recorder: Recorder {
            worker: "worker-0".to_owned(),
            delivery_log: delivery_log.clone(),
            epoch: Epoch(0),
            shard: shard.clone(),
        },
        open: Arc::clone(&gate),
    };
    fleet.put(0, 80);
    let worker = Running::start("worker-0", &fleet.store, &fleet.stream, fleet.config.clone(), factory);
    fleet.workers.push(worker);
    until("a batch of every shard", || fleet.delivery_log.distinct() == 80).await;
    (fleet, open)
}

fn requests(worker: &Running, request: &'static str) -> u64 {
    let status = worker.handle.status();
    status.requests.get(&(request, "ok")).copied().unwrap_or(0)
}

/// So many renewals lie further apart than the failover time (3 s) is long.
const RENEWALS: u64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leases_that_are_asked_for_move_after_their_long_batches_without_a_duplicate() {
    for mode in [RenewalMode::PerWorker, RenewalMode::PerLease] {
        let (mut fleet, open) = in_a_batch(mode).await;
        fleet.add("worker-1");
        until("both leases to be extended for longer than the failover time", || {
            requests(&fleet.workers[0], "extend") >= RENEWALS * 2
        })
        .await;
        assert_eq!(fleet.spread(), [0, 4], "nothing has moved in the middle of a batch");
        open.store(true, Ordering::SeqCst);
        fleet.settle(&[2, 2]).await;
        fleet.put(80, 40);
        fleet.all_delivered(120).await;
        assert_eq!(fleet.delivery_log.duplicates(), 0, "{mode:?}");
        assert!(!fleet.workers[0].saw(|event| matches!(event, WorkerEvent::BatchCut { .. })));
        fleet.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_worker_finishes_its_long_batches_when_it_leaves() {
    for mode in [RenewalMode::PerWorker, RenewalMode::PerLease] {
        let (mut fleet, open) = in_a_batch(mode).await;
        let worker = fleet.workers.remove(0);
        let (handle, events) = (worker.handle.clone(), Arc::clone(&worker.events));
        let leaving = tokio::spawn(worker.leave());
        let beats = || handle.status().requests.get(&("beat", "ok")).copied().unwrap_or(0);
        let draining = |event: &WorkerEvent| matches!(event, WorkerEvent::ShardDraining { .. });
        until("every shard to be drained", || {
            events.lock().unwrap().iter().filter(|event| draining(event)).count() == 4
        })
        .await;
        let before = beats();
        until("the failover time", || beats() >= before + RENEWALS).await;
        open.store(true, Ordering::SeqCst);
        assert_eq!(leaving.await.expect("no panic").hung, [].into());
        fleet.add("worker-1");
        fleet.put(80, 40);
        fleet.all_delivered(120).await;
        assert_eq!(fleet.delivery_log.duplicates(), 0, "{mode:?}");
        fleet.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_outlasts_the_drain_timeout_is_cut_and_says_so() {
    let mut fleet = Fleet::new(1);
    fleet.config.protocol.drain_timeout = Duration::from_millis(200);
    let delivery_log = fleet.delivery_log.clone();
    let factory = move |shard: &ShardId| Gated {
        recorder: Recorder {
            worker: "worker-0".to_owned(),
            delivery_log: delivery_log.clone(),
            epoch: Epoch(0),
            shard: shard.clone(),
        },
        open: Arc::default(),
    };
    fleet.put(0, 10);
    let worker = Running::start("worker-0", &fleet.store, &fleet.stream, fleet.config.clone(), factory);
    until("the batch", || fleet.delivery_log.distinct() == 10).await;
    let events = Arc::clone(&worker.events);
    assert_eq!(worker.leave().await.hung.len(), 1);
    let cut = |event: &WorkerEvent| {
        matches!(
            event,
            WorkerEvent::BatchCut {
                reason: "drain-timeout",
                ..
            }
        )
    };
    assert!(events.lock().unwrap().iter().any(cut));
}
