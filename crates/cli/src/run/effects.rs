//! Carrying out what was decided: at once on the processes, in the background on the stream.

use std::time::Duration;

use anyhow::Context;
use kinex_aws::{Fault, FaultKind};
use kinex_core::experiment::{Effect, Failure, Timestamp};
use tokio::task::JoinHandle;

use super::fleet::Fleet;
use super::producer::Producer;
use crate::endpoint::Connected;

/// One call on the stream may take this long with its waits; then it counts as refused and is decided anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries out effects.
pub(crate) struct Effects {
    at: Connected,
    background: Option<JoinHandle<Vec<Failure>>>,
    failures: Vec<Failure>,
}

impl Effects {
    /// Nothing under way.
    pub(crate) fn new(at: Connected) -> Self {
        Self {
            at,
            background: None,
            failures: Vec::new(),
        }
    }

    /// What was refused since the last call.
    pub(crate) async fn failures(&mut self) -> Vec<Failure> {
        if let Some(task) = self.background.take_if(|task| task.is_finished()) {
            match task.await {
                Ok(failures) => self.failures.extend(failures),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
        }
        std::mem::take(&mut self.failures)
    }

    /// Carries out effects in their order.
    ///
    /// Those on the stream go to the background, one batch at a time. What comes while a batch is under way is left out:
    /// it is decided again for as long as the world does not show it done.
    pub(crate) async fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        fleet: &mut Fleet,
        producer: &mut Producer,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let mut calls = Vec::new();
        for effect in effects {
            tracing::info!(effect = effect.kind(), "carry out");
            match effect {
                Effect::Scale { replicas } => fleet.scale(replicas),
                // The manifest of a local run is not written to.
                Effect::MirrorReplicas { .. } => {}
                Effect::Kill { pod, mode } => fleet.kill(&pod, mode),
                Effect::Freeze { pod, .. } => fleet.freeze(&pod, now),
                Effect::Thaw { pod } => fleet.thaw(&pod),
                Effect::SetProducer { records_per_second } => {
                    if let Err(fault) = self.order(records_per_second).await {
                        self.failures.push(failure("set-producer", &fault));
                    }
                    producer.want(records_per_second > 0);
                }
                Effect::CreateStream { .. }
                | Effect::DeleteStream { .. }
                | Effect::SplitShard { .. }
                | Effect::MergeShards { .. }
                | Effect::UpdateShardCount { .. } => calls.push(effect),
            }
        }
        if !calls.is_empty() && self.background.is_none() {
            let at = self.at.clone();
            self.background = Some(tokio::spawn(async move {
                let mut failures = Vec::new();
                for effect in calls {
                    if let Err(fault) = call(&at, &effect).await {
                        failures.push(failure(effect.kind(), &fault));
                    }
                }
                failures
            }));
        }
        Ok(())
    }

    /// Gives up what is under way; what was sent already may still happen.
    pub(crate) fn stop(&mut self) {
        if let Some(task) = self.background.take() {
            task.abort();
        }
    }

    async fn order(&self, records_per_second: u32) -> Result<(), Fault> {
        let order = serde_json::json!({ "recordsPerSecond": records_per_second });
        self.at
            .clients
            .facts(&self.at.application)
            .put("control", "producer", &order.to_string())
            .await
    }
}

async fn call(at: &Connected, effect: &Effect) -> Result<(), Fault> {
    let streams = at.clients.streams().patience(PATIENCE);
    let stream = &at.stream;
    match effect {
        Effect::CreateStream { shards } => streams.create(stream, *shards).await.map(drop),
        Effect::DeleteStream { created } => {
            let there = streams.describe(stream).await;
            if there.is_ok_and(|summary| summary.identity.created_millis == created.0) {
                streams.delete(stream).await?;
                at.clients.tables(&at.application).delete().await?;
                // The run goes on with a stream of the same name: its consumers expect tables.
                at.clients.tables(&at.application).ensure().await?;
            }
            Ok(())
        }
        Effect::SplitShard { shard, at: key } => {
            // The decision wrote the number itself.
            let key = key
                .parse::<u128>()
                .context("a split key that is no number")
                .map_err(|e| invalid(&e))?;
            settled(streams.split(stream, shard, key).await.map(drop))
        }
        Effect::MergeShards { shard, adjacent } => settled(streams.merge(stream, shard, adjacent).await.map(drop)),
        Effect::UpdateShardCount { target } => streams.update_shard_count(stream, *target).await,
        Effect::Scale { .. }
        | Effect::MirrorReplicas { .. }
        | Effect::SetProducer { .. }
        | Effect::Kill { .. }
        | Effect::Freeze { .. }
        | Effect::Thaw { .. } => Ok(()),
    }
}

/// A shard that is closed already was split or merged by the call before: the world will show it.
fn settled(answer: Result<(), Fault>) -> Result<(), Fault> {
    match answer {
        Err(fault) if fault.kind == FaultKind::Invalid && fault.message.contains("closed") => Ok(()),
        answer => answer,
    }
}

fn invalid(error: &anyhow::Error) -> Fault {
    Fault {
        kind: FaultKind::Invalid,
        request: "SplitShard".into(),
        message: format!("{error:#}"),
        source: None,
    }
}

fn failure(effect: &str, fault: &Fault) -> Failure {
    let lasting = matches!(fault.kind, FaultKind::Denied | FaultKind::Invalid);
    Failure {
        effect: effect.to_owned(),
        message: fault.to_string(),
        lasting,
    }
}
