//! From what is written to what is meant: defaults filled in, presets spelled out, expressions compiled.

use std::time::Duration;

use kinex_core::experiment::{self as core, Action, Spec, assertion, preset};

use crate::duration::DurationText;
use crate::fingerprint;
use crate::problem::Problem;
use crate::types::{KinesisExperiment, Preset, Restart, ShardSelect, Step};

/// How long balance must last where the manifest does not say: longer than one failover and its settle delay need to show.
const STABLE_FOR: Duration = Duration::from_secs(10);
/// How long a wait may take where the manifest does not say.
const BALANCE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How long any other step may take where the manifest does not say.
const STEP_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long an assertion may take to come true where the manifest does not say: what is seen lags behind what is so.
const ASSERT_TIMEOUT: Duration = Duration::from_secs(10);
/// What a pause or a freeze may take longer than it lasts.
const GRACE: Duration = Duration::from_secs(2 * 60);

/// Gives the experiment that the manifest means.
///
/// # Errors
/// Every problem that there is, with the field's path; the schema's own bounds are taken as kept.
pub fn convert(manifest: &KinesisExperiment) -> Result<Spec, Vec<Problem>> {
    let mut problems = Problems::default();
    let spec = &manifest.spec;
    let run = core::Run {
        nonce: u64::try_from(spec.run.nonce).unwrap_or(0),
        state: spec.run.state.into(),
        deadline: spec
            .run
            .deadline
            .as_ref()
            .map(|text| problems.positive("spec.run.deadline", text)),
        on_failure: spec.run.on_failure.into(),
        afterwards: spec.run.afterwards.into(),
    };
    let balance = core::Balance {
        max_imbalance: count(spec.balance.max_imbalance),
        stable_for: problems.span_or("spec.balance.stableFor", spec.balance.stable_for.as_ref(), STABLE_FOR),
        timeout: problems.span_or("spec.balance.timeout", spec.balance.timeout.as_ref(), BALANCE_TIMEOUT),
    };
    let consumers = consumers(spec, &mut problems);
    let steps = match spec.preset {
        Some(preset) => preset_steps(preset, manifest, &balance, run.on_failure),
        None => {
            let numbered = spec.steps.iter().enumerate();
            numbered
                .filter_map(|(at, step)| self::step(at, step, &balance, run.on_failure, &mut problems))
                .collect()
        }
    };
    problems.check_steps(&steps, spec.preset.is_some());
    problems.check_workers(count(spec.replicas), &steps);
    let converted = Spec {
        name: manifest.metadata.name.clone().unwrap_or_default(),
        stream: core::Stream {
            name: spec.stream.name.clone(),
            endpoint: spec.stream.endpoint_url.clone(),
            initial_shards: count(spec.stream.initial_shards),
            creation: spec.stream.creation_policy.into(),
            deletion: spec.stream.deletion_policy.into(),
        },
        replicas: count(spec.replicas),
        consumers,
        producer: core::Producer {
            records_per_second: count(spec.producer.records_per_second),
            record_bytes: count(spec.producer.record_bytes),
            lanes: spec.producer.lanes.map(count),
        },
        balance,
        run,
        steps,
        history: count(spec.report.history),
        reports: spec.report.retention.into(),
        kept_for: spec
            .ttl_seconds_after_finished
            .map(|seconds| Duration::from_secs(count(seconds).into())),
        fingerprint: fingerprint::of(spec),
    };
    if problems.0.is_empty() {
        Ok(converted)
    } else {
        Err(problems.0)
    }
}

fn consumers(spec: &crate::KinesisExperimentSpec, problems: &mut Problems) -> core::Consumers {
    let wanted = &spec.consumers;
    let at = |field: &str| format!("spec.consumers.{field}");
    let failover_after = problems.positive(&at("failoverAfter"), &wanted.failover_after);
    let settle_for = problems.span(&at("settleFor"), &wanted.settle_for);
    if settle_for >= failover_after && !failover_after.is_zero() {
        problems.add(
            &at("settleFor"),
            format!("settleFor ({settle_for:?}) is not less than failoverAfter ({failover_after:?})"),
            "leases would move only after a silent worker is given up; make settleFor the smaller one",
        );
    }
    core::Consumers {
        scale_policy: wanted.scale_policy.into(),
        stateful_set_name: wanted.stateful_set_name.clone(),
        max_leases_per_worker: count(wanted.max_leases_per_worker),
        process_parent_shard_before_children: wanted.process_parent_shard_before_children,
        strategy: wanted.strategy.into(),
        lease_stealing_interval: problems.positive(&at("leaseStealingInterval"), &wanted.lease_stealing_interval),
        cap_policy: wanted.cap_policy.into(),
        cap_rounding: wanted.cap_rounding.into(),
        renewal: wanted.renewal.into(),
        failover_after,
        settle_for,
        initial_position: wanted.initial_position.into(),
    }
}

