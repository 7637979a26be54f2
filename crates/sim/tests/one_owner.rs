//! Seeds: `KINEX_SIM_SEEDS=N` plays N of each, `KINEX_SIM_SEED=S` plays one and prints its history on failure.

use kinex_core::worker::RenewalMode;
use kinex_sim::{Scenario, run};

const MODES: [RenewalMode; 2] = [RenewalMode::PerWorker, RenewalMode::PerLease];

/// Plays the seeds; all checks must hold.
fn check(scenario: &Scenario, seeds: u64) {
    let one = env("KINEX_SIM_SEED");
    let seeds = one.map_or(0..env("KINEX_SIM_SEEDS").unwrap_or(seeds), |seed| seed..seed + 1);
    let mut failed = Vec::new();
    for seed in seeds {
        let outcome = run(scenario, seed);
        if outcome.violations.is_empty() {
            continue;
        }
        if one.is_some() {
            outcome.history.lines().for_each(|line| eprintln!("{line}"));
        }
        let first = &outcome.violations[0];
        eprintln!(
            "{} {:?} KINEX_SIM_SEED={seed}: {first}",
            scenario.name, scenario.config.renewal
        );
        failed.push(seed);
    }
    assert!(failed.is_empty(), "{} fails for the seeds {failed:?}", scenario.name);
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_calm_fleet_is_balanced() {
    for mode in MODES {
        check(&Scenario::calm(3, 20, mode), 20);
    }
}

#[test]
fn everything_at_once_never_makes_two_owners() {
    for mode in MODES {
        check(&Scenario::storm(4, 10, mode), 100);
    }
}

#[test]
fn thirty_shards_on_five_workers_weather_the_storm() {
    check(&Scenario::storm(5, 30, RenewalMode::PerWorker), 20);
}

#[test]
fn thirty_shards_renewed_one_by_one_weather_the_storm() {
    check(&Scenario::storm(5, 30, RenewalMode::PerLease), 20);
}

#[test]
fn children_wait_for_their_parents_in_the_storm() {
    for mode in MODES {
        let mut scenario = Scenario::storm(3, 6, mode);
        scenario.name = "parents first";
        scenario.config.parents_first = true;
        check(&scenario, 40);
    }
}

/// `KINEX_SIM_SEEDS=10000` plays what the rule for long batches was accepted with.
#[test]
fn long_batches_in_the_storm_never_make_two_owners() {
    for mode in MODES {
        check(&Scenario::slow_storm(4, 10, mode), 100);
    }
}

/// Seeds that once found a fault.
#[test]
fn seeds_of_old_faults_pass() {
    // A yield given up as lost succeeded after the lease was reclaimed.
    passes(&Scenario::storm(4, 10, RenewalMode::PerLease), 4);
    // A row removed by hand came back with the beat that an observer had seen before.
    passes(&Scenario::storm(4, 10, RenewalMode::PerWorker), 242);
    // So did the row of a process that was still joining, and slept between its first row and the reply.
    passes(&Scenario::storm(5, 30, RenewalMode::PerLease), 4793);
    // A row was not read before a long sleep and removed by hand after it: that it was missing twice proved nothing.
    passes(&Scenario::storm(5, 30, RenewalMode::PerWorker), 3353);
    // The late answer to a reclaim hid that somebody had asked once more.
    passes(&Scenario::storm(5, 30, RenewalMode::PerWorker), 113);
    passes(&Scenario::storm(5, 30, RenewalMode::PerWorker), 209);
    // A lease that was asked for arrived after the worker had said that it was gone.
    passes(&Scenario::storm(5, 30, RenewalMode::PerWorker), 72);
    // A late answer to a reclaim left a drained lease with nobody to yield it to.
    passes(&Scenario::storm(4, 10, RenewalMode::PerLease), 28);
    // A read of all rows that was under way when a shard was finished brought its lease back: the records came again.
    passes(&Scenario::slow_storm(4, 10, RenewalMode::PerLease), 5961);
    // The replies to the checkpoint at the shard's end and to the next renewal were lost: a release wrote over the end.
    passes(&Scenario::slow_storm(4, 10, RenewalMode::PerLease), 3462);
    // A process that had been replaced while it was cut off found its successor's row removed by hand, wrote its own again
    // and took the successor's leases at once, which the successor went on delivering until its next beat.
    passes(&Scenario::storm(4, 10, RenewalMode::PerWorker), 6248);
}

fn passes(scenario: &Scenario, seed: u64) {
    let violations = run(scenario, seed).violations;
    assert!(violations.is_empty(), "{} seed {seed}: {violations:?}", scenario.name);
}
