//! Any steps, in any order, under any schedule: the same end as without a fault.
//!
//! The schedules are those of `crashes`: deciders that crash between the write and its effects, two of them at once, old
//! views, effects that are lost, late or repeated. `KINEX_SEED=n` runs one; `KINEX_SEEDS=n` another number of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{
    Action, Assertion, KillMode, Outcome, Phase, PlannedPod, PodSelect, Restart, ShardSelect, Spec, Status, Step,
    Verdict, decide,
};
use super::crashes::{Lots, Shells, planned, schedules};
use super::model::Model;
use super::{drive, spec, step, wait};

const KINDS: usize = 10;

/// Three to six steps of any kind that a stream of six shards and a fleet of three can do.
fn experiment(lots: &mut Lots) -> Spec {
    let mut open = 6;
    let steps = (0..3 + lots.below(4)).map(|nth| {
        let mut step = step(&format!("step-{nth}"), action(lots, &mut open));
        step.timeout = Duration::from_secs(3_600);
        step
    });
    let steps: Vec<Step> = steps.collect();
    spec(6, 3, steps)
}

fn action(lots: &mut Lots, open: &mut u32) -> Action {
    let select = [PodSelect::MostLeases, PodSelect::Random, PodSelect::HighestOrdinal][lots.below(3)];
    match lots.below(KINDS) {
        0 => {
            let count = 1 + lots.below((*open as usize).min(3)) as u32;
            *open += count;
            let select = [ShardSelect::Widest, ShardSelect::Hottest, ShardSelect::Oldest][lots.below(3)].clone();
            Action::Split { count, select }
        }
        // Two pairs of neighbors are found among any six shards, one among any two.
        1 if *open >= 2 => {
            let count = 1 + lots.below(if *open >= 6 { 2 } else { 1 }) as u32;
            *open -= count;
            Action::Merge { count }
        }
        2 => {
            *open = open.div_ceil(2) + lots.below(*open as usize) as u32;
            Action::UpdateShardCount { target: *open }
        }
        3 => Action::Scale {
            replicas: 2 + lots.below(4) as u32,
        },
        4 => Action::KillPod {
            count: 1 + lots.below(2) as u32,
            select,
            mode: [KillMode::Delete, KillMode::Force, KillMode::Crash][lots.below(3)],
            witness: lots.below(2) == 0,
            restart: Restart::Immediately,
        },
        5 => Action::FreezePod {
            count: 1,
            select,
            lasting: Duration::from_secs(2 + lots.below(15) as u64),
        },
        6 => Action::Pause {
            lasting: Duration::from_secs(1 + lots.below(5) as u64),
        },
        7 => Action::Producer {
            records_per_second: lots.below(100) as u32,
        },
        1 | 8 => wait(),
        _ => Action::Assert {
            all: vec![Assertion {
                name: "open".to_owned(),
                expr: format!("stream.open == {open}"),
            }],
        },
    }
}

/// What a run leaves behind. (Not the producer's rate: an old order that comes after the end of the run stands.)
#[derive(Debug, PartialEq)]
struct End {
    verdict: Verdict,
    phase: Phase,
    outcomes: Vec<(String, Outcome)>,
    splits: usize,
    merges: usize,
    kills: usize,
    open: usize,
    replicas: u32,
    frozen: usize,
    /// Leases of each worker, the fewest first.
    leases: Vec<usize>,
}

fn end(status: &Status, model: &Model) -> End {
    let mut leases: BTreeMap<_, usize> = model.world.workers.iter().map(|worker| (&worker.id, 0)).collect();
    for owner in model.world.leases.iter().filter_map(|lease| lease.owner.as_ref()) {
        *leases.entry(owner).or_default() += 1;
    }
    let mut leases: Vec<usize> = leases.into_values().collect();
    leases.sort_unstable();
    End {
        verdict: status.verdict,
        phase: status.phase,
        outcomes: status
            .steps
            .iter()
            .map(|step| (step.name.clone(), step.outcome))
            .collect(),
        splits: model.splits.len(),
        merges: model.merges.len(),
        kills: model.killed.len(),
        open: model.world.stream.shards.iter().filter(|shard| shard.open).count(),
        replicas: model.world.replicas.wanted,
        frozen: model.world.workers.iter().filter(|worker| worker.frozen).count(),
        leases,
    }
}

/// Time goes on, and so do the looks at a run that has ended, until everything has settled.
fn settle(spec: &Spec, status: &Status, model: &mut Model) {
    for _ in 0..60 {
        let decision = decide(spec, status, &model.observe(), model.now);
        assert_eq!(decision.status.verdict, status.verdict);
        decision.effects.iter().for_each(|effect| model.apply(effect));
        model.pass(Duration::from_millis(500));
    }
}

fn check(seed: u64) {
    let mut lots = Lots(seed);
    let wanted = experiment(&mut lots);
    let (mut calm, mut spec) = (Model::new(), wanted.clone());
    let undisturbed = drive(&mut spec, &mut calm, Status::default(), |_, _, _| {});
    settle(&wanted, &undisturbed, &mut calm);
    let expected = end(&undisturbed, &calm);
    assert_eq!(expected.verdict, Verdict::Pass, "KINEX_SEED={seed}: {undisturbed:#?}");

    let (mut model, mut shells) = (Model::new(), Shells::new());
    for _ in 0..8_000 {
        shells.act(&wanted, &mut model, &mut lots);
        shells.deliver(&mut model, &mut lots);
        model.pass(Duration::from_millis(lots.next() % 900));
        if shells.stored.phase.ended() {
            break;
        }
    }
    shells.deliver_all(&mut model);
    settle(&wanted, &shells.stored, &mut model);
    let status = &shells.stored;
    assert_eq!(
        end(status, &model),
        expected,
        "KINEX_SEED={seed}: {:#?} {status:#?}",
        wanted.steps
    );

    let (splits, merges) = planned(&status.steps);
    let split: BTreeSet<String> = model.splits.iter().map(ToString::to_string).collect();
    assert_eq!(split, splits, "KINEX_SEED={seed}: {status:#?}");
    assert_eq!(
        (model.splits.len(), model.merges.len()),
        (splits.len(), merges),
        "KINEX_SEED={seed}"
    );
    let of_kills = status.steps.iter().filter(|step| step.kind == "killPod");
    let mut meant: Vec<PlannedPod> = of_kills
        .filter_map(|step| step.plan.clone())
        .flat_map(|plan| plan.pods)
        .collect();
    let mut killed = model.killed.clone();
    let key = |pod: &PlannedPod| (pod.worker.clone(), pod.incarnation.clone());
    meant.sort_by_key(key);
    killed.sort_by_key(key);
    assert_eq!(
        killed, meant,
        "KINEX_SEED={seed}: each process that was meant, once, and no other"
    );
}

#[test]
fn ten_thousand_schedules_of_any_steps_end_as_undisturbed_ones() {
    schedules(check);
}

#[test]
fn every_kind_of_step_is_among_the_schedules() {
    let kinds: BTreeSet<&str> = (0..200)
        .flat_map(|seed| experiment(&mut Lots(seed)).steps)
        .map(|step| step.action.kind())
        .collect();
    assert_eq!(kinds.len(), KINDS, "{kinds:?}");
}