/// A preset is expanded once, when its run begins: a scaling that is copied to `spec.replicas` changes no step.
fn preset_steps(
    wanted: Preset,
    manifest: &KinesisExperiment,
    balance: &core::Balance,
    on_failure: core::OnFailure,
) -> Vec<core::Step> {
    let spec = &manifest.spec;
    let begun = manifest.status.as_ref().filter(|status| {
        let nonce = u64::try_from(spec.run.nonce).unwrap_or(0);
        status.run_nonce == Some(nonce)
    });
    let agreed = begun.and_then(|status| status.agreed.as_ref());
    let preset = match wanted {
        Preset::SplitThenScale => preset::Preset::SplitThenScale,
        Preset::ScaleOnly => preset::Preset::ScaleOnly,
        Preset::SplitOnly => preset::Preset::SplitOnly,
        Preset::MergeBack => preset::Preset::MergeBack,
        Preset::PodLoss => preset::Preset::PodLoss,
    };
    preset.steps(&preset::Size {
        initial_shards: count(spec.stream.initial_shards),
        replicas: agreed.map_or(count(spec.replicas), |agreed| agreed.replicas),
        children_wait: spec.consumers.process_parent_shard_before_children,
        balance: balance.clone(),
        step_timeout: STEP_TIMEOUT,
        assert_timeout: ASSERT_TIMEOUT,
        on_failure,
    })
}

/// One step; `None` when it has no action, which is a problem.
fn step(
    index: usize,
    step: &Step,
    balance: &core::Balance,
    on_failure: core::OnFailure,
    problems: &mut Problems,
) -> Option<core::Step> {
    let path = format!("spec.steps[{index}]");
    let actions = actions(step, &path, balance, problems);
    let [action] = <[Action; 1]>::try_from(actions)
        .map_err(|actions| {
            let names: Vec<_> = actions.iter().map(Action::kind).collect();
            let said = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(" and ")
            };
            problems.add(
                &path,
                format!("step `{}` has {said}", step.name),
                "give each step exactly one action",
            );
        })
        .ok()?;
    let usual = match &action {
        Action::WaitUntilBalanced { .. } => balance.timeout,
        Action::Pause { lasting } | Action::FreezePod { lasting, .. } => *lasting + GRACE,
        Action::Assert { .. } => ASSERT_TIMEOUT,
        _ => STEP_TIMEOUT,
    };
    let timeout = match &step.timeout {
        Some(text) => problems.positive(&format!("{path}.timeout"), text),
        None => usual,
    };
    problems.check_timeout(&path, &action, timeout);
    Some(core::Step {
        name: step.name.clone(),
        action,
        timeout,
        on_failure: step.on_failure.map_or(on_failure, Into::into),
    })
}

fn actions(step: &Step, path: &str, balance: &core::Balance, problems: &mut Problems) -> Vec<Action> {
    // Destructured whole, so that a new action cannot be forgotten.
    let Step {
        name: _,
        timeout: _,
        on_failure: _,
        split,
        merge,
        update_shard_count,
        scale,
        kill_pod,
        freeze_pod,
        pause,
        producer,
        wait_until_balanced,
        assert,
    } = step;
    let mut actions = Vec::new();
    actions.extend(split.as_ref().map(|split| Action::Split {
        count: count(split.count),
        select: match split.select {
            ShardSelect::Widest => core::ShardSelect::Widest,
            ShardSelect::Hottest => core::ShardSelect::Hottest,
            ShardSelect::Oldest => core::ShardSelect::Oldest,
            ShardSelect::ShardIds => {
                core::ShardSelect::Ids(split.shard_ids.iter().map(|id| id.as_str().into()).collect())
            }
        },
    }));
    actions.extend(merge.as_ref().map(|merge| Action::Merge {
        count: count(merge.count),
    }));
    actions.extend(update_shard_count.as_ref().map(|update| Action::UpdateShardCount {
        target: count(update.target),
    }));
    actions.extend(scale.as_ref().map(|scale| Action::Scale {
        replicas: count(scale.replicas),
    }));
    actions.extend(kill_pod.as_ref().map(|kill| Action::KillPod {
        count: count(kill.count),
        select: kill.select.into(),
        mode: kill.mode.into(),
        witness: kill.witness,
        restart: match (kill.restart, &kill.restart_after) {
            (Restart::Immediately, _) => core::Restart::Immediately,
            (Restart::Never, _) => core::Restart::Never,
            (Restart::After, Some(wait)) => {
                core::Restart::After(problems.positive(&format!("{path}.killPod.restartAfter"), wait))
            }
            // The schema asks for it.
            (Restart::After, None) => core::Restart::Immediately,
        },
    }));
    actions.extend(freeze_pod.as_ref().map(|freeze| Action::FreezePod {
        count: count(freeze.count),
        select: freeze.select.into(),
        lasting: problems.positive(&format!("{path}.freezePod.for"), &freeze.lasting),
    }));
    actions.extend(pause.as_ref().map(|pause| Action::Pause {
        lasting: problems.span(&format!("{path}.pause.for"), &pause.lasting),
    }));
    actions.extend(producer.as_ref().map(|producer| Action::Producer {
        records_per_second: count(producer.records_per_second),
    }));
    actions.extend(wait_until_balanced.as_ref().map(|wait| Action::WaitUntilBalanced {
        max_imbalance: wait.max_imbalance.map_or(balance.max_imbalance, count),
        max_per_worker: wait.max_per_worker.map(count),
        stable_for: problems.span_or(
            &format!("{path}.waitUntilBalanced.stableFor"),
            wait.stable_for.as_ref(),
            balance.stable_for,
        ),
    }));
    actions.extend(assert.as_ref().map(|assert| {
        Action::Assert {
            all: assert
                .all
                .iter()
                .map(|one| core::Assertion {
                    name: one.name.clone(),
                    expr: one.expr.clone(),
                })
                .collect(),
        }
    }));
    actions
}

