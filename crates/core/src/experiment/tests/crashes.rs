//! Crashes after every effect, two deciders at once, old views, late and repeated effects: never a split too many.
//!
//! `KINEX_SEED=n` runs one schedule; `KINEX_SEEDS=n` another number of them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{
    Action, Decision, Effect, Outcome, ShardSelect, Spec, Status, StepResult, StreamStatus, Verdict, World, decide,
};
use super::model::Model;
use super::{spec, step};

/// Numbers that look random and are the same for the same seed.
pub(super) struct Lots(pub(super) u64);

impl Lots {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// An effect on its way.
struct Sent {
    effect: Effect,
    /// What the number of workers was when it was sent.
    generation: u64,
    /// The steps that had begun then.
    steps: usize,
}

/// What is stored, and what may be late.
pub(super) struct Shells {
    pub(super) stored: Status,
    version: u64,
    /// What each decider last read: it may be old.
    read: [(Status, u64); 2],
    /// What was observed lately, newest last.
    views: Vec<World>,
    /// Effects on their way.
    under_way: Vec<Sent>,
}

impl Shells {
    pub(super) fn new() -> Self {
        let nothing = (Status::default(), 0);
        let (stored, version) = nothing.clone();
        Self {
            stored,
            version,
            read: [nothing.clone(), nothing],
            views: Vec::new(),
            under_way: Vec::new(),
        }
    }

    /// One of the deciders does something, or only a part of it.
    pub(super) fn act(&mut self, spec: &Spec, model: &mut Model, lots: &mut Lots) {
        self.views.push(model.observe());
        if self.views.len() > 6 {
            self.views.remove(0);
        }
        let who = lots.below(2);
        if !lots.one_in(4) {
            self.read[who] = (self.stored.clone(), self.version);
        }
        let view = if lots.one_in(3) {
            lots.below(self.views.len())
        } else {
            self.views.len() - 1
        };
        let mut seen = self.views[view].clone();
        // Caches are old in parts of what was just looked at.
        let old = &self.views[lots.below(self.views.len())];
        if lots.one_in(4) {
            seen.stream = old.stream.clone();
        }
        if lots.one_in(4) {
            seen.replicas = old.replicas.clone();
        }
        let (status, version) = self.read[who].clone();
        let Decision { status: next, effects } = decide(spec, &status, &seen, model.now);
        if lots.one_in(8) || version != self.version {
            return; // It crashed before the write, or the write was refused.
        }
        if next != status {
            self.stored = next.clone();
            self.version += 1;
            self.read[who] = (next, self.version);
        }
        let lasts = if lots.one_in(3) {
            lots.below(effects.len() + 1)
        } else {
            effects.len()
        };
        for effect in effects.into_iter().take(lasts) {
            if lots.one_in(5) {
                self.under_way.push(Sent {
                    effect: effect.clone(),
                    generation: model.world.replicas.generation,
                    steps: self.stored.steps.len(),
                });
            }
            if !lots.one_in(6) {
                model.apply(&effect);
            }
        }
    }

    /// Effects that were on their way arrive, in any order.
    pub(super) fn deliver(&mut self, model: &mut Model, lots: &mut Lots) {
        while !self.under_way.is_empty() && lots.one_in(2) {
            let sent = self.under_way.swap_remove(lots.below(self.under_way.len()));
            self.arrive(model, &sent);
        }
    }

    /// What was still on its way comes last of all.
    pub(super) fn deliver_all(&mut self, model: &mut Model) {
        for sent in std::mem::take(&mut self.under_way) {
            self.arrive(model, &sent);
            model.pass(Duration::from_secs(1));
        }
    }

