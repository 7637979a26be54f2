//! The processor: counts, audits, and pretends to work.

use std::sync::Arc;
use std::time::Duration;

use kinex_core::audit::{Header, Term, TermEnd};
use kinex_kcl::{
    Checkpoint, Checkpointer, Incarnation, ProcessorError, ProcessorFactory, RecordBatch, RecordProcessor, ShardId,
    ShardStart, WorkerId,
};
use tracing::info;

use crate::clock::now_ms;
use crate::ledger::{Entry, Ledger, Rows};
use crate::meters::Meters;

/// Makes the processors of this process.
pub(crate) struct Counting<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    worker: WorkerId,
    incarnation: Incarnation,
    ledger: Ledger<R>,
    meters: Meters,
    work: Duration,
    fail_on: Option<String>,
}

impl<R: Rows> Counting<R> {
    pub(crate) fn new(
        worker: WorkerId,
        incarnation: Incarnation,
        ledger: Ledger<R>,
        meters: Meters,
        work: Duration,
        fail_on: Option<String>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                worker,
                incarnation,
                ledger,
                meters,
                work,
                fail_on,
            }),
        }
    }
}

impl<R: Rows> ProcessorFactory for Counting<R> {
    type Processor = ShardProcessor<R>;

    fn create(&self, _shard: &ShardId) -> ShardProcessor<R> {
        ShardProcessor {
            shared: Arc::clone(&self.shared),
            entry: None,
        }
    }
}

/// The processor of one shard in one epoch.
pub(crate) struct ShardProcessor<R> {
    shared: Arc<Shared<R>>,
    /// Set by `initialize`.
    entry: Option<Entry>,
}

impl<R: Rows> RecordProcessor for ShardProcessor<R> {
    async fn initialize(&mut self, start: &ShardStart) -> Result<(), ProcessorError> {
        let Shared {
            worker,
            incarnation,
            ledger,
            ..
        } = self.shared.as_ref();
        let parents: Vec<&str> = start.parents.iter().map(ShardId::as_str).collect();
        let parents = if parents.is_empty() {
            "none".to_owned()
        } else {
            parents.join(", ")
        };
        info!(
            epoch = start.epoch.0,
            "initialised shard {} (parents: {parents}) at {}",
            start.shard,
            place(&start.checkpoint)
        );
        let term = Term::starting(
            start.shard.clone(),
            start.epoch,
            worker.clone(),
            incarnation.clone(),
            now_ms(),
        );
        self.entry = Some(ledger.begin(term));
        Ok(())
    }

    async fn process(&mut self, batch: &RecordBatch, checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        let Shared {
            meters, work, fail_on, ..
        } = self.shared.as_ref();
        // Before anything is counted: a call that fails is made again with the same records.
        if let Some(text) = fail_on {
            let poisoned = |data: &[u8]| data.windows(text.len().max(1)).any(|window| window == text.as_bytes());
            if let Some(record) = batch.records.iter().find(|record| poisoned(&record.data)) {
                return Err(format!("told to fail on {} ({} bytes)", record.position, record.data.len()).into());
            }
        }
        let entry = self.entry.as_ref().ok_or("process before initialize")?;
        for record in &batch.records {
            let delivery = entry.deliver(Header::parse(&record.data).as_ref());
            meters.record(record.data.len(), delivery);
            if !work.is_zero() {
                tokio::time::sleep(*work).await;
            }
        }
        if let Some(last) = batch.records.last() {
            entry.processed(checkpointer, last.position.clone());
        }
        Ok(())
    }

    async fn lease_lost(&mut self) {
        self.end(TermEnd::Lost);
    }

    async fn shard_ended(&mut self, _checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        self.finish(TermEnd::ShardEnd).await
    }

    async fn shutdown_requested(&mut self, _checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        self.finish(TermEnd::Handed).await
    }
}

impl<R: Rows> ShardProcessor<R> {
    /// The row is written by the ledger's next round.
    fn end(&self, end: TermEnd) {
        if let Some(entry) = &self.entry {
            entry.end(end);
        }
    }

    /// The row must be written first: after `Ok` the library checkpoints everything that was delivered.
    async fn finish(&self, end: TermEnd) -> Result<(), ProcessorError> {
        self.end(end);
        match &self.entry {
            Some(entry) => Ok(self.shared.ledger.flush(entry).await?),
            None => Ok(()),
        }
    }
}

/// Where reading begins, in the words of the table.
fn place(checkpoint: &Checkpoint) -> String {
    match checkpoint {
        Checkpoint::Latest => "LATEST".to_owned(),
        Checkpoint::TrimHorizon => "TRIM_HORIZON".to_owned(),
        Checkpoint::AtTimestamp => "AT_TIMESTAMP".to_owned(),
        Checkpoint::Since(millis) => match jiff::Timestamp::from_millisecond(*millis) {
            Ok(time) => format!("AT_TIMESTAMP {time}"),
            Err(_) => format!("AT_TIMESTAMP {millis}"),
        },
        Checkpoint::ShardEnd => "SHARD_END".to_owned(),
        Checkpoint::At(position) => position.to_string(),
    }
}
