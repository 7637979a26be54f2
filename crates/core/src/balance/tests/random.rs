//! Random fleets. A failing case is printed with its seed, and `PROPTEST_RNG_SEED` takes one.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Case {
    view: View,
    policy: Policy,
}

fn cases() -> impl Strategy<Value = Case> {
    let caps = prop::collection::vec(prop::option::weighted(0.3, 0_u32..12), 0..24);
    let policy = (prop::option::of(0_u32..14), any::<bool>(), prop::bool::weighted(0.1));
    (caps, policy).prop_flat_map(|(caps, (hard_cap, strict, floor))| {
        // The numbers behind the last worker stand for nobody, and for workers that do not share.
        let owners = prop::collection::vec((0..caps.len() + 3, any::<bool>(), 0_u8..40), 0..120);
        owners.prop_map(move |owners| {
            let name = |nth: usize| WorkerId::from(format!("w{nth}"));
            let lease = |(nth, (owner, pending, hash)): (usize, &(usize, bool, u8))| Placed {
                pending: *pending,
                hash_start: u128::from(*hash),
                ..placed(nth, (*owner != caps.len()).then(|| name(*owner)))
            };
            let worker = |(nth, hard_cap): (usize, &Option<u32>)| Candidate {
                id: name(nth),
                hard_cap: *hard_cap,
            };
            Case {
                view: View {
                    workers: caps.iter().enumerate().map(worker).collect(),
                    leases: owners.iter().enumerate().map(lease).collect(),
                },
                policy: Policy {
                    hard_cap,
                    cap_policy: if strict { CapPolicy::Strict } else { CapPolicy::Cover },
                    cap_rounding: if floor { CapRounding::Floor } else { CapRounding::Ceil },
                },
            }
        })
    })
}

fn have(view: &View, worker: &WorkerId) -> usize {
    view.leases
        .iter()
        .filter(|lease| lease.owner.as_ref() == Some(worker))
        .count()
}

fn shares(view: &View, name: Option<&WorkerId>) -> bool {
    view.workers.iter().any(|worker| Some(&worker.id) == name)
}

