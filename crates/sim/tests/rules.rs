//! The test of the tests: without any one of the rules that keep one owner, the simulation finds two.
//!
//! Each rule has a scenario that its schedule is likely in, and a number of seeds within which C4 must fail.

use std::time::Duration;

use kinex_core::member::Rules;
use kinex_core::worker::RenewalMode;
use kinex_sim::{Check, Foreign, Net, Scenario, Storm, run};

const ALL: Rules = Rules {
    window_from_send: true,
    dead_by_late_read: true,
    beat_after_row: true,
    renew_after_lapse: true,
    write_before_delivery: true,
    freeze_when_asked: true,
    asker_is_no_owner: true,
    extend_when_asked: true,
    patient_handoff: true,
    take_still_row: true,
    counter_is_life: true,
    one_process_per_name: true,
};

/// The first seed below `seeds` with which C4 fails.
fn caught(scenario: &Scenario, rules: Rules, seeds: u64) -> Option<u64> {
    let mut scenario = scenario.clone();
    scenario.config.rules = rules;
    (0..seeds).find(|seed| {
        run(&scenario, *seed)
            .violations
            .iter()
            .any(|found| found.check == Check::C4)
    })
}

/// With the rule C4 holds for all these seeds; without it some seed has two owners.
fn check(name: &str, scenario: &Scenario, without: Rules, seeds: u64) {
    let found = caught(scenario, without, seeds);
    eprintln!("without rule {name}: {} seed {found:?} of {seeds}", scenario.name);
    assert!(found.is_some(), "{seeds} seeds do not miss rule {name}");
    let upto = found.map_or(0, |seed| seed + 1);
    assert_eq!(caught(scenario, ALL, upto), None, "with every rule, {name}");
}

/// Everything happens.
fn storm() -> Scenario {
    Scenario::storm(4, 10, RenewalMode::PerWorker)
}

/// Workers whose beats do not get through for a while, while answers come late: who is thought dead comes back.
fn muted() -> Scenario {
    let net = Net {
        slow_reply: 150,
        late: Duration::from_secs(12),
        timeout: Duration::from_secs(14),
        ..Net::CALM
    };
    let mut weights = [0; Storm::KINDS];
    weights[10] = 1;
    Scenario {
        name: "muted",
        net,
        storm: Some(Storm {
            every: Duration::from_secs(3),
            weights,
        }),
        ..storm()
    }
}

/// The same, with beats that are tried again soon: they land between an observer's read and its late answer. Few records, so that no checkpoint refuses what the beat should have refused.
fn late() -> Scenario {
    let muted = muted();
    Scenario {
        name: "late",
        net: Net {
            slow_reply: 300,
            late: Duration::from_secs(4),
            timeout: Duration::from_secs(1),
            ..muted.net
        },
        rate: 0.05,
        ..muted
    }
}

/// The same with hand-offs under way all the time.
fn muted_and_leaving() -> Scenario {
    let mut scenario = muted();
    scenario.name = "muted and leaving";
    if let Some(storm) = &mut scenario.storm {
        storm.weights[5] = 1;
    }
    scenario
}

/// A worker of the Java library has four of ten leases for a minute, then it dies.
fn with_foreign_owner(mode: RenewalMode) -> Scenario {
    let calm = Scenario::calm(2, 10, mode);
    let foreign = Foreign {
        leases: 4,
        renew_every: Duration::from_millis(3_300),
        dies_at: Duration::from_secs(60),
    };
    Scenario {
        name: "foreign owner",
        foreign: Some(foreign),
        faults_for: Duration::from_secs(60),
        converge_in: Duration::from_secs(40),
        ..calm
    }
}

#[test]
fn windows_run_from_the_send() {
    let without = Rules {
        window_from_send: false,
        ..ALL
    };
    check("1", &muted(), without, 40);
}

#[test]
fn an_early_read_proves_no_death() {
    let without = Rules {
        dead_by_late_read: false,
        ..ALL
    };
    check("2", &late(), without, 600);
}

#[test]
fn the_beat_is_read_after_the_row() {
    let without = Rules {
        beat_after_row: false,
        ..ALL
    };
    check("3", &storm(), without, 60);
}

#[test]
fn a_beat_revives_no_lapsed_window() {
    let without = Rules {
        renew_after_lapse: false,
        ..ALL
    };
    check("4", &storm(), without, 20);
}

#[test]
fn a_new_owner_writes_first() {
    let without = Rules {
        write_before_delivery: false,
        ..ALL
    };
    check("5", &muted_and_leaving(), without, 200);
}

#[test]
fn an_ask_freezes_the_window() {
    let without = Rules {
        freeze_when_asked: false,
        ..ALL
    };
    // Fast processors yield before anybody takes, with or without the rule.
    check("6", &Scenario::slow_storm(4, 10, RenewalMode::PerWorker), without, 800);
}

#[test]
fn a_dead_asker_leaves_no_orphan() {
    let without = Rules {
        asker_is_no_owner: false,
        ..ALL
    };
    check("7", &storm(), without, 100);
}

#[test]
fn a_forced_take_is_patient() {
    let without = Rules {
        patient_handoff: false,
        ..ALL
    };
    check("8", &storm(), without, 20);
}

#[test]
fn a_forced_take_waits_for_a_row_that_stands_still() {
    let without = Rules {
        take_still_row: false,
        ..ALL
    };
    for mode in [RenewalMode::PerWorker, RenewalMode::PerLease] {
        check("8, still row", &Scenario::slow_storm(4, 10, mode), without, 200);
    }
}

#[test]
fn an_owner_without_a_row_lives_while_it_counts() {
    let without = Rules {
        counter_is_life: false,
        ..ALL
    };
    for mode in [RenewalMode::PerWorker, RenewalMode::PerLease] {
        check("3, counter", &with_foreign_owner(mode), without, 1);
    }
}

#[test]
fn a_name_has_one_process() {
    let without = Rules {
        one_process_per_name: false,
        ..ALL
    };
    check("10", &storm(), without, 20);
}
