//! How fast, with how few moves and requests: what a calm fleet promises when one thing happens to it.

use std::time::Duration;

use kinex_core::member::Strategy;
use kinex_core::worker::{Departure, RenewalMode};
use kinex_sim::{Fault, Scenario, Stats, run};

const MODES: [RenewalMode; 2] = [RenewalMode::PerWorker, RenewalMode::PerLease];
const AT: Duration = Duration::from_secs(20);

/// Plays the seeds; every check holds and every run fulfils the promise.
fn check(scenario: &Scenario, seeds: u64, promise: impl Fn(&Stats) -> bool) {
    let mut slowest = Duration::ZERO;
    for seed in 0..seeds {
        let outcome = run(scenario, seed);
        let failed = !outcome.violations.is_empty() || !promise(&outcome.stats);
        if failed {
            outcome.history.lines().for_each(|line| eprintln!("{line}"));
        }
        assert!(
            !failed,
            "{} {:?} seed {seed}: {:?} {:?}",
            scenario.name, scenario.config.renewal, outcome.violations, outcome.stats
        );
        slowest = slowest.max(outcome.stats.settled_after);
    }
    eprintln!(
        "{} {:?}: {seeds} seeds, slowest {slowest:?}",
        scenario.name, scenario.config.renewal
    );
}

fn fleet(workers: usize, mode: RenewalMode, name: &'static str, faults: &[Fault]) -> Scenario {
    let script = faults.iter().map(|fault| (AT, *fault)).collect();
    let scenario = Scenario::calm(workers, 30, mode).scripted(name, script);
    Scenario {
        converge_in: Duration::from_secs(20),
        ..scenario
    }
}

#[test]
fn two_new_workers_get_their_share_in_six_seconds_and_twelve_moves() {
    for mode in MODES {
        let scenario = Scenario {
            moves_minimum: Some(12),
            ..fleet(3, mode, "3 -> 5", &[Fault::Start(3), Fault::Start(4)])
        };
        check(&scenario, 40, |stats| {
            stats.settled_after < Duration::from_secs(6) && stats.duplicates == 0
        });
    }
}

#[test]
fn a_cold_start_moves_nothing() {
    for mode in MODES {
        let scenario = Scenario {
            moves_minimum: Some(0),
            ..fleet(5, mode, "cold start", &[])
        };
        check(&scenario, 40, |stats| stats.settled_after < Duration::from_secs(5));
    }
}

#[test]
fn a_death_with_a_witness_costs_two_seconds() {
    let crash = Fault::Crash {
        worker: 1,
        witness: true,
        again: None,
    };
    for mode in MODES {
        let scenario = Scenario {
            moves_minimum: Some(0),
            ..fleet(5, mode, "kill with witness", &[crash])
        };
        check(&scenario, 40, |stats| stats.settled_after < Duration::from_secs(2));
    }
}

#[test]
fn a_death_without_a_witness_costs_the_failover_time() {
    let crash = Fault::Crash {
        worker: 1,
        witness: false,
        again: None,
    };
    for mode in MODES {
        let scenario = Scenario {
            moves_minimum: Some(0),
            ..fleet(5, mode, "kill", &[crash])
        };
        check(&scenario, 40, |stats| {
            stats.settled_after < Duration::from_millis(12_500)
        });
    }
}

#[test]
fn a_worker_that_leaves_hands_over_in_two_seconds() {
    let leave = Fault::Depart {
        worker: 1,
        how: Departure::Release,
        again: None,
    };
    for mode in MODES {
        let scenario = Scenario {
            moves_minimum: Some(6),
            ..fleet(5, mode, "leave", &[leave])
        };
        check(&scenario, 40, |stats| {
            stats.settled_after < Duration::from_secs(2) && stats.duplicates == 0
        });
    }
}

#[test]
fn a_reserved_name_gets_its_own_leases_back() {
    let leave = Fault::Depart {
        worker: 1,
        how: Departure::Reserve(Duration::from_secs(30)),
        again: Some(Duration::from_secs(5)),
    };
    for mode in MODES {
        let scenario = Scenario {
            moves_minimum: Some(0),
            ..fleet(5, mode, "reserve", &[leave])
        };
        check(&scenario, 40, |stats| {
            stats.settled_after < Duration::from_secs(7) && stats.duplicates == 0
        });
    }
}

#[test]
fn a_short_sleep_moves_nothing() {
    let sleep = Fault::Pause {
        worker: 1,
        lasts: Duration::from_secs(5),
    };
    for mode in MODES {
        let scenario = Scenario {
            moves_minimum: Some(0),
            ..fleet(5, mode, "short sleep", &[sleep])
        };
        check(&scenario, 40, |stats| stats.settled_after < Duration::from_secs(6));
    }
}

#[test]
fn more_workers_than_shards_do_no_harm() {
    for mode in MODES {
        check(&Scenario::calm(7, 4, mode), 20, |stats| stats.moves == 0);
    }
}

#[test]
fn a_balanced_fleet_needs_seven_requests_a_second() {
    let scenario = Scenario {
        quiet_for: Duration::from_secs(60),
        ..fleet(5, RenewalMode::PerWorker, "steady", &[])
    };
    check(&scenario, 20, |stats| stats.requests_per_second <= 7.0);
    let per_lease = Scenario {
        quiet_for: Duration::from_secs(60),
        ..fleet(5, RenewalMode::PerLease, "steady", &[])
    };
    check(&per_lease, 5, |stats| stats.requests_per_second <= 17.0);
    for scenario in [scenario, per_lease] {
        let stats = run(&scenario, 0).stats;
        eprintln!(
            "{:?}: {:.2} requests a second, {:?}",
            scenario.config.renewal, stats.requests_per_second, stats.requests
        );
    }
}

#[test]
fn stealing_takes_one_lease_per_worker_and_interval() {
    let every = Duration::from_secs(4);
    let mut scenario = fleet(
        3,
        RenewalMode::PerWorker,
        "stealing",
        &[Fault::Start(3), Fault::Start(4)],
    );
    scenario.config.strategy = Strategy::Stealing { every };
    scenario.moves_minimum = Some(12);
    scenario.converge_in = Duration::from_secs(60);
    // Two newcomers need six leases each: six intervals, the first of which begins at once.
    check(&scenario, 20, |stats| {
        stats.settled_after > every * 5 && stats.settled_after < every * 8 && stats.duplicates == 0
    });
}

#[test]
fn a_fleet_that_crashes_as_one_starts_without_a_scramble() {
    let crash = |worker: usize| Fault::Crash {
        worker,
        witness: worker.is_multiple_of(2),
        again: Some(Duration::from_millis(500 + 700 * worker as u64)),
    };
    let faults: Vec<Fault> = (0..5).map(crash).collect();
    for mode in MODES {
        // Those whose death nobody saw come back later than the others, and then get their share: one move a lease.
        let scenario = fleet(5, mode, "all crash", &faults);
        check(&scenario, 40, |stats| {
            stats.settled_after < Duration::from_secs(18) && stats.moves <= 30
        });
    }
}