/// What the fewest moves to these quotas are.
fn needed(view: &View, quota: &std::collections::BTreeMap<WorkerId, u32>) -> usize {
    quota
        .iter()
        .map(|(worker, quota)| have(view, worker).saturating_sub(*quota as usize))
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_lease_is_decided_and_every_quota_is_met(Case { view, policy } in cases()) {
        let plan = plan(&view, &policy);
        let done = after(&view, &plan.moves);
        prop_assert_eq!(plan.target.len(), view.leases.len());
        for lease in done.leases.iter().filter(|lease| shares(&view, lease.owner.as_ref())) {
            prop_assert_eq!(plan.target[&lease.key].as_ref(), lease.owner.as_ref());
        }
        for (worker, quota) in &plan.quota {
            prop_assert_eq!(have(&done, worker), *quota as usize, "{}", worker);
        }
    }

    #[test]
    fn cover_reads_every_shard_and_strict_spills_exactly_what_is_above_the_caps(Case { view, policy } in cases()) {
        prop_assume!(!view.workers.is_empty());
        let plan = plan(&view, &policy);
        let floor = policy.cap_rounding == CapRounding::Floor;
        let share = if floor { (view.leases.len() / view.workers.len()).max(1) } else { usize::MAX };
        let cap = |worker: &Candidate| share.min(policy.cap_of(worker) as usize);
        let room = view.workers.iter().map(cap).fold(0_usize, usize::saturating_add);
        let above = view.leases.len().saturating_sub(room);
        let unowned = floor || policy.cap_policy == CapPolicy::Strict;
        prop_assert_eq!(plan.spilled().count(), if unowned { above } else { 0 });
        prop_assert_eq!(plan.cap_exceeded, (above > 0).then_some(CapExceeded { by: above, unowned }));
        if above == 0 || unowned {
            prop_assert!(view.workers.iter().all(|worker| plan.quota[&worker.id] as usize <= cap(worker)));
        }
    }

    #[test]
    fn workers_below_their_caps_differ_by_one_at_most(Case { view, policy } in cases()) {
        let plan = plan(&view, &policy);
        let below = |worker: &&Candidate| plan.quota[&worker.id] < policy.cap_of(worker);
        let quotas: Vec<u32> = view.workers.iter().filter(below).map(|worker| plan.quota[&worker.id]).collect();
        if plan.cap_exceeded.is_none() && !quotas.is_empty() {
            let least = *quotas.iter().min().unwrap();
            prop_assert!(quotas.iter().max().unwrap() - least <= 1);
            // Nobody, capped or not, has more than they do but for the one.
            prop_assert!(plan.quota.values().all(|quota| *quota <= least + 1));
        }
    }

    #[test]
    fn only_a_worker_over_its_quota_loses_leases_and_only_so_many(Case { view, policy } in cases()) {
        let plan = plan(&view, &policy);
        prop_assert_eq!(plan.moves_of_live(), needed(&view, &plan.quota));
        for a_move in &plan.moves {
            if let Some(from) = &a_move.from {
                prop_assert!(have(&view, from) > plan.quota[from] as usize);
            }
        }
    }

    #[test]
    fn no_other_choice_of_the_larger_quotas_moves_less(Case { view, .. } in cases(), swaps in prop::collection::vec((0_usize..24, 0_usize..24), 8)) {
        prop_assume!(!view.workers.is_empty());
        let mut view = view;
        view.workers.iter_mut().for_each(|worker| worker.hard_cap = None);
        let plan = plan(&view, &Policy::default());
        let mut quota = plan.quota.clone();
        for (a, b) in swaps {
            let names: Vec<WorkerId> = quota.keys().cloned().collect();
            let (a, b) = (&names[a % names.len()], &names[b % names.len()]);
            let (at_a, at_b) = (quota[a], quota[b]);
            quota.insert(a.clone(), at_b);
            quota.insert(b.clone(), at_a);
        }
        prop_assert!(plan.moves_of_live() <= needed(&view, &quota));
    }

    #[test]
    fn a_plan_of_its_own_result_changes_nothing(Case { view, policy } in cases()) {
        let done = after(&view, &plan(&view, &policy).moves);
        prop_assert_eq!(plan(&done, &policy).moves, vec![]);
    }

    #[test]
    fn the_order_of_the_input_has_no_meaning(Case { view, policy } in cases(), seed in any::<u64>()) {
        let mut other = view.clone();
        other.workers.sort_by_key(|worker| stable_hash(&[worker.id.as_str(), &seed.to_string()]));
        other.leases.sort_by_key(|lease| stable_hash(&[lease.key.as_str(), &seed.to_string()]));
        prop_assert_eq!(plan(&other, &policy), plan(&view, &policy));
    }

    #[test]
    fn half_a_plan_and_a_new_one_cost_the_same_together(Case { view, policy } in cases(), done in prop::collection::vec(any::<bool>(), 120)) {
        let first = plan(&view, &policy);
        let some: Vec<&Move> = first.moves.iter().zip(&done).filter(|(_, done)| **done).map(|(a_move, _)| a_move).collect();
        let second = plan(&after(&view, some.iter().copied()), &policy);
        let total = some.iter().filter(|a_move| a_move.from.is_some()).count() + second.moves_of_live();
        prop_assert_eq!(total, first.moves_of_live());
    }

    #[test]
    fn thieves_only_ever_even_out(Case { view, policy } in cases()) {
        for worker in &view.workers {
            for a_move in adopt(&view, &policy, &worker.id) {
                prop_assert!(!shares(&view, view.leases.iter().find(|lease| lease.key == a_move.key).unwrap().owner.as_ref()));
            }
            let Some(stolen) = steal(&view, &policy, &worker.id) else { continue };
            let from = stolen.from.unwrap();
            prop_assert!(have(&view, &from) >= have(&view, &worker.id) + 2);
            prop_assert!(have(&view, &worker.id) < policy.cap_of(worker) as usize);
        }
    }
}
