//! What goes wrong, as the caller sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kinex_aws::{Access, Clients, FaultKind};
use kinex_core::id::Epoch;
use kinex_core::lease::{Checkpoint, Lease, LeaseWrite, Process};
use kinex_core::member::Written;
use kinex_core::worker::{WorkerRow, WorkerWrite};
use kinex_embedded::{Fault, Rule, Service};
use kinex_kcl::ports::{LeaseStore, ReadFrom, StreamReader};
use tokio::task::JoinSet;

use crate::bench::Bench;

#[tokio::test]
async fn an_endpoint_that_does_not_answer_says_how_to_start_one() {
    // Bound and dropped at once: nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", free.local_addr().expect("bound"));
    drop(free);
    let clients = Clients::connect(&Access::endpoint(&url))
        .await
        .expect("nothing is sent yet");
    let fault = clients.leases("orders").leases().await.expect_err("nobody there");
    assert_eq!(fault.kind, FaultKind::Unreachable);
    let text = fault.to_string();
    assert!(
        text.starts_with(&format!("Scan on table orders: cannot reach {url}: ")),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    assert!(
        text.ends_with("is the emulator running? start it with `kinex emulator`"),
        "{text}"
    );
}

#[tokio::test]
async fn what_does_not_exist_is_missing_and_named() {
    let bench = Bench::start().await;
    let fault = bench.clients.leases("nobody").leases().await.expect_err("no table");
    assert_eq!(fault.kind, FaultKind::Missing);
    assert!(
        fault
            .to_string()
            .contains("there is no table nobody at http://127.0.0.1:"),
        "{fault}"
    );
    let fault = bench.clients.reader("nowhere").shards().await.expect_err("no stream");
    assert_eq!(fault.kind, FaultKind::Missing);
    assert!(
        fault
            .to_string()
            .contains("there is no stream nowhere at http://127.0.0.1:"),
        "{fault}"
    );
}

#[tokio::test]
async fn throttling_and_failures_of_the_service_keep_their_kind() {
    let bench = Bench::start().await;
    let (store, _) = bench.store().await;
    for (fault, kind) in [
        (Fault::Throttle, FaultKind::Throttled),
        (Fault::ServerError, FaultKind::Service),
        (Fault::DropBeforeCommit, FaultKind::Unreachable),
        (Fault::Reset, FaultKind::Unreachable),
    ] {
        let id = bench
            .endpoints
            .faults()
            .add(Rule::new(Service::DynamoDb, "Scan", fault.clone()));
        assert_eq!(store.leases().await.expect_err("always").kind, kind, "{fault:?}");
        bench.endpoints.faults().remove(id);
    }
}

#[tokio::test]
async fn scans_that_use_up_their_retries_leave_the_renewals_theirs() {
    let bench = Bench::start().await;
    let (store, _) = bench.store().await;
    let me = Process {
        worker: "me".into(),
        incarnation: "me-1".into(),
    };
    let row = WorkerRow::starting(me.clone(), None, None, String::new());
    store
        .write_worker(&WorkerWrite::Register(Box::new(row)))
        .await
        .expect("register");
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "Scan", Fault::ServerError));
    let mut scans = JoinSet::new();
    for _ in 0..60 {
        let store = store.clone();
        scans.spawn(async move { store.leases().await });
    }
    assert!(scans.join_all().await.iter().all(Result::is_err));
    // The budget of the scans is empty: the next one is not tried again.
    let before = bench.endpoints.requests().count(Service::DynamoDb, "Scan");
    store.leases().await.expect_err("always");
    assert_eq!(bench.endpoints.requests().count(Service::DynamoDb, "Scan"), before + 1);

    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "UpdateItem", Fault::ServerError).times(1));
    let beat = WorkerWrite::Beat {
        by: me,
        leases: 0,
        departing: None,
    };
    let written = store.write_worker(&beat).await.expect("the beat is tried again");
    assert!(matches!(written, Written::Done(Some(_))), "{written:?}");
}

#[tokio::test]
async fn requests_are_counted_by_api_and_outcome() {
    let bench = Bench::start().await;
    let (store, _) = bench.store().await;
    let lease = Lease::unowned("shardId-000000000000".into(), Checkpoint::Latest, Epoch(1));
    let create = LeaseWrite::Create(Box::new(lease));
    store.write_lease(&create).await.expect("create");
    let again = store.write_lease(&create).await.expect("an answer");
    assert!(matches!(again, Written::Refused(Some(_))), "{again:?}");
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "Query", Fault::Throttle).times(1));
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "Query", Fault::ServerError).times(1));
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "Scan", Fault::ReplyLost).times(1));
    store.members().await.expect("the third attempt succeeds");
    store.leases().await.expect("the second attempt succeeds");
    let counts = bench.clients.requests().snapshot();
    let counts: Vec<_> = counts.iter().map(|c| (c.api.as_str(), c.outcome, c.count)).collect();
    for expected in [
        ("UpdateItem", "ok", 1),
        ("UpdateItem", "conflict", 1),
        ("Query", "throttled", 1),
        ("Query", "failed", 1),
        ("Query", "ok", 1),
        ("Scan", "unreachable", 1),
        ("Scan", "ok", 1),
    ] {
        assert!(counts.contains(&expected), "{expected:?} is not in {counts:?}");
    }
}

#[tokio::test]
async fn clients_that_may_have_no_effect_read_and_write_nothing() {
    let bench = Bench::start().await;
    let (store, _) = bench.store().await;
    let permitted = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&permitted);
    bench
        .clients
        .requests()
        .write_only_while(move || seen.load(Ordering::Relaxed));
    let streams = bench.clients.streams();
    streams.create("orders", 1).await.expect("create");
    permitted.store(false, Ordering::Relaxed);
    let before = bench.endpoints.requests();
    streams.delete("orders").await.expect_err("not sent");
    let lease = Lease::unowned("shardId-000000000000".into(), Checkpoint::Latest, Epoch(1));
    let create = LeaseWrite::Create(Box::new(lease));
    store.write_lease(&create).await.expect_err("not sent");
    let after = bench.endpoints.requests();
    for (service, api) in [(Service::Kinesis, "DeleteStream"), (Service::DynamoDb, "UpdateItem")] {
        assert_eq!(after.count(service, api), before.count(service, api), "{api}");
    }
    assert!(store.leases().await.expect("reads are sent").leases.is_empty());
    permitted.store(true, Ordering::Relaxed);
    store.write_lease(&create).await.expect("sent again");
}

#[tokio::test]
async fn a_garbage_iterator_and_a_garbage_sequence_number_are_faults_and_no_panics() {
    let bench = Bench::start().await;
    bench.clients.streams().create("orders", 1).await.expect("create");
    let reader = bench.clients.reader("orders");
    let garbage = kinex_kcl::ports::ShardIterator("nonsense".into());
    let fault = reader.read(&garbage, 10).await.expect_err("garbage");
    assert!(matches!(fault.kind, FaultKind::Invalid | FaultKind::Service), "{fault}");
    let shards = reader.shards().await.expect("shards");
    let from = ReadFrom::After(kinex_core::id::SequenceNumber::parse("7").expect("digits"));
    let fault = reader.iterator(&shards[0].id, &from).await.expect_err("garbage");
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
}
