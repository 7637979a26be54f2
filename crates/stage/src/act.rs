//! Carrying out effects on the stream and on the producer's orders, in the background.

use std::time::Duration;

use kinex_aws::{Fault, FaultKind};
use kinex_core::experiment::{Effect, Failure};
use tokio::task::JoinHandle;

use crate::Subject;

/// One call on the stream may take this long with its waits; then it counts as refused and is decided anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries out effects on the stream, one batch at a time.
#[derive(Debug)]
pub struct Actor {
    subject: Subject,
    background: Option<JoinHandle<Vec<Failure>>>,
    failures: Vec<Failure>,
}

impl Actor {
    /// Nothing under way.
    pub fn new(subject: Subject) -> Self {
        Self {
            subject,
            background: None,
            failures: Vec::new(),
        }
    }

    /// Whether an effect is one of those that the actor carries out in the background.
    pub fn takes(effect: &Effect) -> bool {
        matches!(
            effect,
            Effect::CreateStream { .. }
                | Effect::DeleteStream { .. }
                | Effect::SplitShard { .. }
                | Effect::MergeShards { .. }
                | Effect::UpdateShardCount { .. }
        )
    }

    /// What was refused since the last call.
    pub async fn failures(&mut self) -> Vec<Failure> {
        if let Some(task) = self.background.take_if(|task| task.is_finished()) {
            self.collect(task).await;
        }
        std::mem::take(&mut self.failures)
    }

    /// Begins to carry out effects in their order.
    ///
    /// What comes while a batch is under way is left out: it is decided again for as long as the world does not show it
    /// done.
    pub fn begin(&mut self, effects: Vec<Effect>) {
        if effects.is_empty() || self.busy() {
            return;
        }
        let subject = self.subject.clone();
        self.background = Some(tokio::spawn(async move {
            let mut failures = Vec::new();
            for effect in effects {
                if let Err(fault) = call(&subject, &effect).await {
                    failures.push(failure(effect.kind(), &fault));
                }
            }
            failures
        }));
    }

    /// Whether a batch is under way.
    pub fn busy(&self) -> bool {
        self.background.is_some()
    }

    /// Waits until the batch under way is carried out; for a shell that is about to end.
    pub async fn finish(&mut self) {
        if let Some(task) = self.background.take() {
            self.collect(task).await;
        }
    }

    /// Gives up what is under way; what was sent already may still happen.
    pub fn stop(&mut self) {
        if let Some(task) = self.background.take() {
            task.abort();
        }
    }

    /// Writes the order that producers obey: records per second from now on. A refusal is among the
    /// [`failures`](Self::failures).
    pub async fn order_producer(&mut self, records_per_second: u32) {
        let order = serde_json::json!({ "recordsPerSecond": records_per_second });
        let facts = self.subject.clients.facts(&self.subject.application);
        if let Err(fault) = facts.put("control", "producer", &order.to_string()).await {
            self.failures.push(failure("set-producer", &fault));
        }
    }

    async fn collect(&mut self, task: JoinHandle<Vec<Failure>>) {
        match task.await {
            Ok(failures) => self.failures.extend(failures),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
}

async fn call(subject: &Subject, effect: &Effect) -> Result<(), Fault> {
    let streams = subject.clients.streams().patience(PATIENCE);
    let stream = &subject.stream;
    match effect {
        Effect::CreateStream { shards } => streams.create(stream, *shards).await.map(drop),
        Effect::DeleteStream { created } => {
            let there = streams.describe(stream).await;
            if there.is_ok_and(|summary| summary.identity.created_millis == created.0) {
                let tables = subject.clients.tables(&subject.application);
                streams.delete(stream).await?;
                tables.delete().await?;
                // The run goes on with a stream of the same name: its consumers expect tables.
                tables.ensure().await?;
            }
            Ok(())
        }
        Effect::SplitShard { shard, at } => {
            // The decision wrote the number itself.
            let key = at.parse::<u128>().map_err(|error| invalid(at, &error))?;
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

fn invalid(key: &str, error: &std::num::ParseIntError) -> Fault {
    Fault {
        kind: FaultKind::Invalid,
        request: "SplitShard".into(),
        message: format!("`{key}` is no hash key: {error}"),
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
