//! Writes whose answer is lost, before or after they are made.
//!
//! The SDK sends such a write again. What comes back must show the row as it is, so that the writer recognises its own
//! write and never takes it for a lost lease.

use kinex_aws::{Access, Clients, FaultKind, RequestCount};
use kinex_core::id::{Epoch, Incarnation, ShardId};
use kinex_core::lease::{Checkpoint, Fence, Lease, LeaseWrite, Position, Process};
use kinex_core::member::Written;
use kinex_core::worker::{WorkerRow, WorkerWrite};
use kinex_embedded::{Fault, Rule, Service};
use kinex_kcl::ports::LeaseStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::Bench;

const KEY: &str = "shardId-000000000000";

fn process(name: &str) -> Process {
    Process {
        worker: name.into(),
        incarnation: format!("{name}-1").into(),
    }
}

fn fence() -> Fence {
    let Process { worker, incarnation } = process("old");
    Fence {
        worker,
        incarnation,
        epoch: Epoch(7),
    }
}

fn owned() -> Lease {
    Lease {
        owner: Some(fence().worker),
        incarnation: Some(fence().incarnation),
        counter: 3,
        ..Lease::unowned(KEY.into(), Checkpoint::TrimHorizon, Epoch(7))
    }
}

fn asked_for() -> Lease {
    Lease {
        owner: Some(process("new").worker),
        checkpoint_owner: Some(fence().worker),
        next_incarnation: Some(process("new").incarnation),
        ..owned()
    }
}

/// Every kind of write, with a row that it fits.
fn cases() -> Vec<(Option<Lease>, LeaseWrite)> {
    let key = || ShardId::from(KEY);
    let gone = || Incarnation::from("new-1");
    let at = Checkpoint::At(Position {
        sequence: 5_u128.into(),
        sub: 0,
    });
    let finished = Lease {
        checkpoint: Checkpoint::ShardEnd,
        ..owned()
    };
    let ask = LeaseWrite::Ask {
        key: key(),
        from: fence().worker,
        to: process("new"),
        epoch: Epoch(7),
    };
    let ask_over = LeaseWrite::AskOver {
        key: key(),
        from: fence().worker,
        to: process("newer"),
        gone: gone(),
        epoch: Epoch(7),
    };
    let take = LeaseWrite::Take {
        key: key(),
        to: process("new"),
        seen: owned().seen(),
    };
    let reclaim = LeaseWrite::Reclaim {
        key: key(),
        by: fence(),
        gone: gone(),
    };
    let renew = LeaseWrite::Renew {
        key: key(),
        by: fence(),
    };
    let give = LeaseWrite::Yield {
        key: key(),
        by: fence(),
        checkpoint: Some(at.clone()),
    };
    let release = LeaseWrite::Release {
        key: key(),
        by: fence(),
        checkpoint: Some(at.clone()),
    };
    let checkpoint = LeaseWrite::Checkpoint {
        key: key(),
        by: fence(),
        checkpoint: at,
        children: ["c".into()].into(),
    };
    let delete = LeaseWrite::Delete {
        key: key(),
        epoch: Epoch(7),
    };
    vec![
        (None, LeaseWrite::Create(Box::new(owned()))),
        (Some(owned()), take),
        (Some(owned()), ask),
        (Some(asked_for()), ask_over),
        (Some(asked_for()), reclaim),
        (Some(owned()), renew),
        (Some(asked_for()), give),
        (Some(owned()), release),
        (Some(owned()), checkpoint),
        (Some(finished), delete),
    ]
}

/// What the same write answers when it is made `times` times.
fn made(write: &LeaseWrite, before: Option<&Lease>, times: usize) -> Written<Lease> {
    let mut row = before.cloned();
    let mut answer = Written::Refused(row.clone());
    for _ in 0..times {
        answer = match write.apply(row.as_ref()) {
            Ok(after) => {
                row.clone_from(&after);
                Written::Done(after)
            }
            Err(_) => Written::Refused(row.clone()),
        };
    }
    answer
}

