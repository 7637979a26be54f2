//! A worker reads the stream that its leases speak of, writes its own rows, and ends with one error where it cannot.

mod common;

use common::scripted::Script;
use common::{LIMIT, Running, until};
use kinex_core::id::HashRange;
use kinex_core::lease::{Lease, LeaseWrite};
use kinex_kcl::memory::{InjectedFault, MemoryStream};
use kinex_kcl::ports::{FaultKind, LeaseStore};
use kinex_kcl::{Checkpoint, Epoch, Error, ShardId, WorkerEvent};

async fn error_of(worker: Running) -> Error {
    let ended = tokio::time::timeout(LIMIT, worker.run).await.expect("the worker ends");
    ended.expect("no panic").expect_err("an error")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_stream_is_made_again_ends_with_one_error_and_mixes_nothing() {
    let script =
        Script::new(2).process(|_, checkpointer| async move { checkpointer.checkpoint().await.map_err(Into::into) });
    let worker = script.start("worker-0");
    for number in 0..20 {
        script.stream.put(&format!("key-{number}"), "old");
    }
    until("every record", || worker.handle.status().records_processed == 20).await;
    until("both checkpoints", || {
        let rows = script.store.lease_rows();
        rows.iter().all(|row| matches!(row.checkpoint, Checkpoint::At(_)))
    })
    .await;
    let before: Vec<_> = script.store.lease_rows();
    let bound = script.store.bound().await.expect("the tables answer");
    script.stream.replace(2);
    for number in 0..20 {
        script.stream.put(&format!("key-{number}"), "new");
    }
    let error = error_of(worker).await;
    let Error::StreamReplaced(mismatch) = error else {
        panic!("{error}");
    };
    assert_eq!(Some(mismatch.bound), bound, "the stream of the tables");
    assert_eq!(mismatch.found, script.stream.identity(), "the one that is there now");
    assert!(
        !script.delivery_log.times().contains_key("new"),
        "nothing of the new stream is read"
    );
    let positions = |rows: &[Lease]| -> Vec<_> {
        let of = |row: &Lease| (row.key.clone(), row.owner.clone(), row.epoch, row.checkpoint.clone());
        rows.iter().map(of).collect()
    };
    assert_eq!(positions(&script.store.lease_rows()), positions(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_another_stream_are_refused_before_anything_is_written() {
    let mut script = Script::new(2);
    let worker = script.start("worker-0");
    until("two rows", || script.store.lease_rows().len() == 2).await;
    worker.leave().await;
    let (leases, workers) = (script.store.lease_rows(), script.store.worker_rows());
    script.stream = MemoryStream::new(2);
    let error = error_of(script.start("worker-1")).await;
    assert!(matches!(error, Error::StreamDiffers(_)), "{error}");
    assert_eq!(
        (script.store.lease_rows(), script.store.worker_rows()),
        (leases, workers)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_of_another_stream_that_nobody_tied_to_it_is_refused_and_never_written() {
    let script = Script::new(2);
    let row = Lease {
        owner: Some("java".into()),
        counter: 40,
        // The whole stream is one shard there.
        hash_range: Some(HashRange::FULL),
        ..Lease::unowned("shardId-000000000000".into(), Checkpoint::TrimHorizon, Epoch(0))
    };
    let written = script
        .store
        .write_lease(&LeaseWrite::Create(Box::new(row.clone())))
        .await;
    assert!(written.is_ok());
    let error = error_of(script.start("worker-0")).await;
    assert!(matches!(error, Error::LeasesOfAnotherStream(_)), "{error}");
    assert_eq!(
        (script.store.lease_rows(), script.store.worker_rows()),
        (vec![row], Vec::new())
    );
    assert_eq!(script.store.bound().await.expect("the tables answer"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_tables_ends_with_one_error() {
    let script = Script::new(1);
    script
        .store
        .inject(|_| Some(InjectedFault::FailBefore(FaultKind::Missing)));
    let error = error_of(script.start("worker-0")).await;
    assert!(matches!(error, Error::Start(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_tables_that_do_not_answer_and_can_leave_meanwhile() {
    let script = Script::new(1);
    script
        .store
        .inject(|_| Some(InjectedFault::FailBefore(FaultKind::Unreachable)));
    let worker = script.start("worker-0");
    until("a failed request", || {
        worker.saw(|event| matches!(event, WorkerEvent::RequestFailed { .. }))
    })
    .await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_other_streams_are_reported_once_and_left_alone() {
    let script = Script::new(2);
    let foreign: Vec<Lease> = ["orders", "clicks"]
        .into_iter()
        .map(|stream| Lease {
            owner: Some("java".into()),
            counter: 40,
            hash_range: Some(HashRange::FULL),
            ..Lease::unowned(
                ShardId::from(format!("111122223333:{stream}:1700000000:shardId-000000000000")),
                Checkpoint::TrimHorizon,
                Epoch(0),
            )
        })
        .collect();
    for row in &foreign {
        let written = script
            .store
            .write_lease(&LeaseWrite::Create(Box::new(row.clone())))
            .await;
        assert!(written.is_ok());
    }
    for number in 0..20 {
        script.stream.put(&format!("key-{number}"), format!("{number}"));
    }
    let worker = script.start("worker-0");
    until("every record", || script.delivery_log.distinct() == 20).await;
    // Long enough for a dead worker's leases to be taken, and for two listings to lack a shard.
    let beats = || script.store.worker_rows()[0].beat;
    let before = beats();
    until("twenty more heartbeats", || beats() >= before + 20).await;
    let rows = script.store.lease_rows();
    let left: Vec<_> = rows
        .into_iter()
        .filter(|row| !ShardId::is_one(row.key.as_str()))
        .collect();
    let mut expected = foreign;
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(left, expected);
    assert_eq!(
        worker.count(|event| matches!(event, WorkerEvent::ForeignLeases { .. })),
        1
    );
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_found_by_what_the_last_read_says_while_listings_fail() {
    let script = Script::new(1);
    let parent = script.stream.open_shards().remove(0);
    let worker = script.start("worker-0");
    until("a first read", || worker.handle.status().behind_millis().is_some()).await;
    script.stream.fail_listings(Some(FaultKind::Throttled));
    let (low, high) = script.stream.split(&parent);
    script.stream.put_into(&low, "key", "low");
    script.stream.put_into(&high, "key", "high");
    until("the first records of both children", || {
        script.delivery_log.distinct() == 2
    })
    .await;
    script.stream.fail_listings(None);
    until("the parent's row to go", || {
        script.store.lease_rows().iter().all(|row| row.key != parent)
    })
    .await;
    worker.leave().await;
}
