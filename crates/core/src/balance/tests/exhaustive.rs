//! Every assignment of few leases to few workers, held against the best of all assignments.

use super::*;

#[test]
fn every_small_fleet_is_planned_as_well_as_possible() {
    let mut cases = 0;
    for workers in 1..=4_usize {
        for leases in 0..=6_usize {
            // An assignment is a number whose digits name the owners; the digit `workers` stands for nobody.
            for number in 0..(workers + 1).pow(leases as u32) {
                check(workers, &digits(number, workers + 1, leases));
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 19_531 + 5_461 + 1_093 + 127);
}

fn digits(mut number: usize, base: usize, len: usize) -> Vec<usize> {
    let mut digits = Vec::with_capacity(len);
    for _ in 0..len {
        digits.push(number % base);
        number /= base;
    }
    digits
}

fn check(workers: usize, owners: &[usize]) {
    let name = |nth: usize| WorkerId::from(format!("w{nth}"));
    let view = View {
        workers: (0..workers)
            .map(|nth| Candidate {
                id: name(nth),
                hard_cap: None,
            })
            .collect(),
        leases: owners
            .iter()
            .enumerate()
            .map(|(nth, owner)| placed(nth, (*owner < workers).then(|| name(*owner))))
            .collect(),
    };
    let plan = plan(&view, &Policy::default());
    let done = after(&view, &plan.moves);
    let counts = counts(&done);
    let held = &counts[..workers];
    assert_eq!(counts[workers], 0, "{owners:?}: all leases have an owner");
    assert!(
        held.iter().max().unwrap() - held.iter().min().unwrap() <= 1,
        "{owners:?}: {counts:?}"
    );
    assert_eq!(plan.moves_of_live(), fewest_moves(workers, owners), "{owners:?}");
}

/// The fewest leases that must leave a worker in any even assignment: tried for every choice of who gets one more.
fn fewest_moves(workers: usize, owners: &[usize]) -> usize {
    let (low, more) = (owners.len() / workers, owners.len() % workers);
    let have = |worker: usize| owners.iter().filter(|owner| **owner == worker).count();
    let choices = (0_usize..1 << workers).filter(|choice| choice.count_ones() as usize == more);
    let cost = |choice: usize| {
        (0..workers)
            .map(|worker| have(worker).saturating_sub(low + (choice >> worker & 1)))
            .sum()
    };
    choices.map(cost).min().unwrap()
}