async fn check(fault: Fault, times: usize) {
    let bench = Bench::start().await;
    for (before, write) in cases() {
        let (store, table) = bench.store().await;
        if let Some(before) = &before {
            store
                .write_lease(&LeaseWrite::Create(Box::new(before.clone())))
                .await
                .expect("create");
        }
        let api = if matches!(write, LeaseWrite::Delete { .. }) {
            "DeleteItem"
        } else {
            "UpdateItem"
        };
        let rule = Rule::new(Service::DynamoDb, api, fault.clone())
            .containing(format!("\"{table}\""))
            .times(1);
        bench.endpoints.faults().add(rule);
        let written = store.write_lease(&write).await.expect("the retry succeeds");
        assert_eq!(
            written,
            made(&write, before.as_ref(), times),
            "{} with {fault:?}",
            write.kind()
        );
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_comes_back_with_the_row_it_made() {
    check(Fault::ReplyLost, 2).await;
    check(Fault::ServerErrorAfterCommit, 2).await;
}

#[tokio::test]
async fn a_write_that_was_never_made_is_made_once() {
    check(Fault::DropBeforeCommit, 1).await;
    check(Fault::Reset, 1).await;
    check(Fault::Throttle, 1).await;
    check(Fault::ServerError, 1).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_ends_the_attempt_in_time() {
    let bench = Bench::start().await;
    let (store, _) = bench.store().await;
    store
        .write_lease(&LeaseWrite::Create(Box::new(owned())))
        .await
        .expect("create");
    let renew = LeaseWrite::Renew {
        key: KEY.into(),
        by: fence(),
    };
    let rule = Rule::new(Service::DynamoDb, "UpdateItem", Fault::BlackHoleAfterCommit).times(1);
    bench.endpoints.faults().add(rule);
    let written = store.write_lease(&renew).await.expect("the retry succeeds");
    assert_eq!(written, made(&renew, Some(&owned()), 2));

    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "UpdateItem", Fault::BlackHole));
    let began = std::time::Instant::now();
    let fault = store.write_lease(&renew).await.expect_err("nobody answers");
    assert_eq!(fault.kind, FaultKind::Unreachable, "{fault}");
    // A third of the failover time, with room for a machine under load.
    assert!(began.elapsed().as_secs_f32() < 6.0, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_beat_whose_answer_is_lost_counts_twice_and_is_not_refused() {
    let bench = Bench::start().await;
    let (store, _) = bench.store().await;
    let row = WorkerRow::starting(process("old"), None, None, String::new());
    store
        .write_worker(&WorkerWrite::Register(Box::new(row)))
        .await
        .expect("register");
    bench
        .endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "UpdateItem", Fault::ReplyLost).times(1));
    let beat = WorkerWrite::Beat {
        by: process("old"),
        leases: 4,
        departing: None,
    };
    match store.write_worker(&beat).await.expect("the retry succeeds") {
        Written::Done(Some(row)) => assert_eq!((row.beat, row.leases), (2, 4)),
        other => panic!("{other:?}"),
    }
}

fn take(key: &str, counter: u64) -> LeaseWrite {
    let mut seen = owned().seen();
    seen.counter = counter;
    LeaseWrite::Take {
        key: key.into(),
        to: process("new"),
        seen,
    }
}

#[tokio::test]
async fn a_refusal_without_the_row_is_completed_by_a_read() {
    let bench = Bench::start().await;
    let (store, application) = bench.store().await;
    store
        .write_lease(&LeaseWrite::Create(Box::new(owned())))
        .await
        .expect("create");
    let silent = Access {
        dynamodb_endpoint: Some(proxy(&bench.endpoints.dynamodb_url()).await),
        ..crate::bench::access(&bench.endpoints)
    };
    let clients = Clients::connect(&silent).await.expect("loopback needs nothing");
    let store = clients.leases(&application);
    let refused = store.write_lease(&take(KEY, 99)).await.expect("an answer");
    assert_eq!(refused, Written::Refused(Some(owned())));
    let missing = store.write_lease(&take("nobody", 3)).await.expect("an answer");
    assert_eq!(missing, Written::Refused(None));
    let requests = clients.requests().snapshot();
    let count = |api: &str, outcome: &str| {
        let same = |count: &&RequestCount| count.api == api && count.outcome == outcome;
        requests.iter().find(same).map_or(0, |count| count.count)
    };
    assert_eq!((count("UpdateItem", "conflict"), count("GetItem", "ok")), (2, 2));
}

/// Some services send no item along with a refusal. This one asks the endpoint behind it not to: the text that it puts
/// in has the same length, so that nothing else of the request changes.
async fn proxy(url: &str) -> String {
    let behind = url.strip_prefix("http://").expect("plain").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut asks, mut hears) = client.into_split();
            let server = TcpStream::connect(&behind).await.expect("the endpoint");
            let (mut answers, mut takes) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut hears).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(length @ 1..) = asks.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..length]).replace("\"ALL_OLD\"", "\"NONE\"   ");
                    takes.write_all(text.as_bytes()).await.expect("the endpoint listens");
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn an_earlier_checkpoint_that_arrives_late_changes_nothing() {
    let bench = Bench::start().await;
    let (store, _) = bench.store().await;
    store
        .write_lease(&LeaseWrite::Create(Box::new(owned())))
        .await
        .expect("create");
    let checkpoint = |checkpoint| LeaseWrite::Checkpoint {
        key: KEY.into(),
        by: fence(),
        checkpoint,
        children: [].into(),
    };
    let at = |sequence: u128| {
        Checkpoint::At(Position {
            sequence: sequence.into(),
            sub: 0,
        })
    };
    for (newer, older) in [
        (at(10), at(9)),
        (at(10), Checkpoint::TrimHorizon),
        (Checkpoint::ShardEnd, at(10)),
    ] {
        let written = store.write_lease(&checkpoint(newer.clone())).await.expect("write");
        assert!(matches!(written, Written::Done(Some(_))), "{written:?}");
        let late = store.write_lease(&checkpoint(older)).await.expect("write");
        assert!(
            matches!(&late, Written::Refused(Some(row)) if row.checkpoint == newer),
            "{late:?}"
        );
    }
}