/// The schema keeps numbers within bounds; one below zero can only come round it, and then counts as zero.
fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: &str, message: String, hint: &str) {
        self.0.push(Problem::new(path, message, hint));
    }

    fn span(&mut self, path: &str, text: &DurationText) -> Duration {
        text.get().unwrap_or_else(|message| {
            self.add(path, message, "write it as 500ms, 30s, 2m or 1h30m");
            Duration::ZERO
        })
    }

    fn span_or(&mut self, path: &str, text: Option<&DurationText>, usual: Duration) -> Duration {
        text.map_or(usual, |text| self.span(path, text))
    }

    fn positive(&mut self, path: &str, text: &DurationText) -> Duration {
        let before = self.0.len();
        let span = self.span(path, text);
        if span.is_zero() && self.0.len() == before {
            self.add(
                path,
                format!("`{}` is no time at all", text.as_str()),
                "give more than 0s",
            );
        }
        span
    }

    fn check_timeout(&mut self, path: &str, action: &Action, timeout: Duration) {
        let (needs, what) = match action {
            Action::Pause { lasting } => (*lasting, "pause.for"),
            Action::FreezePod { lasting, .. } => (*lasting, "freezePod.for"),
            Action::WaitUntilBalanced { stable_for, .. } => (*stable_for, "stableFor"),
            _ => return,
        };
        if timeout < needs {
            self.add(
                &format!("{path}.timeout"),
                format!("the timeout ({timeout:?}) is shorter than {what} ({needs:?}), so the step could only fail"),
                "raise the timeout",
            );
        }
    }

    /// No step can take more workers than the steps before it leave.
    fn check_workers(&mut self, replicas: u32, steps: &[core::Step]) {
        let mut there = replicas;
        for (index, step) in steps.iter().enumerate() {
            let taken = match &step.action {
                Action::Scale { replicas } => {
                    there = *replicas;
                    continue;
                }
                Action::KillPod { count, .. } | Action::FreezePod { count, .. } => *count,
                _ => continue,
            };
            let kind = step.action.kind();
            if taken > there {
                self.add(
                    &format!("spec.steps[{index}].{kind}.count"),
                    format!("step `{}` takes {taken} workers, and there are {there} then", step.name),
                    "take fewer, or scale out before it",
                );
            }
            if let Action::KillPod {
                restart: core::Restart::Never,
                ..
            } = &step.action
            {
                there = there.saturating_sub(taken);
            }
        }
    }

    fn check_steps(&mut self, steps: &[core::Step], preset: bool) {
        let mut before: Vec<&str> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let path = if preset {
                "spec.preset".to_owned()
            } else {
                format!("spec.steps[{index}]")
            };
            if before.contains(&step.name.as_str()) {
                self.add(
                    &format!("{path}.name"),
                    format!("two steps are named `{}`", step.name),
                    "rename one of them",
                );
            }
            if let Action::Assert { all } = &step.action {
                for (number, one) in all.iter().enumerate() {
                    if let Err(error) = assertion::check(&one.expr, &before) {
                        let message = format!("step `{}`, assertion `{}`: {error}", step.name, one.name);
                        self.add(&format!("{path}.assert.all[{number}].expr"), message, &error.hint());
                    }
                }
            }
            before.push(&step.name);
        }
    }
}
