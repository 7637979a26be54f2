//! What a plan says that a change takes, held against fleets to which the change happens.

use std::time::Duration;

use kinex_core::balance::{Candidate, Change, Placed, Policy, View, what_if};
use kinex_core::id::{ShardId, WorkerId};
use kinex_core::worker::{Departure, RenewalMode};
use kinex_sim::{Fault, Scenario, run};

const SEEDS: u64 = 10;

fn worker(nth: usize) -> WorkerId {
    WorkerId::from(format!("w{nth}"))
}

fn candidate(nth: usize) -> Candidate {
    Candidate {
        id: worker(nth),
        hard_cap: None,
    }
}

/// So many leases, dealt out evenly to so many workers.
fn view(workers: usize, leases: usize) -> View {
    let placed = |nth: usize| Placed {
        key: ShardId::from(format!("s{nth:04}")),
        owner: Some(worker(nth % workers)),
        pending: false,
        hash_start: nth as u128,
        closing: false,
    };
    View {
        workers: (0..workers).map(candidate).collect(),
        leases: (0..leases).map(placed).collect(),
    }
}

/// The estimate is no shorter than the slowest of the runs, and at most three times as long.
fn check(workers: usize, leases: usize, faults: &[Fault], change: &Change) {
    let at = Duration::from_secs(20);
    let script = faults.iter().map(|fault| (at, *fault)).collect();
    let scenario = Scenario {
        converge_in: Duration::from_secs(40),
        ..Scenario::calm(workers, leases, RenewalMode::PerWorker).scripted("estimate", script)
    };
    let estimate = what_if(&view(workers, leases), change, &Policy::default(), &scenario.config).converges_in;
    let mut slowest = Duration::ZERO;
    for seed in 0..SEEDS {
        let outcome = run(&scenario, seed);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:?}", outcome.violations);
        slowest = slowest.max(outcome.stats.settled_after);
    }
    eprintln!("{workers} workers, {leases} leases, {faults:?}: {estimate:?} estimated, {slowest:?} the slowest");
    assert!(
        slowest <= estimate && estimate <= slowest * 3,
        "{faults:?}: {estimate:?} estimated, {slowest:?} the slowest"
    );
}

#[test]
fn a_plan_says_how_long_a_fleet_takes_that_grows() {
    for (workers, leases) in [(3, 30), (2, 300)] {
        let change = Change {
            join: vec![candidate(workers), candidate(workers + 1)],
            ..Change::default()
        };
        check(
            workers,
            leases,
            &[Fault::Start(workers), Fault::Start(workers + 1)],
            &change,
        );
    }
}

#[test]
fn a_plan_says_how_long_a_fleet_takes_that_a_worker_leaves() {
    let leave = Fault::Depart {
        worker: 1,
        how: Departure::Release,
        again: None,
    };
    let change = Change {
        leave: vec![worker(1)],
        ..Change::default()
    };
    check(5, 30, &[leave], &change);
}

#[test]
fn a_plan_says_how_long_a_fleet_takes_that_loses_a_worker() {
    let crash = Fault::Crash {
        worker: 1,
        witness: false,
        again: None,
    };
    let change = Change {
        die: vec![worker(1)],
        ..Change::default()
    };
    check(5, 30, &[crash], &change);
}
