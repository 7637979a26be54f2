//! Several writers at once: of those that exclude each other exactly one wins, of the others none is lost.

use std::future::Future;
use std::sync::Arc;

use kinex_core::id::{Epoch, Incarnation, ShardId, WorkerId};
use kinex_core::lease::{Checkpoint, Lease, LeaseWrite, Process};
use kinex_core::member::Written;
use kinex_core::worker::{RenewalMode, WorkerRow, WorkerWrite};
use tokio::task::JoinSet;

use super::StoreBench;
use crate::ports::LeaseStore;

const WRITERS: usize = 8;

async fn all_at_once<T: Send + 'static, W: Future<Output = T> + Send + 'static>(writer: impl Fn(usize) -> W) -> Vec<T> {
    let mut tasks = JoinSet::new();
    for number in 0..WRITERS {
        tasks.spawn(writer(number));
    }
    tasks.join_all().await
}

fn process(number: usize) -> Process {
    Process {
        worker: WorkerId::from(format!("worker-{number}")),
        incarnation: Incarnation::from(format!("inc-{number}")),
    }
}

fn start(process: Process) -> Box<WorkerRow> {
    Box::new(WorkerRow::starting(process, None, None, String::new()))
}

pub(super) async fn one_taker_wins(bench: &impl StoreBench) {
    let store = Arc::new(bench.empty().await);
    for round in 0..5 {
        let lease = Lease::unowned(
            ShardId::from(format!("shardId-{round}")),
            Checkpoint::TrimHorizon,
            Epoch(1),
        );
        store
            .write_lease(&LeaseWrite::Create(Box::new(lease.clone())))
            .await
            .expect("create");
        let answers = all_at_once(|number| {
            let (store, lease) = (Arc::clone(&store), lease.clone());
            async move {
                let take = LeaseWrite::Take {
                    key: lease.key.clone(),
                    to: process(number),
                    seen: lease.seen(),
                };
                store.write_lease(&take).await.expect("take")
            }
        })
        .await;
        let row = store.lease(&lease.key).await.expect("read").expect("a row");
        assert_eq!(row.epoch, Epoch(2), "the owner changed once");
        let won: Vec<_> = answers
            .iter()
            .filter(|answer| matches!(answer, Written::Done(_)))
            .collect();
        assert_eq!(
            won,
            [&Written::Done(Some(row.clone()))],
            "one winner, and the row is its"
        );
        for answer in answers.iter().filter(|answer| matches!(answer, Written::Refused(_))) {
            assert_eq!(
                answer,
                &Written::Refused(Some(row.clone())),
                "the losers see the winner's row"
            );
        }
    }
}

pub(super) async fn one_registration_wins(bench: &impl StoreBench) {
    let store = Arc::new(bench.empty().await);
    let answers = all_at_once(|number| {
        let store = Arc::clone(&store);
        async move {
            let process = Process {
                worker: WorkerId::from("worker"),
                ..process(number)
            };
            store
                .write_worker(&WorkerWrite::Register(start(process)))
                .await
                .expect("register")
        }
    })
    .await;
    let won = answers
        .iter()
        .filter(|answer| matches!(answer, Written::Done(_)))
        .count();
    assert_eq!(won, 1, "one name, one process");
}

pub(super) async fn no_ask_and_no_bump_is_lost(bench: &impl StoreBench) {
    let store = Arc::new(bench.empty().await);
    let before = store.open_group(RenewalMode::PerWorker).await.expect("open");
    let worker = process(0).worker;
    store
        .write_worker(&WorkerWrite::Register(start(process(0))))
        .await
        .expect("register");
    all_at_once(|_| {
        let (store, worker) = (Arc::clone(&store), worker.clone());
        async move {
            for _ in 0..5 {
                let notice = WorkerWrite::NotifyAsk { worker: worker.clone() };
                let written = store.write_worker(&notice).await.expect("notify");
                assert!(matches!(written, Written::Done(Some(_))), "{written:?}");
                store.bump_lineage().await.expect("bump");
            }
        }
    })
    .await;
    let (group, workers) = store.members().await.expect("members");
    assert_eq!(
        workers.iter().map(|row| row.asks).collect::<Vec<_>>(),
        [WRITERS as u64 * 5]
    );
    assert_eq!(group.expect("a group").lineage, before.lineage + WRITERS as u64 * 5);
}

pub(super) async fn all_open_one_group(bench: &impl StoreBench) {
    let store = Arc::new(bench.empty().await);
    let mut groups = all_at_once(|number| {
        let store = Arc::clone(&store);
        let mode = if number % 2 == 0 {
            RenewalMode::PerWorker
        } else {
            RenewalMode::PerLease
        };
        async move { store.open_group(mode).await.expect("open") }
    })
    .await;
    groups.dedup();
    assert_eq!(groups.len(), 1, "all see the same group: {groups:?}");
}
