//! Carrying out effects on the stream and on the producer's orders, in the background.

use std::time::Duration;

use kinex_aws::{Deleted, Fault, FaultKind, StreamAdmin, StreamIdentity};
use kinex_core::experiment::{Effect, Failure};
use kinex_core::id::ShardId;
use kinex_kcl::ports::LeaseStore;
use tokio::task::JoinHandle;

use crate::{Ledger, Subject};

/// One call on the stream may take this long with its waits; then it counts as refused and is decided anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries out effects on the stream, one batch at a time.
#[derive(Debug)]
pub struct Actor {
    subject: Subject,
    ledger: Ledger,
    background: Option<JoinHandle<Vec<Failure>>>,
    failures: Vec<Failure>,
}

impl Actor {
    /// Nothing under way. What is created goes into the ledger.
    pub fn new(subject: Subject, ledger: Ledger) -> Self {
        Self {
            subject,
            ledger,
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

    /// What was created.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
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
        let (subject, ledger) = (self.subject.clone(), self.ledger.clone());
        self.background = Some(tokio::spawn(async move {
            let mut failures = Vec::new();
            for effect in effects {
                if let Err(fault) = call(&subject, &ledger, &effect).await {
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

    /// Waits for so long at most until the batch under way is carried out, and gives up the rest.
    pub async fn settle(&mut self, within: Duration) {
        if let Some(task) = &mut self.background {
            // Nobody asks for what it was refused any more.
            let _ = tokio::time::timeout(within, task).await;
        }
        self.stop();
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

async fn call(subject: &Subject, ledger: &Ledger, effect: &Effect) -> Result<(), Fault> {
    let streams = subject.clients.streams().patience(PATIENCE);
    let stream = &subject.stream;
    match effect {
        Effect::CreateStream { shards } => ledger.make_stream(subject, *shards, PATIENCE).await,
        Effect::DeleteStream { created } => match streams.describe(stream).await {
            Ok(there) if there.identity.created_millis == created.0 => {
                // The leases first: with the stream gone nothing would ask for them to be deleted any more.
                forget_leases(subject, ledger, &there.identity).await?;
                if streams.delete_made(stream, Some(&there.identity)).await? == Deleted::Gone {
                    // The run goes on with a stream of the same name: its consumers expect tables.
                    ledger.make_tables(subject).await?;
                }
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(fault) if fault.kind == FaultKind::Missing => Ok(()),
            Err(fault) => Err(fault),
        },
        Effect::SplitShard { shard, at } => {
            // The decision wrote the number itself.
            let key = at.parse::<u128>().map_err(|error| invalid(at, &error))?;
            let split = streams.split(stream, shard, key).await.map(drop);
            unless_closed(&streams, stream, shard, split).await
        }
        Effect::MergeShards { shard, adjacent } => {
            let merged = streams.merge(stream, shard, adjacent).await.map(drop);
            unless_closed(&streams, stream, shard, merged).await
        }
        Effect::UpdateShardCount { target } => streams.update_shard_count(stream, *target).await,
        Effect::Scale { .. }
        | Effect::MirrorReplicas { .. }
        | Effect::SetProducer { .. }
        | Effect::Kill { .. }
        | Effect::Freeze { .. }
        | Effect::Thaw { .. } => Ok(()),
    }
}

/// Deletes the tables with the leases of a stream that is about to be deleted. Tables that this experiment did not create
/// and that are tied to another stream, or that hold leases and are tied to none, are somebody else's.
async fn forget_leases(subject: &Subject, ledger: &Ledger, stream: &StreamIdentity) -> Result<(), Fault> {
    ledger.delete_tables(subject).await?;
    let tables = subject.clients.tables(&subject.application);
    match tables.bound_to(stream).await {
        Ok(true) => return tables.delete().await,
        Err(fault) if fault.kind != FaultKind::Missing => return Err(fault),
        _ => {}
    }
    match subject.clients.leases(&subject.application).leases().await {
        Ok(scan) if scan.leases.is_empty() && scan.foreign.is_empty() && scan.unreadable.is_empty() => Ok(()),
        Err(fault) if fault.kind == FaultKind::Missing => Ok(()),
        Err(fault) => Err(fault),
        Ok(_) => Err(Fault {
            kind: FaultKind::Invalid,
            request: "DeleteTable".into(),
            message: format!(
                "table {} holds leases and is not tied to stream {}: it may be another program's, and stays; rename the \
                 experiment, or delete the table yourself",
                subject.application, subject.stream
            ),
            source: None,
        }),
    }
}

/// A shard that is closed already was split or merged by the call before: the world will show it.
async fn unless_closed(
    streams: &StreamAdmin,
    stream: &str,
    shard: &ShardId,
    answer: Result<(), Fault>,
) -> Result<(), Fault> {
    match answer {
        Err(fault) if fault.kind == FaultKind::Invalid => {
            let shards = streams.shards(stream).await?;
            let closed = shards.iter().any(|found| found.id == *shard && !found.open);
            if closed { Ok(()) } else { Err(fault) }
        }
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
