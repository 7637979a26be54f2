//! Batches that take longer than the failover time, workers of another library, and what departed workers leave behind.

use std::time::Duration;

use kinex_core::worker::{Departure, RenewalMode};
use kinex_sim::{Fault, Foreign, Outcome, Scenario, Slow, run};

const MODES: [RenewalMode; 2] = [RenewalMode::PerWorker, RenewalMode::PerLease];
const AT: Duration = Duration::from_secs(60);

/// A calm fleet whose every batch needs 11 to 19 seconds; the failover time is 10, the drain timeout 20.
fn slow(workers: usize, mode: RenewalMode, name: &'static str, faults: &[Fault]) -> Scenario {
    let script = faults.iter().map(|fault| (AT, *fault)).collect();
    let slow = Slow {
        share: 1_000,
        least: Duration::from_secs(11),
        longest: Duration::from_secs(19),
    };
    Scenario {
        slow: Some(slow),
        rate: 0.2,
        converge_in: Duration::from_secs(60),
        quiet_for: Duration::from_secs(60),
        ..Scenario::calm(workers, 12, mode).scripted(name, script)
    }
}

fn play(scenario: &Scenario, seed: u64) -> Outcome {
    let outcome = run(scenario, seed);
    if !outcome.violations.is_empty() {
        outcome.history.lines().for_each(|line| eprintln!("{line}"));
    }
    assert!(
        outcome.violations.is_empty(),
        "{} {:?} seed {seed}: {:?}",
        scenario.name,
        scenario.config.renewal,
        outcome.violations
    );
    outcome
}

/// No batch is given up and no record comes twice; without the rule that lets an owner finish, some do.
fn check(scenario: &Scenario, seeds: u64) {
    let mut without = scenario.clone();
    without.config.rules.extend_when_asked = false;
    let mut cut = 0;
    for seed in 0..seeds {
        let stats = play(scenario, seed).stats;
        assert_eq!((stats.cut, stats.duplicates), (0, 0), "{} seed {seed}", scenario.name);
        assert!(stats.delivered > 0);
        cut += run(&without, seed).stats.cut;
    }
    assert!(cut > 0, "{}: no batch is cut without the rule", scenario.name);
}

#[test]
fn long_batches_are_finished_before_their_leases_move() {
    for mode in MODES {
        check(&slow(2, mode, "slow 2 -> 4", &[Fault::Start(2), Fault::Start(3)]), 10);
    }
}

#[test]
fn a_worker_that_leaves_finishes_its_long_batches() {
    let leave = Fault::Depart {
        worker: 1,
        how: Departure::Release,
        again: None,
    };
    for mode in MODES {
        check(&slow(3, mode, "slow, one leaves", &[leave]), 10);
    }
}

#[test]
fn the_last_worker_finishes_its_long_batches() {
    let leave = |how| Fault::Depart {
        worker: 0,
        how,
        again: Some(Duration::from_secs(2)),
    };
    for mode in MODES {
        let reserve = Departure::Reserve(Duration::from_secs(40));
        check(
            &slow(1, mode, "slow, the last leaves", &[leave(Departure::Release)]),
            10,
        );
        check(&slow(1, mode, "slow, the last comes back", &[leave(reserve)]), 10);
    }
}

#[test]
fn a_processor_that_hangs_gives_its_lease_up_after_the_drain_timeout() {
    let hang = Fault::Hang {
        worker: 0,
        lasts: Duration::from_secs(120),
    };
    for mode in MODES {
        let mut scenario = slow(2, mode, "hangs", &[Fault::Start(2)]);
        scenario.script.insert(0, (AT - Duration::from_secs(5), hang));
        scenario.faults_for = Duration::from_secs(180);
        for seed in 0..10 {
            assert!(play(&scenario, seed).stats.cut > 0, "seed {seed}");
        }
    }
}

#[test]
fn a_worker_of_another_library_keeps_its_leases_while_it_renews_them() {
    for mode in MODES {
        let foreign = Foreign {
            leases: 4,
            renew_every: Duration::from_millis(3_300),
            dies_at: Duration::from_secs(60),
        };
        let scenario = Scenario {
            name: "foreign owner",
            foreign: Some(foreign),
            faults_for: Duration::from_secs(60),
            converge_in: Duration::from_secs(40),
            ..Scenario::calm(2, 10, mode)
        };
        for seed in 0..20 {
            let outcome = play(&scenario, seed);
            assert_eq!(outcome.stats.duplicates, 0, "seed {seed}");
        }
    }
}

#[test]
fn rows_of_departed_workers_are_removed_and_delay_nobody() {
    for mode in MODES {
        let scenario = Scenario {
            name: "departed",
            departed: 500,
            moves_minimum: Some(0),
            faults_for: Duration::from_secs(100),
            ..Scenario::calm(3, 12, mode)
        };
        for seed in 0..5 {
            let stats = play(&scenario, seed).stats;
            assert!(stats.settled_after < Duration::from_secs(5), "seed {seed}: {stats:?}");
            assert_eq!(stats.worker_rows, 3, "seed {seed}");
            let removed = stats.requests.get("remove").copied().unwrap_or(0);
            assert!(
                (500..600).contains(&removed),
                "seed {seed}: {removed} removals for 500 rows"
            );
            // Nobody reads those rows but to remove them.
            let reads = |kind: &str| stats.requests.get(kind).copied().unwrap_or(0);
            let (all, present) = (reads("members"), reads("members-present"));
            assert!(
                all * 20 < present,
                "seed {seed}: {all} reads of all rows, {present} of those present"
            );
        }
    }
}
