//! How fast a plan is made, and how many requests the emulator answers.

use std::time::{Duration, Instant};

use kinex_aws::{Access, Clients};
use kinex_core::balance::{Candidate, Placed, Policy, View, plan};

use crate::Row;
use crate::fleet::Emulator;

/// How long each speed is measured.
const SPAN: Duration = Duration::from_secs(3);

/// A small and a large fleet after one of its workers has died, which is when a plan has most to do.
pub(crate) fn plans() -> Vec<Row> {
    let micros = |leases, workers| {
        let view = orphans(leases, workers);
        let mut rounds = Vec::new();
        let start = Instant::now();
        while start.elapsed() < SPAN {
            let round = Instant::now();
            std::hint::black_box(plan(std::hint::black_box(&view), &Policy::default()));
            rounds.push(round.elapsed());
        }
        rounds.sort_unstable();
        rounds[rounds.len() / 2].as_secs_f64() * 1e6
    };
    vec![Row {
        what: "plan",
        unit: "µs",
        first: ("30 leases, 5 workers", micros(30, 5)),
        second: ("10,000 leases, 1,000 workers", micros(10_000, 1_000)),
    }]
}

/// Leases dealt out evenly, those of the last worker orphaned.
fn orphans(leases: usize, workers: usize) -> View {
    let name = |nth: usize| format!("worker-{nth:04}").as_str().into();
    let live = workers - 1;
    View {
        workers: (0..live)
            .map(|nth| Candidate {
                id: name(nth),
                hard_cap: None,
            })
            .collect(),
        leases: (0..leases)
            .map(|nth| Placed {
                key: format!("shardId-{nth:012}").as_str().into(),
                owner: Some(nth % workers).filter(|owner| *owner < live).map(name),
                pending: false,
                hash_start: nth as u128,
                closing: false,
            })
            .collect(),
    }
}

/// Requests per second of eight callers that each wait for their answers.
pub(crate) fn endpoints() -> Vec<Row> {
    let emulator = Emulator::start(30);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (reads, writes) = runtime.block_on(async {
        let clients = Clients::connect(&Access::endpoint(emulator.url())).await.unwrap();
        let application = "figures";
        clients.tables(application).ensure().await.unwrap();
        let facts = clients.facts(application);
        facts.put("figure", "0", "{}").await.unwrap();
        let reads = per_second(|_| async { drop(facts.get("figure", "0").await.unwrap()) }).await;
        let writes = per_second(|caller| {
            let (facts, id) = (&facts, caller.to_string());
            async move { facts.put("figure", &id, "{}").await.unwrap() }
        })
        .await;
        (reads, writes)
    });
    vec![Row {
        what: "emulator, 8 callers",
        unit: "requests/s",
        first: ("GetItem", reads),
        second: ("UpdateItem", writes),
    }]
}

async fn per_second<F: Future<Output = ()>>(ask: impl Fn(usize) -> F) -> f64 {
    let start = Instant::now();
    let caller = async |nth: usize| {
        let mut asked = 0_u32;
        while start.elapsed() < SPAN {
            // Futures of the SDK are large, and eight of them stand side by side.
            Box::pin(ask(nth)).await;
            asked += 1;
        }
        asked
    };
    let (a, b, c, d, e, f, g, h) = tokio::join!(
        caller(0),
        caller(1),
        caller(2),
        caller(3),
        caller(4),
        caller(5),
        caller(6),
        caller(7)
    );
    f64::from(a + b + c + d + e + f + g + h) / start.elapsed().as_secs_f64()
}
