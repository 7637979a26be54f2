//! Tables that are missing, made at once by many, or somebody else's.

use std::sync::Mutex;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType as Type,
};
use kinex_aws::{Deleted, Entry, FaultKind, Outcome, StreamIdentity, TablesMade};
use kinex_core::id::{Epoch, ShardId};
use kinex_core::lease::{Checkpoint, Lease, LeaseWrite, Position};
use kinex_embedded::{Fault, Rule, Service};
use kinex_kcl::adoption::{Evidence, ForeignLease, foreign_lease};
use kinex_kcl::ports::LeaseStore;
use tokio::task::JoinSet;

use crate::bench::Bench;

#[tokio::test]
async fn eight_workers_that_start_at_once_make_the_tables_once() {
    let bench = Bench::start().await;
    let mut starts = JoinSet::new();
    for _ in 0..8 {
        let clients = bench.clients.clone();
        starts.spawn(async move {
            clients.tables("orders").ensure().await?;
            clients.leases("orders").leases().await
        });
    }
    for start in starts.join_all().await {
        start.expect("every worker starts");
    }
    bench
        .clients
        .tables("orders")
        .check()
        .await
        .expect("both tables are there");
}

#[tokio::test]
async fn a_creation_that_is_throttled_or_whose_answer_is_lost_still_ends_well() {
    for fault in [Fault::Throttle, Fault::ReplyLost, Fault::ServerErrorAfterCommit] {
        let bench = Bench::start().await;
        bench
            .endpoints
            .faults()
            .add(Rule::new(Service::DynamoDb, "CreateTable", fault).times(2));
        bench.clients.tables("orders").ensure().await.expect("tables");
        bench
            .clients
            .tables("orders")
            .check()
            .await
            .expect("both tables are there");
    }
}

async fn make(bench: &Bench, name: &str, keys: &[(&str, KeyType, Type)]) {
    let mut request = bench
        .raw
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, kind, of) in keys {
        let key = KeySchemaElement::builder()
            .attribute_name(*name)
            .key_type(kind.clone())
            .build();
        let attribute = AttributeDefinition::builder()
            .attribute_name(*name)
            .attribute_type(of.clone());
        request = request
            .key_schema(key.expect("given"))
            .attribute_definitions(attribute.build().expect("given"));
    }
    request.send().await.expect("the raw table");
}

async fn check_refused(name: &str, keys: &[(&str, KeyType, Type)], message: &str) {
    let bench = Bench::start().await;
    make(&bench, name, keys).await;
    let tables = bench.clients.tables("orders");
    for answer in [tables.ensure().await, tables.check().await, tables.delete().await] {
        let fault = answer.expect_err("another shape");
        if fault.kind == FaultKind::Missing {
            continue; // `check` came upon the other table first, which nobody has made.
        }
        assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Invalid, message));
    }
    let left = bench
        .raw
        .list_tables()
        .send()
        .await
        .expect("tables")
        .table_names
        .unwrap_or_default();
    assert_eq!(left, [name], "nothing was made beside it, and nothing deleted");
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused_by_naming_the_difference() {
    check_refused(
        "orders",
        &[("id", KeyType::Hash, Type::S)],
        "table orders has hash key `id` (S); a lease table has `leaseKey` (S): choose another application name",
    )
    .await;
    check_refused(
        "orders",
        &[("leaseKey", KeyType::Hash, Type::N)],
        "table orders has hash key `leaseKey` (N); a lease table has `leaseKey` (S): choose another application name",
    )
    .await;
    check_refused(
        "orders",
        &[("leaseKey", KeyType::Hash, Type::S), ("at", KeyType::Range, Type::N)],
        "table orders has range key `at` (N); a lease table has none: choose another application name",
    )
    .await;
    check_refused(
        "orders-workers",
        &[("kind", KeyType::Hash, Type::S)],
        "table orders-workers has no range key; a workers' table has `id` (S): choose another application name",
    )
    .await;
}

