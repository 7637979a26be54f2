//! Carrying out what was decided: at once on the processes, in the background on the stream.

use std::time::Duration;

use kinex_core::experiment::{Created, Effect, Failure, Timestamp};
use kinex_stage::{Actor, Ledger, Subject};

use super::fleet::Fleet;
use super::producer::Producer;

/// Carries out effects.
pub(crate) struct Effects {
    actor: Actor,
}

impl Effects {
    /// Nothing under way. What is created goes into the ledger.
    pub(crate) fn new(subject: Subject, ledger: Ledger) -> Self {
        Self {
            actor: Actor::new(subject, ledger),
        }
    }

    /// What was refused since the last call.
    pub(crate) async fn failures(&mut self) -> Vec<Failure> {
        self.actor.failures().await
    }

    /// Carries out effects in their order; those on the stream as [`Actor::begin`] says.
    pub(crate) async fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        fleet: &mut Fleet,
        producer: &mut Producer,
        now: Timestamp,
    ) {
        let mut calls = Vec::new();
        for effect in effects {
            tracing::info!(effect = effect.kind(), "carry out");
            match effect {
                Effect::Scale { replicas } => fleet.scale(replicas),
                // The manifest of a local run is not written to.
                Effect::MirrorReplicas { .. } => {}
                Effect::Kill { pod, mode, restart } => fleet.kill(&pod, mode, restart),
                Effect::Freeze { pod, .. } => fleet.freeze(&pod, now),
                Effect::Thaw { pod } => fleet.thaw(&pod),
                Effect::SetProducer { records_per_second } => {
                    self.actor.order_producer(records_per_second).await;
                    producer.want(records_per_second > 0);
                }
                Effect::CreateStream { .. }
                | Effect::DeleteStream { .. }
                | Effect::SplitShard { .. }
                | Effect::MergeShards { .. }
                | Effect::UpdateShardCount { .. } => calls.push(effect),
            }
        }
        self.actor.begin(calls);
    }

    /// What the run created.
    pub(crate) fn created(&self) -> Created {
        self.actor.ledger().created()
    }

    /// Waits for so long at most for what is under way, and gives up the rest; what was sent already may still happen.
    pub(crate) async fn settle(&mut self, within: Duration) {
        self.actor.settle(within).await;
    }
}
