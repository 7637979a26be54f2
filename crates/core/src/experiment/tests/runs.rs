//! Runs that nothing disturbs, and runs that somebody disturbs.

use std::time::Duration;

use super::super::preset::Preset;
use super::super::{
    Action, Assertion, CreationPolicy, KillMode, OnFailure, Outcome, Phase, PodSelect, Restart, RunState, ScalePolicy,
    ShardSelect, Status, StepResult, Verdict, decide,
};
use super::model::Model;
use super::{drive, preset, run, spec, step, wait};

fn result<'a>(status: &'a Status, name: &str) -> &'a StepResult {
    status
        .steps
        .iter()
        .find(|step| step.name == name)
        .unwrap_or_else(|| panic!("no step {name}: {status:#?}"))
}

fn counts(step: &StepResult) -> Vec<u32> {
    let mut counts: Vec<u32> = step.leases_per_worker.values().copied().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

fn passes(status: &Status) {
    assert_eq!(
        (status.verdict, status.phase),
        (Verdict::Pass, Phase::Succeeded),
        "{status:#?}"
    );
}

#[test]
fn twenty_shards_split_to_thirty_and_five_workers_have_six_each() {
    let (status, model) = run(spec(20, 3, preset(Preset::SplitThenScale, 20, 3)));
    passes(&status);
    assert_eq!(counts(result(&status, "steady-1")), [7, 7, 6]);
    let split = result(&status, "steady-2");
    assert_eq!(counts(split), [10, 10, 10]);
    let shards = split.stream.as_ref().unwrap();
    assert_eq!((shards.total, shards.open, shards.closed), (40, 30, 10));
    let scaled = result(&status, "steady-3");
    assert_eq!(counts(scaled), [6, 6, 6, 6, 6]);
    assert_eq!((scaled.moves, scaled.moves_minimum), (Some(12), Some(12)));
    assert!(scaled.convergence_seconds.unwrap() < scaled.seconds.unwrap());
    assert_eq!(model.splits.len(), 10);
}

#[test]
fn every_preset_passes_in_every_size() {
    for wanted in Preset::ALL {
        for (shards, workers) in [(1, 1), (4, 2), (7, 3), (20, 3), (5, 8)] {
            let (status, _) = run(spec(shards, workers, preset(wanted, shards, workers)));
            assert_eq!(
                status.verdict,
                Verdict::Pass,
                "{wanted:?} {shards} {workers}: {status:#?}"
            );
        }
    }
}

#[test]
fn all_ten_kinds_of_step_follow_each_other() {
    let second = Duration::from_secs(1);
    let holds = |expr: &str| Action::Assert {
        all: vec![Assertion {
            name: "holds".to_owned(),
            expr: expr.to_owned(),
        }],
    };
    let steps = vec![
        step("warm", wait()),
        step(
            "load",
            Action::Producer {
                records_per_second: 2_000,
            },
        ),
        step("soak", Action::Pause { lasting: second * 5 }),
        step(
            "kill",
            Action::KillPod {
                count: 1,
                select: PodSelect::MostLeases,
                mode: KillMode::Force,
                witness: true,
                restart: Restart::Immediately,
            },
        ),
        step("failover", wait()),
        step(
            "freeze",
            Action::FreezePod {
                count: 1,
                select: PodSelect::Random,
                lasting: second * 30,
            },
        ),
        step("thaw", wait()),
        step(
            "split",
            Action::Split {
                count: 2,
                select: ShardSelect::Hottest,
            },
        ),
        step("steady", wait()),
        step("merge", Action::Merge { count: 2 }),
        step("to-16", Action::UpdateShardCount { target: 16 }),
        step("shrink", Action::Scale { replicas: 2 }),
        step("settle", wait()),
        step(
            "judge",
            holds("stream.open == 16 && steps['failover'].seconds < 60.0 && leases.max == 8"),
        ),
    ];
    let (status, model) = run(spec(12, 4, steps));
    passes(&status);
    assert_eq!((model.splits.len(), model.merges.len(), model.killed.len()), (2, 2, 1));
    assert!(result(&status, "freeze").seconds.unwrap() >= 30.0);
    assert_eq!(model.world.producer_rate, Some(2_000));
    assert!(model.world.workers.iter().all(|worker| !worker.frozen));
}

#[test]
fn a_plan_is_stored_before_its_first_effect() {
    let mut model = Model::new();
    let mut status = Status::default();
    let spec = spec(6, 2, preset(Preset::SplitThenScale, 6, 2));
    for _ in 0..2_000 {
        let decision = decide(&spec, &status, &model.observe(), model.now);
        for effect in &decision.effects {
            let super::super::Effect::SplitShard { shard, .. } = effect else {
                continue;
            };
            let stored = status
                .steps
                .iter()
                .filter_map(|step| step.plan.as_ref())
                .flat_map(|plan| &plan.splits);
            assert!(
                stored.clone().any(|split| split.shard == *shard),
                "{shard} is split before it is planned"
            );
        }
        status = decision.status;
        decision.effects.iter().for_each(|effect| model.apply(effect));
        model.pass(Duration::from_millis(250));
        if status.phase.ended() {
            return;
        }
    }
    panic!("the run does not end");
}

#[test]
fn nothing_changes_in_a_run_that_has_ended() {
    let spec = spec(6, 2, preset(Preset::SplitOnly, 6, 2));
    let (status, mut model) = run(spec.clone());
    for _ in 0..20 {
        model.pass(Duration::from_secs(1));
        let decision = decide(&spec, &status, &model.observe(), model.now);
        assert_eq!(decision.effects, []);
        assert_eq!(decision.status, status, "the status is not written again");
    }
}

#[test]
fn a_step_that_waits_writes_nothing_while_nothing_changes() {
    let soak = Action::Pause {
        lasting: Duration::from_secs(3_000),
    };
    let mut wanted = spec(6, 2, vec![step("steady", wait()), step("soak", soak)]);
    wanted.steps[1].timeout = Duration::from_secs(4_000);
    let (mut model, mut status) = (Model::new(), Status::default());
    let mut still = 0;
    for _ in 0..400 {
        let decision = decide(&wanted, &status, &model.observe(), model.now);
        let soaks = status.steps.len() == 2 && status.steps[1].message.is_some();
        still += u32::from(soaks);
        assert!(
            !soaks || (decision.status == status && decision.effects.is_empty()),
            "{decision:#?}"
        );
        status = decision.status;
        decision.effects.iter().for_each(|effect| model.apply(effect));
        model.pass(Duration::from_millis(250));
    }
    assert!(still > 200, "the step was watched {still} times");
}

#[test]
fn a_failed_assertion_shows_the_expression_and_the_values() {
    let all = vec![Assertion {
        name: "three-each".to_owned(),
        expr: "leases.max == 3 && leases.cv < 0.1".to_owned(),
    }];
    let (status, _) = run(spec(
        8,
        2,
        vec![
            step("steady", wait()),
            step("judge", Action::Assert { all }),
            step("later", wait()),
        ],
    ));
    assert_eq!((status.verdict, status.phase), (Verdict::Fail, Phase::Failed));
    let message = result(&status, "judge").message.clone().unwrap();
    assert_eq!(
        message,
        "three-each: `leases.max == 3 && leases.cv < 0.1` is false; leases.cv = 0.0, leases.max = 4"
    );
    assert_eq!(result(&status, "later").outcome, Outcome::Skipped);
}

#[test]
fn a_step_that_may_fail_lets_the_others_go_on() {
    let all = vec![Assertion {
        name: "never".to_owned(),
        expr: "leases.max == 99".to_owned(),
    }];
    let mut judge = step("judge", Action::Assert { all });
    judge.on_failure = OnFailure::Continue;
    let (status, _) = run(spec(8, 2, vec![judge, step("later", wait())]));
    assert_eq!(status.verdict, Verdict::Fail);
    assert_eq!(result(&status, "later").outcome, Outcome::Pass);
}

#[test]
fn more_splits_than_shards_fail_before_anything_is_split() {
    let (status, model) = run(spec(
        4,
        2,
        vec![step(
            "split",
            Action::Split {
                count: 9,
                select: ShardSelect::Widest,
            },
        )],
    ));
    assert_eq!(status.verdict, Verdict::Fail);
    assert_eq!(model.splits, []);
    let message = status.message.unwrap();
    assert!(message.contains('9') && message.contains('4'), "{message}");
}

#[test]
fn a_shard_count_that_the_service_refuses_fails_before_it_is_asked_for() {
    let (status, _) = run(spec(4, 2, vec![step("grow", Action::UpdateShardCount { target: 9 })]));
    assert_eq!(status.verdict, Verdict::Fail);
    assert!(status.message.unwrap().contains('8'));
}

#[test]
fn a_stream_that_must_exist_and_does_not_ends_the_run() {
    let mut wanted = spec(4, 2, vec![step("steady", wait())]);
    wanted.stream.creation = CreationPolicy::MustExist;
    let (status, model) = run(wanted);
    assert_eq!((status.verdict, model.streams_made), (Verdict::Fail, 0));
    assert!(status.message.unwrap().contains("does not exist"));
}

#[test]
fn a_stream_is_recreated_once() {
    let mut wanted = spec(4, 2, vec![step("steady", wait())]);
    let mut model = Model::new();
    let first = drive(&mut wanted, &mut model, Status::default(), |_, _, _| {});
    wanted.stream.creation = CreationPolicy::Recreate;
    wanted.run.nonce = 2;
    let second = drive(&mut wanted, &mut model, first, |_, _, _| {});
    passes(&second);
    assert_eq!(model.streams_made, 2);
    assert_eq!(
        second
            .history
            .iter()
            .map(|run| (run.nonce, run.verdict))
            .collect::<Vec<_>>(),
        [(1, Verdict::Pass), (2, Verdict::Pass)]
    );
}

#[test]
fn new_run_is_not_complete_however_the_one_before_ended() {
    let mut spec = spec(6, 2, vec![step("steady", wait())]);
    let mut model = Model::new();
    let ended = drive(&mut spec, &mut model, Status::default(), |_, _, _| {});
    let complete = |status: &Status| {
        let found = status.conditions.iter().find(|one| one.kind == "Complete");
        found.map(|one| one.status.clone())
    };
    assert_eq!(complete(&ended).as_deref(), Some("True"));
    spec.run.nonce += 1;
    let begun = decide(&spec, &ended, &model.observe(), model.now).status;
    assert_eq!(complete(&begun).as_deref(), Some("False"));
}

#[test]
fn ended_runs_are_kept_up_to_a_bound() {
    let mut wanted = spec(4, 2, vec![step("steady", wait())]);
    let (mut model, mut status) = (Model::new(), Status::default());
    for nonce in 1..=6 {
        wanted.run.nonce = nonce;
        status = drive(&mut wanted, &mut model, status, |_, _, _| {});
    }
    assert_eq!(
        status.history.iter().map(|run| run.nonce).collect::<Vec<_>>(),
        [4, 5, 6]
    );
}

#[test]
fn a_foreign_split_makes_the_run_inconclusive() {
    let mut wanted = spec(
        6,
        2,
        vec![
            step(
                "soak",
                Action::Pause {
                    lasting: Duration::from_secs(20),
                },
            ),
            step("steady", wait()),
        ],
    );
    let mut done = false;
    let status = drive(&mut wanted, &mut Model::new(), Status::default(), |_, model, status| {
        if !done && status.steps.len() == 1 && model.now.since(status.steps[0].started_at.unwrap()).as_secs() > 5 {
            let shard = model.world.stream.shards[0].clone();
            model.split(&shard.id, shard.hash_range.start + 5);
            done = true;
        }
    });
    assert_eq!(status.verdict, Verdict::Inconclusive);
    assert!(
        result(&status, "soak")
            .interference
            .as_ref()
            .unwrap()
            .contains("8 shards in all instead of 6")
    );
    assert_eq!(result(&status, "steady").interference, None);
}

#[test]
fn a_foreign_scaling_stands_or_is_undone_as_the_policy_says() {
    for (policy, wanted_after) in [
        (ScalePolicy::Mirror, 4),
        (ScalePolicy::Follow, 4),
        (ScalePolicy::Enforce, 2),
    ] {
        let mut wanted = spec(
            6,
            2,
            vec![
                step(
                    "soak",
                    Action::Pause {
                        lasting: Duration::from_secs(20),
                    },
                ),
                step("steady", wait()),
            ],
        );
        wanted.consumers.scale_policy = policy;
        let (mut done, mut model) = (false, Model::new());
        let status = drive(&mut wanted, &mut model, Status::default(), |_, model, status| {
            if !done && status.steps.len() == 1 {
                model.scale(4);
                done = true;
            }
        });
        assert_eq!(status.verdict, Verdict::Inconclusive, "{policy:?}");
        assert!(result(&status, "soak").interference.is_some(), "{policy:?}");
        assert_eq!(model.world.replicas.wanted, wanted_after, "{policy:?}");
        assert_eq!(status.replicas_mirror, (policy == ScalePolicy::Mirror).then_some(4));
    }
}

#[test]
fn a_run_on_hold_counts_no_time_and_begins_nothing() {
    let mut wanted = spec(
        6,
        2,
        vec![
            step(
                "soak",
                Action::Pause {
                    lasting: Duration::from_secs(10),
                },
            ),
            step("steady", wait()),
        ],
    );
    let mut ticks = 0;
    let status = drive(&mut wanted, &mut Model::new(), Status::default(), |spec, _, status| {
        if status.steps.len() == 1 {
            ticks += 1;
            spec.run.state = if (8..400).contains(&ticks) {
                RunState::Paused
            } else {
                RunState::Running
            };
            if (9..400).contains(&ticks) {
                assert_eq!(status.phase, Phase::Paused);
            }
        }
    });
    passes(&status);
    let soak = result(&status, "soak");
    assert!((10.0..11.0).contains(&soak.seconds.unwrap()), "{soak:?}");
    assert!(soak.finished_at.unwrap().since(soak.started_at.unwrap()).as_secs() > 90);
}

#[test]
fn an_aborted_run_lets_frozen_workers_go_on() {
    let freeze = Action::FreezePod {
        count: 2,
        select: PodSelect::HighestOrdinal,
        lasting: Duration::from_secs(60),
    };
    let mut wanted = spec(6, 3, vec![step("freeze", freeze), step("steady", wait())]);
    let mut model = Model::new();
    let status = drive(&mut wanted, &mut model, Status::default(), |spec, model, _| {
        if model.world.workers.iter().filter(|worker| worker.frozen).count() == 2 {
            spec.run.state = RunState::Aborted;
        }
    });
    assert_eq!((status.verdict, status.phase), (Verdict::Aborted, Phase::Aborted));
    assert_eq!(result(&status, "freeze").outcome, Outcome::Aborted);
    model.pass(Duration::from_secs(1));
    assert!(
        model.world.workers.iter().all(|worker| !worker.frozen),
        "{:?}",
        model.world.workers
    );
}

#[test]
fn run_that_is_aborted_before_it_began_does_nothing() {
    let mut spec = spec(6, 2, vec![step("steady", wait())]);
    spec.run.state = RunState::Aborted;
    let decision = decide(&spec, &Status::default(), &Model::new().observe(), Model::new().now);
    assert_eq!((decision.status.phase, decision.effects), (Phase::Aborted, vec![]));
    assert_eq!(decision.status.run_nonce, Some(1));
}

#[test]
fn workers_that_never_come_make_a_wait_inconclusive() {
    let mut wanted = spec(6, 2, vec![step("steady", wait())]);
    let status = drive(&mut wanted, &mut Model::new(), Status::default(), |_, model, status| {
        if status.steps.len() == 1 {
            model.world.unseen = None;
            model.world.workers.clear();
            model.world.replicas.problem = Some("ImagePullBackOff on fleet-1".to_owned());
            model.freeze_fleet();
        }
    });
    assert_eq!(status.verdict, Verdict::Inconclusive);
    assert!(
        status.message.as_ref().unwrap().contains("ImagePullBackOff on fleet-1"),
        "{status:#?}"
    );
}

#[test]
fn a_world_out_of_sight_ends_steps_by_the_clock_alone() {
    let mut wanted = spec(6, 2, vec![step("steady", wait())]);
    let status = drive(&mut wanted, &mut Model::new(), Status::default(), |_, model, status| {
        if status.steps.len() == 1 {
            model.world.unseen = Some("the endpoint does not answer".to_owned());
        }
    });
    assert_eq!(status.verdict, Verdict::Inconclusive);
    assert!(status.message.unwrap().contains("the endpoint does not answer"));
}

#[test]
fn steps_that_are_changed_while_they_run_end_the_run() {
    let mut wanted = spec(
        6,
        2,
        vec![
            step(
                "soak",
                Action::Pause {
                    lasting: Duration::from_secs(20),
                },
            ),
            step("steady", wait()),
        ],
    );
    let status = drive(&mut wanted, &mut Model::new(), Status::default(), |spec, _, status| {
        if status.steps.len() == 1 {
            spec.steps = vec![step("other", wait())];
        }
    });
    assert_eq!(status.verdict, Verdict::Inconclusive);
    assert!(
        status
            .message
            .unwrap()
            .contains("soak pause became other waitUntilBalanced")
    );
}

#[test]
fn a_deadline_ends_the_run() {
    let mut wanted = spec(
        6,
        2,
        vec![step(
            "soak",
            Action::Pause {
                lasting: Duration::from_secs(100),
            },
        )],
    );
    wanted.run.deadline = Some(Duration::from_secs(30));
    let (status, _) = run(wanted);
    assert_eq!(status.verdict, Verdict::Inconclusive);
    assert!(status.message.unwrap().contains("deadline"));
}

#[test]
fn the_status_survives_its_text() {
    let (status, _) = run(spec(20, 3, preset(Preset::MergeBack, 20, 3)));
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
    assert!(status.timeline.len() <= 50);
}