#[tokio::test]
async fn a_table_that_vanishes_is_reported_and_never_made_again_by_the_store() {
    let bench = Bench::start().await;
    let (store, application) = bench.store().await;
    bench.clients.tables(&application).delete().await.expect("delete");
    bench
        .clients
        .tables(&application)
        .delete()
        .await
        .expect("delete what is gone");
    let fault = store.leases().await.expect_err("no table");
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    let fault = bench.clients.tables(&application).check().await.expect_err("no table");
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    let left = bench
        .raw
        .list_tables()
        .send()
        .await
        .expect("tables")
        .table_names
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn tables_belong_to_one_stream() {
    let bench = Bench::start().await;
    let (store, application) = bench.store().await;
    let tables = bench.clients.tables(&application);
    let stream = |created_millis| StreamIdentity {
        arn: "arn:aws:kinesis:us-east-1:000000000000:stream/orders".into(),
        created_millis,
    };
    tables.bound_to(&stream(1)).await.expect("nobody has tied them");
    for found in [1, 1, 2] {
        assert_eq!(
            store.bind(&stream(found)).await.expect("bind"),
            stream(1),
            "the first one stays"
        );
    }
    tables.bound_to(&stream(1)).await.expect("the same one");
    let fault = tables.bound_to(&stream(2)).await.expect_err("made anew");
    assert_eq!(fault.kind, FaultKind::Invalid, "{fault}");
    assert_eq!(
        fault.message,
        "the leases belong to the stream arn:aws:kinesis:us-east-1:000000000000:stream/orders created at \
         1970-01-01T00:00:00.001Z; that one was deleted, and the one that has its name now was created at \
         1970-01-01T00:00:00.002Z: choose another application name, or delete the tables to start anew"
    );
    let clicks = StreamIdentity {
        arn: "arn:aws:kinesis:us-east-1:000000000000:stream/clicks".into(),
        created_millis: 1,
    };
    let fault = tables.bound_to(&clicks).await.expect_err("of another name");
    assert!(fault.message.contains("stream/orders created at"), "{fault}");
    assert!(
        fault
            .message
            .contains("not to arn:aws:kinesis:us-east-1:000000000000:stream/clicks"),
        "{fault}"
    );
}

/// Rows as the Java library leaves them: nothing says which stream they are of.
#[tokio::test]
async fn leases_of_another_stream_are_known_by_their_checkpoints() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    let mut checkpoints = Vec::new();
    for stream in ["clicks", "orders", "later"] {
        streams.create(stream, 2).await.expect("create");
        let entry = Entry {
            key: "k".into(),
            explicit_hash_key: Some(0),
            data: "x".into(),
        };
        let outcomes = bench.clients.sender(stream).put_records(&[entry]).await.expect("put");
        let Outcome::Taken { sequence, .. } = &outcomes[0] else {
            panic!("{outcomes:?}");
        };
        checkpoints.push(sequence.clone());
    }
    let reader = bench.clients.reader("orders");
    for (checkpoint, foreign) in checkpoints.into_iter().zip([true, false, true]) {
        let (store, _) = bench.store().await;
        let position = Position {
            sequence: checkpoint.clone(),
            sub: 0,
        };
        let key = ShardId::from("shardId-000000000000");
        let row = Lease::unowned(key.clone(), Checkpoint::At(position), Epoch(0));
        let written = store.write_lease(&LeaseWrite::Create(Box::new(row))).await;
        assert!(written.is_ok());
        let found = foreign_lease(&store, &reader).await.expect("both answer");
        let evidence = Evidence::Checkpoint(checkpoint);
        assert_eq!(found, foreign.then_some(ForeignLease { key, evidence }));
    }
}

/// Makes the tables of `orders`, and gives those that this very call made.
async fn made(bench: &Bench) -> TablesMade {
    let told = Mutex::new(TablesMade::default());
    let tables = bench.clients.tables("orders");
    let note = |made: TablesMade| {
        let mut told = told.lock().expect("nobody panics with it");
        told.leases = made.leases.or(told.leases.take());
        told.workers = made.workers.or(told.workers.take());
    };
    tables.make(note).await.expect("tables");
    told.into_inner().expect("nobody panics with it")
}

async fn deleted(bench: &Bench, made: &TablesMade) -> Vec<Deleted> {
    let tables = bench.clients.tables("orders");
    let deleted = tables.delete_made(made).await.expect("delete");
    deleted.into_iter().map(|(_, deleted)| deleted).collect()
}

#[tokio::test]
async fn table_that_was_there_is_not_told_and_never_deleted() {
    let bench = Bench::start().await;
    make(&bench, "orders", &[("leaseKey", KeyType::Hash, Type::S)]).await;
    let first = made(&bench).await;
    assert!(first.leases.is_none() && first.workers.is_some(), "{first:?}");
    assert_eq!(made(&bench).await, TablesMade::default(), "both are there");
    assert_eq!(deleted(&bench, &first).await, [Deleted::Foreign, Deleted::Gone]);
    assert_eq!(deleted(&bench, &first).await, [Deleted::Foreign, Deleted::Gone]);
}

#[tokio::test]
async fn table_that_was_made_again_since_stays() {
    let bench = Bench::start().await;
    let first = made(&bench).await;
    bench.clients.tables("orders").delete().await.expect("delete");
    let second = made(&bench).await;
    assert_ne!(first, second);
    assert_eq!(deleted(&bench, &first).await, [Deleted::Replaced, Deleted::Replaced]);
    bench.clients.tables("orders").check().await.expect("both are there");
    assert_eq!(deleted(&bench, &second).await, [Deleted::Gone, Deleted::Gone]);
}

#[tokio::test]
async fn table_whose_creation_lost_its_answer_is_not_told() {
    let bench = Bench::start().await;
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "CreateTable", Fault::ReplyLost).times(2));
    assert_eq!(made(&bench).await, TablesMade::default());
}
