//! Rows that other hands have written.

use aws_sdk_dynamodb::types::AttributeValue;
use kinex_core::lease::{Checkpoint, Lease, LeaseWrite, Process};
use kinex_core::member::Written;
use kinex_core::worker::{RenewalMode, WorkerRow, WorkerWrite};
use kinex_embedded::{Fault, Rule, Service};
use kinex_kcl::ports::{FaultKind, LeaseStore};

use crate::bench::{Bench, n, s};

#[tokio::test]
async fn corrupt_rows_are_reported_and_the_others_left_alone() {
    let bench = Bench::start().await;
    let (store, table) = bench.store().await;
    let good = Lease::unowned("shardId-good".into(), Checkpoint::TrimHorizon, kinex_core::id::Epoch(3));
    store
        .write_lease(&LeaseWrite::Create(Box::new(good.clone())))
        .await
        .expect("create");
    let huge = "9".repeat(38);
    let rows: [(&str, &[(&str, AttributeValue)]); 7] = [
        (
            "shardId-1-wrong-type",
            &[("leaseCounter", s("12")), ("checkpoint", s("LATEST"))],
        ),
        ("shardId-2-no-counter", &[("checkpoint", s("LATEST"))]),
        (
            "shardId-3-negative",
            &[("leaseCounter", n("-1")), ("checkpoint", s("LATEST"))],
        ),
        (
            "shardId-4-huge",
            &[("leaseCounter", n(&huge)), ("checkpoint", s("LATEST"))],
        ),
        ("shardId-5-no-checkpoint", &[("leaseCounter", n("1"))]),
        (
            "shardId-6-unknown-kind",
            &[
                ("leaseCounter", n("1")),
                ("checkpoint", s("LATEST")),
                ("entityType", s("PARTY")),
            ],
        ),
        ("shardId-7-of-java", &[("entityType", s("WORKER_METRIC_STATS"))]),
    ];
    for (key, attributes) in rows {
        bench.put(&table, &[&[("leaseKey", s(key))], attributes].concat()).await;
    }
    let scan = store.leases().await.expect("scan");
    assert_eq!(scan.leases, std::slice::from_ref(&good));
    let bad: Vec<_> = scan.unreadable.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        bad,
        [
            "shardId-1-wrong-type",
            "shardId-2-no-counter",
            "shardId-3-negative",
            "shardId-4-huge",
            "shardId-5-no-checkpoint",
            "shardId-6-unknown-kind"
        ]
    );

    let fault = store
        .lease(&"shardId-1-wrong-type".into())
        .await
        .expect_err("unreadable");
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(
        fault.message,
        "row `shardId-1-wrong-type` cannot be read: `leaseCounter` is a string; expected a number; repair or delete the row"
    );
    let take = LeaseWrite::Take {
        key: "shardId-good".into(),
        to: me(),
        seen: good.seen(),
    };
    let written = store.write_lease(&take).await.expect("the good row is as usual");
    assert!(matches!(written, Written::Done(Some(_))), "{written:?}");
}

#[tokio::test]
async fn a_scan_that_fails_half_way_is_an_error_and_no_partial_view() {
    let bench = Bench::start().await;
    let (store, table) = bench.store().await;
    for number in 0..6 {
        let row = [
            ("leaseKey", s(&format!("shardId-{number}"))),
            ("leaseCounter", n("1")),
            ("checkpoint", s("LATEST")),
            ("ballast", s(&"x".repeat(390_000))),
        ];
        bench.put(&table, &row).await;
    }
    assert_eq!(store.leases().await.expect("scan").leases.len(), 6);
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "Scan", Fault::ServerError).containing("ExclusiveStartKey"));
    let fault = store.leases().await.expect_err("the second page fails");
    assert_eq!(fault.kind, FaultKind::Service, "{fault}");
}

#[tokio::test]
async fn a_bad_row_of_a_worker_does_not_blind_the_others() {
    let bench = Bench::start().await;
    let (store, application) = bench.store().await;
    store.open_group(RenewalMode::PerWorker).await.expect("group");
    let row = WorkerRow::starting(me(), None, None, String::new());
    store
        .write_worker(&WorkerWrite::Register(Box::new(row.clone())))
        .await
        .expect("register");
    let bad = [("kind", s("member")), ("id", s("ghost")), ("incarnation", n("1"))];
    bench.put(&format!("{application}-workers"), &bad).await;
    let (group, workers) = store.members().await.expect("members");
    assert_eq!(workers, [row]);
    assert!(group.is_some());
    let fault = store.worker(&"ghost".into()).await.expect_err("unreadable");
    assert_eq!(
        fault.message,
        "row `ghost` cannot be read: `incarnation` is a number; expected a string; repair or delete the row"
    );
}

#[tokio::test]
async fn the_row_of_the_group_is_no_workers() {
    let bench = Bench::start().await;
    let (store, _) = bench.store().await;
    let row = WorkerRow {
        id: "#group".into(),
        ..WorkerRow::starting(me(), None, None, String::new())
    };
    let fault = store
        .write_worker(&WorkerWrite::Register(Box::new(row)))
        .await
        .expect_err("taken");
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
}

#[tokio::test]
async fn a_lease_goes_to_an_asker_of_the_java_library_which_has_no_incarnation() {
    let bench = Bench::start().await;
    let (store, table) = bench.store().await;
    let row = [
        ("leaseKey", s("shardId-0")),
        ("leaseOwner", s("java")),
        ("checkpointOwner", s("me")),
        ("incarnation", s("me-1")),
        ("epoch", n("4")),
        ("leaseCounter", n("9")),
        ("checkpoint", s("LATEST")),
    ];
    bench.put(&table, &row).await;
    let before = store.lease(&"shardId-0".into()).await.expect("read").expect("a row");
    let write = LeaseWrite::Yield {
        key: "shardId-0".into(),
        by: kinex_core::lease::Fence {
            worker: "me".into(),
            incarnation: "me-1".into(),
            epoch: kinex_core::id::Epoch(4),
        },
        checkpoint: Some(Checkpoint::ShardEnd),
    };
    let after = write.apply(Some(&before)).expect("the model allows it");
    assert_eq!(store.write_lease(&write).await.expect("yield"), Written::Done(after));
}

fn me() -> Process {
    Process {
        worker: "me".into(),
        incarnation: "me-1".into(),
    }
}