    /// A scaling names the generation that it was decided for, and the API server refuses it later. A shard count can
    /// name nothing of the kind: a shell gives such a call up with its step.
    fn arrive(&self, model: &mut Model, sent: &Sent) {
        let running = self.stored.steps.len() == sent.steps
            && self
                .stored
                .steps
                .last()
                .is_some_and(|step| step.outcome == Outcome::Running);
        let lost = match &sent.effect {
            Effect::Scale { .. } => model.world.replicas.generation != sent.generation,
            Effect::UpdateShardCount { .. } => !running,
            _ => false,
        };
        if !lost {
            model.apply(&sent.effect);
        }
    }
}

fn experiment() -> Spec {
    let mut wanted = spec(
        6,
        2,
        vec![
            step(
                "split",
                Action::Split {
                    count: 3,
                    select: ShardSelect::Widest,
                },
            ),
            step("merge", Action::Merge { count: 2 }),
            step("scale", Action::Scale { replicas: 3 }),
            step(
                "split-again",
                Action::Split {
                    count: 2,
                    select: ShardSelect::Oldest,
                },
            ),
        ],
    );
    for step in &mut wanted.steps {
        step.timeout = Duration::from_secs(3_600);
    }
    wanted
}

pub(super) fn planned(steps: &[StepResult]) -> (BTreeSet<String>, usize) {
    let plans = || steps.iter().filter_map(|step| step.plan.as_ref());
    let splits = plans()
        .flat_map(|plan| plan.splits.iter().map(|split| split.shard.to_string()))
        .collect();
    (splits, plans().map(|plan| plan.merges.len()).sum())
}

fn check(seed: u64) {
    let spec = experiment();
    let (mut lots, mut model, mut shells) = (Lots(seed), Model::new(), Shells::new());
    for _ in 0..5_000 {
        shells.act(&spec, &mut model, &mut lots);
        shells.deliver(&mut model, &mut lots);
        model.pass(Duration::from_millis(lots.next() % 900));
        if shells.stored.phase.ended() {
            break;
        }
    }
    shells.deliver_all(&mut model);
    let status = &shells.stored;
    let (splits, merges) = planned(&status.steps);
    let split: Vec<String> = model.splits.iter().map(ToString::to_string).collect();
    assert_eq!(split.len(), 5, "KINEX_SEED={seed}: {split:?} {status:#?}");
    assert_eq!(
        split.iter().cloned().collect::<BTreeSet<_>>(),
        splits,
        "KINEX_SEED={seed}: {status:#?}"
    );
    assert_eq!((model.merges.len(), merges), (2, 2), "KINEX_SEED={seed}: {status:#?}");
    assert_eq!(model.world.stream.shards.len(), 6 + 2 * 5 + 2, "KINEX_SEED={seed}");
    assert!(
        status.steps.iter().all(|step| step.outcome == Outcome::Pass),
        "KINEX_SEED={seed}: {status:#?}"
    );
    assert_eq!(status.verdict, Verdict::Pass, "KINEX_SEED={seed}: {status:#?}");
}

#[allow(clippy::disallowed_methods, reason = "a test takes its seed from outside")]
pub(super) fn asked(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn ten_thousand_schedules_of_crashes_split_exactly_what_was_planned() {
    schedules(check);
}

/// The schedule that was asked for, or 10,000.
pub(super) fn schedules(check: fn(u64)) {
    if let Some(seed) = asked("KINEX_SEED") {
        return check(seed);
    }
    let seeds = asked("KINEX_SEEDS").unwrap_or(10_000);
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (0..seeds).filter(|seed| seed % 2 == half).for_each(check));
        }
    });
}

/// What a decider would do that counts its splits instead of planning them: three in all, the widest open shard next.
fn splits_by_counting(seed: u64) -> usize {
    let (mut lots, mut model, mut counted) = (Lots(seed), Model::new(), 0);
    model.apply(&Effect::CreateStream { shards: 6 });
    for _ in 0..200 {
        model.pass(Duration::from_millis(lots.next() % 900));
        let open = model.world.stream.shards.iter().filter(|shard| shard.open);
        let widest = open.max_by_key(|shard| shard.hash_range.width()).cloned();
        let ready = model.world.stream.status == StreamStatus::Active;
        if let Some(shard) = widest.filter(|_| ready && counted < 3) {
            model.split(&shard.id, shard.hash_range.start + shard.hash_range.width() / 2);
            // A crash between the effect and the write forgets that it was done.
            counted += usize::from(!lots.one_in(6));
        }
    }
    model.splits.len()
}

#[test]
fn the_schedules_catch_a_decider_that_counts_instead_of_planning() {
    let wrong = (0..1_000).filter(|&seed| splits_by_counting(seed) != 3).count();
    assert!(wrong > 100, "only {wrong} of 1000 schedules caught it");
}
