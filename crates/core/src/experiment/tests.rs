//! Whole runs in a model world.

mod crashes;
mod losses;
mod model;
mod records;
mod runs;
mod schedules;

use std::time::Duration;

use model::Model;

use super::preset::{Preset, Size};
use super::{
    Action, Afterwards, Balance, CapPolicy, CapRounding, Consumers, CreationPolicy, Decision, DeletionPolicy,
    InitialPosition, OnFailure, Producer, Renewal, Run, RunState, ScalePolicy, Spec, Status, Step, Strategy, Stream,
    decide,
};

fn spec(shards: u32, replicas: u32, steps: Vec<Step>) -> Spec {
    Spec {
        name: "model".to_owned(),
        stream: Stream {
            name: "model".to_owned(),
            endpoint: None,
            initial_shards: shards,
            creation: CreationPolicy::CreateIfMissing,
            deletion: DeletionPolicy::Retain,
        },
        replicas,
        consumers: Consumers {
            scale_policy: ScalePolicy::Mirror,
            stateful_set_name: None,
            max_leases_per_worker: 10,
            process_parent_shard_before_children: false,
            strategy: Strategy::Balanced,
            lease_stealing_interval: Duration::from_secs(10),
            cap_policy: CapPolicy::Cover,
            cap_rounding: CapRounding::Ceil,
            renewal: Renewal::PerWorker,
            failover_after: Duration::from_secs(10),
            settle_for: Duration::from_millis(1_200),
            initial_position: InitialPosition::TrimHorizon,
        },
        producer: Producer {
            records_per_second: 40,
            record_bytes: 256,
            lanes: None,
        },
        balance: balance(),
        run: Run {
            nonce: 1,
            state: RunState::Running,
            deadline: None,
            on_failure: OnFailure::Stop,
            afterwards: Afterwards::Keep,
        },
        steps,
        history: 3,
        reports: DeletionPolicy::Retain,
        kept_for: None,
        fingerprint: "model".to_owned(),
    }
}

fn balance() -> Balance {
    Balance {
        max_imbalance: 1,
        stable_for: Duration::from_secs(3),
        timeout: Duration::from_secs(120),
    }
}

fn preset(preset: Preset, shards: u32, replicas: u32) -> Vec<Step> {
    preset.steps(&Size {
        initial_shards: shards,
        replicas,
        children_wait: false,
        balance: balance(),
        step_timeout: Duration::from_secs(300),
        assert_timeout: Duration::from_secs(10),
        on_failure: OnFailure::Stop,
    })
}

fn step(name: &str, action: Action) -> Step {
    let timeout = Duration::from_secs(120);
    Step {
        name: name.to_owned(),
        action,
        timeout,
        on_failure: OnFailure::Stop,
    }
}

fn wait() -> Action {
    Action::WaitUntilBalanced {
        max_imbalance: 1,
        max_per_worker: None,
        stable_for: Duration::from_secs(2),
    }
}

/// Carries an experiment on until it ends, with `meddle` free to change the world after each decision.
fn drive(
    spec: &mut Spec,
    model: &mut Model,
    mut status: Status,
    mut meddle: impl FnMut(&mut Spec, &mut Model, &Status),
) -> Status {
    for _ in 0..4_000 {
        let Decision { status: next, effects } = decide(spec, &status, &model.observe(), model.now);
        let begins = next.run_nonce != status.run_nonce;
        assert!(!begins || effects.is_empty(), "a run that begins has no effects yet");
        status = next;
        for effect in &effects {
            model.apply(effect);
        }
        if status.phase.ended() {
            return status;
        }
        meddle(spec, model, &status);
        model.pass(Duration::from_millis(250));
    }
    panic!("the run does not end: {status:#?}");
}

/// A whole run that nobody meddles with.
fn run(spec: Spec) -> (Status, Model) {
    let (mut spec, mut model) = (spec, Model::new());
    let status = drive(&mut spec, &mut model, Status::default(), |_, _, _| {});
    (status, model)
}
