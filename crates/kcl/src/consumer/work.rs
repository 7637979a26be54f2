//! What a consumer begins, and what it makes of the answers.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use kinex_core::id::ShardId;
use kinex_core::lease::Checkpoint;
use kinex_core::shard::{Batch, Call as Work, Event, Judgment, State, Work as Step};
use tokio::sync::oneshot;

use super::{Consumer, Request};
use crate::call::{Call, Job, Outcome, discard};
use crate::checkpointer::CheckpointError;
use crate::clock;
use crate::config::InitialPosition;
use crate::deaggregate::Deaggregator;
use crate::events::{DropReason, WorkerEvent};
use crate::fetch::{Ahead, Fetched, Stuck};
use crate::message::{Lineage, Message};
use crate::poison::{Poison, PoisonAction};
use crate::ports::{Fault, FaultKind, ReadFrom, ShardIterator, StreamReader};
use crate::processor::{ProcessorFactory, RecordBatch};
use crate::progress::Progress;

impl<R: StreamReader, F: ProcessorFactory> Consumer<R, F> {
    pub(super) async fn begin(&mut self, step: Step) {
        match step {
            Step::Call(Work::Initialize) => self.start_call(Job::Initialize(Arc::clone(&self.start))).await,
            Step::Call(Work::Process(_)) => {
                let batch = self.batch.take().expect("a batch was fetched before it is processed");
                let batch = unwritten(batch, &self.checkpointer.written());
                self.batch = Some(Arc::clone(&batch));
                if let Some(last) = batch.records.last() {
                    self.checkpointer.delivering(&last.position);
                }
                self.start_call(Job::Process(batch)).await;
            }
            Step::Call(Work::Poisoned { failures, .. }) => self.judge(failures).await,
            Step::Call(Work::ShardEnded) => {
                self.batch = None;
                self.start_call(Job::ShardEnded).await;
            }
            Step::Seek => self.seek(),
            Step::Fetch => {
                self.batch = None;
                if self.one_by_one.is_empty() && self.deaggregator.as_ref().is_some_and(Deaggregator::is_empty) {
                    self.deaggregator = None;
                }
                self.request = Some(Request::Fetch);
            }
            Step::Close => self.close(),
        }
    }

    /// Gives up reading and the memory that it takes.
    pub(super) fn let_go(&mut self) {
        self.request = None;
        self.ahead = None;
        self.deaggregator = None;
        self.batch = None;
        self.one_by_one.clear();
        self.reporter.progress(&self.hold, |progress| progress.in_hand(None));
    }

    fn seek(&mut self) {
        self.let_go();
        let (from, expected) = match self.table.behind() {
            Checkpoint::Latest => match self.since {
                Some(millis) => (ReadFrom::AtTimestamp(millis), None),
                None => {
                    self.request = Some(Request::Begin(Box::pin(self.begin_at_latest())));
                    return;
                }
            },
            Checkpoint::Since(millis) => (ReadFrom::AtTimestamp(*millis), None),
            Checkpoint::At(_) if self.from_horizon => (ReadFrom::TrimHorizon, None),
            // The user records of an aggregate behind the position still count, so the record itself is read again.
            Checkpoint::At(position) => (ReadFrom::At(position.sequence.clone()), Some(position.sequence.clone())),
            Checkpoint::TrimHorizon | Checkpoint::ShardEnd => (ReadFrom::TrimHorizon, None),
            Checkpoint::AtTimestamp => match self.initial_position {
                InitialPosition::AtTimestamp(millis) => (ReadFrom::AtTimestamp(millis), None),
                // The row is from an application with another setting: nothing is passed over.
                InitialPosition::Latest | InitialPosition::TrimHorizon => (ReadFrom::TrimHorizon, None),
            },
        };
        self.expected = expected;
        self.read_all_before = self.source.read_all_lately();
        self.ask_for_iterator(from);
    }

    fn ask_for_iterator(&mut self, from: ReadFrom) {
        let source = Arc::clone(&self.source);
        self.request = Some(Request::Seek(Box::pin(async move { source.iterator(&from).await })));
    }

    /// A row that says LATEST is an old one, or of the Java library: the time is taken now and written into the row, so
    /// that everybody who seeks from here on begins at the same record.
    fn begin_at_latest(&self) -> impl Future<Output = Result<i64, CheckpointError>> + Send + use<R, F> {
        let (source, checkpointer) = (Arc::clone(&self.source), self.checkpointer.clone());
        async move {
            let now = source.now_millis().await;
            let now = now.map_err(|fault| CheckpointError::Unavailable(fault.to_string()))?;
            checkpointer.begin_at(now).await?;
            Ok(now)
        }
    }

    pub(super) async fn begun(&mut self, answer: Result<i64, CheckpointError>) {
        self.request = None;
        match answer {
            Ok(millis) => {
                self.since = Some(millis);
                self.ask_for_iterator(ReadFrom::AtTimestamp(millis));
            }
            // Reported where it happened; it is tried again until the lease is lost.
            Err(_) => self.happened(Event::Failed).await,
        }
    }

    pub(super) async fn sought(&mut self, answer: Result<ShardIterator, Fault>) {
        self.request = None;
        match answer {
            Ok(iterator) => {
                self.ahead = Some(Ahead::start(Arc::clone(&self.source), iterator));
                self.happened(Event::Sought).await;
            }
            // The shard may be gone from the stream; only two listings can tell.
            Err(fault) if fault.kind == FaultKind::Missing => {
                let found = self.look_for_children();
                self.request = Some(Request::Probe(Box::pin(found)));
            }
            Err(fault) => {
                if fault.kind == FaultKind::Invalid && self.expected.is_some() {
                    self.behind_horizon();
                    self.from_horizon = true;
                }
                self.happened(Event::Failed).await;
            }
        }
    }

    pub(super) async fn probed(&mut self, answer: Result<Lineage, CheckpointError>) {
        self.request = None;
        if answer.is_ok_and(|lineage| lineage.trimmed) {
            self.behind_horizon();
            self.gone = true;
            self.happened(Event::Sought).await;
        } else {
            self.happened(Event::Failed).await;
        }
    }

    /// Retention has removed the shard and its last records: it is at its end.
    pub(super) async fn gone(&mut self) {
        self.request = None;
        self.happened(Event::Fetched(Batch { last: None, end: true })).await;
    }

    pub(super) async fn fetched(&mut self, answer: Result<Fetched, Stuck>) {
        let Ok(fetched) = answer else {
            self.request = None;
            self.happened(Event::Expired).await;
            return;
        };
        if let (Some(expected), Some(first)) = (&self.expected, fetched.batch.records.first()) {
            if first.sequence > *expected && !self.read_all_before {
                self.behind_horizon();
            }
            self.expected = None;
        }
        let behind = match self.table.behind() {
            Checkpoint::At(position) => Some(position.clone()),
            _ => None,
        };
        self.deaggregator = Some(Deaggregator::new(fetched, behind));
        self.deaggregate().await;
    }

    /// The records of a batch that failed every time come one by one; about one that came alone its processor decides.
    async fn judge(&mut self, failures: u32) {
        let batch = self.batch.take().expect("a batch was processed before it is judged");
        let batch = unwritten(batch, &self.checkpointer.written());
        let (first, rest) = batch.records.split_first().expect("a batch is never empty");
        if !rest.is_empty() {
            // A batch that is given one by one has one record, so this is the whole one, with what ends the shard.
            self.ends_with_them = self.ends_shard();
            self.one_by_one = rest.iter().cloned().collect();
            self.request = Some(Request::Narrow(Batch {
                last: Some(first.position.clone()),
                end: false,
            }));
            self.batch = Some(Arc::new(RecordBatch {
                records: vec![first.clone()],
                ..batch.as_ref().clone()
            }));
            return;
        }
        self.batch = Some(Arc::clone(&batch));
        let failure = self.last_failure.clone().expect("a call has failed");
        let poison = Poison {
            batch,
            failures,
            error: failure.error,
            configured: self.on_poison,
        };
        self.start_call(Job::Poisoned(Arc::new(poison))).await;
    }

    /// Whether the batch in hand is the last one of the shard.
    fn ends_shard(&self) -> bool {
        matches!(
            self.table.state(),
            State::Busy { work: Step::Call(Work::Poisoned { batch, .. }), .. } if batch.end
        )
    }

    pub(super) async fn narrowed(&mut self, first: Batch) {
        self.request = None;
        self.happened(Event::Judged(Judgment::Narrow(first))).await;
    }

    /// How often the call in question has failed in a row.
    pub(super) fn failures(&self) -> u32 {
        match self.table.state() {
            State::Busy {
                work: Step::Call(Work::Poisoned { failures, .. }),
                ..
            }
            | State::Busy { failures, .. }
            | State::Pausing { failures, .. } => *failures,
            _ => 0,
        }
    }

    pub(super) fn last_error(&self) -> String {
        self.last_failure
            .as_ref()
            .map_or_else(String::new, |failure| failure.text.clone())
    }

    /// Drops the processor, which is user code as well.
    pub(super) fn discard_processor(&mut self) {
        let Some(Err(error)) = self.processor.take().map(discard) else {
            return;
        };
        self.report_failure("drop", 1, error);
    }

    fn report_failure(&self, call: &'static str, attempt: u32, error: String) {
        self.reporter.emit(WorkerEvent::ProcessorFailed {
            shard: self.hold.key.clone(),
            call,
            attempt,
            error,
        });
    }

    /// The next of the records that are given one by one.
    fn next_alone(&mut self) -> Option<Batch> {
        let record = self.one_by_one.pop_front()?;
        let batch = Batch {
            last: Some(record.position.clone()),
            end: self.one_by_one.is_empty() && self.ends_with_them,
        };
        self.batch = Some(Arc::new(RecordBatch {
            shard: self.hold.key.clone(),
            records: vec![record],
            behind_millis: self.deaggregator.as_ref().map_or(0, Deaggregator::behind_millis),
        }));
        Some(batch)
    }

    /// The next batch out of the last read.
    pub(super) async fn deaggregate(&mut self) {
        self.request = None;
        if let Some(batch) = self.next_alone() {
            self.happened(Event::Fetched(batch)).await;
            return;
        }
        let Some(deaggregator) = &mut self.deaggregator else {
            return;
        };
        let Some(portion) = deaggregator.portion(&self.filter, &self.reporter) else {
            let source = Arc::clone(&self.source);
            self.request = Some(Request::Placement(Box::pin(
                async move { source.placed_by_key().await },
            )));
            return;
        };
        self.children
            .extend(deaggregator.children().iter().map(|child| child.id.clone()));
        self.named.extend(deaggregator.children().iter().cloned());
        let arrived = portion.records.first().map(|first| deaggregator.arrived(first));
        self.reporter.progress(&self.hold, |progress| progress.in_hand(arrived));
        let batch = Batch {
            last: portion.records.last().map(|record| record.position.clone()),
            end: portion.last_of_shard,
        };
        self.batch = Some(Arc::new(RecordBatch {
            shard: self.hold.key.clone(),
            records: portion.records,
            behind_millis: deaggregator.behind_millis(),
        }));
        self.happened(Event::Fetched(batch)).await;
    }

    /// Whether the aggregates of the read that lie outside of the shard's range are dropped is known.
    pub(super) async fn placed(&mut self, answer: Result<bool, Fault>) {
        if let Some(deaggregator) = &mut self.deaggregator {
            // When in doubt they are delivered: twice is allowed, never is not.
            deaggregator.decide(answer.unwrap_or(false));
        }
        self.deaggregate().await;
    }

    fn behind_horizon(&self) {
        self.reporter.emit(WorkerEvent::BehindHorizon {
            shard: self.hold.key.clone(),
            checkpoint: self.table.behind().clone(),
        });
    }

    /// The rows of the children come first, so that there is never a finished parent without them.
    fn close(&mut self) {
        let (found, checkpointer, named) = (
            self.look_for_children(),
            self.checkpointer.clone(),
            self.children.clone(),
        );
        self.request = Some(Request::Close(Box::pin(async move {
            let mut children = found.await?.children;
            children.extend(named);
            checkpointer.shard_ended(children.clone()).await?;
            Ok(children)
        })));
    }

    /// Lists the shards, makes the rows that are missing, and says what is known of this shard.
    fn look_for_children(&self) -> impl Future<Output = Result<Lineage, CheckpointError>> + Send + use<R, F> {
        let (inbox, shard, children) = (self.inbox.clone(), self.hold.key.clone(), self.named.clone());
        async move {
            let (reply, answer) = oneshot::channel();
            let message = Message::Sync {
                ended: shard,
                children,
                reply,
            };
            inbox.send(message).await.map_err(|_| CheckpointError::Stopped)?;
            let found = answer.await.map_err(|_| CheckpointError::Stopped)?;
            found.map_err(CheckpointError::Unavailable)
        }
    }

    pub(super) async fn closed(&mut self, answer: Result<BTreeSet<ShardId>, CheckpointError>) {
        self.request = None;
        match answer {
            Ok(children) => {
                self.children = children;
                self.happened(Event::Closed).await;
            }
            // Told where it happened; it is tried again until the lease is lost.
            Err(_) => self.happened(Event::Failed).await,
        }
    }

    pub(super) async fn start_call(&mut self, job: Job) {
        self.settle_call().await;
        let now = clock::now();
        self.control.set_call(Some((job.name(), now)));
        self.reporter.progress(&self.hold, |progress| progress.called(now));
        let call = Call::start(
            self.processor.take(),
            &self.factory,
            &self.hold.key,
            job,
            self.checkpointer.clone(),
        );
        self.call = Some(call);
    }

    /// Waits for the processor when a call of it that does not matter any more is still under way.
    pub(super) async fn settle_call(&mut self) {
        if let Some(mut call) = self.call.take() {
            call.interrupt();
            let (processor, outcome) = call.ended().await;
            let name = call.name;
            self.take_back(processor);
            if let Outcome::Failed(failure) = outcome {
                self.report_failure(name, 1, failure.text);
            }
        }
    }

    /// The processor is back from its call; says which one it was.
    pub(super) fn take_back(&mut self, processor: Option<F::Processor>) -> &'static str {
        self.processor = processor;
        self.control.set_call(None);
        self.reporter.progress(&self.hold, Progress::returned);
        self.call.take().map_or("-", |call| call.name)
    }

    pub(super) async fn called(&mut self, call: &'static str, outcome: Outcome) {
        match outcome {
            Outcome::Done => {
                self.count_processed();
                self.happened(Event::Called).await;
            }
            Outcome::Interrupted => {
                self.checkpointer.undelivered();
                self.happened(Event::Failed).await;
            }
            // The lease is lost meanwhile: the next owner decides.
            Outcome::Judged(_) if self.over => {}
            Outcome::Judged(action) => {
                let judgment = match action {
                    PoisonAction::Retry => Judgment::Retry,
                    PoisonAction::Halt => Judgment::Halt,
                    PoisonAction::Skip => self.drop_batch(DropReason::Poison),
                    PoisonAction::DeadLetter => self.drop_batch(DropReason::DeadLetter),
                };
                self.happened(Event::Judged(judgment)).await;
            }
            Outcome::Failed(failure) => {
                self.checkpointer.undelivered();
                let failures = match self.table.state() {
                    State::Busy { failures, .. } => *failures,
                    _ => 0,
                };
                self.report_failure(call, failures.saturating_add(1), failure.text.clone());
                // Of a record its own failure is asked about, not that of the question.
                if call != "poisoned" || self.last_failure.is_none() {
                    self.last_failure = Some(failure);
                }
                self.happened(Event::Failed).await;
            }
        }
    }

    /// The batch in hand is given up: it counts as processed, and everybody is told.
    fn drop_batch(&mut self, reason: DropReason) -> Judgment {
        if let Some((first, last)) = self
            .batch
            .as_ref()
            .and_then(|batch| Some((batch.records.first()?, batch.records.last()?)))
        {
            self.checkpointer.delivering(&last.position);
            self.checkpointer.processed(&last.position);
            self.reporter.progress(&self.hold, |progress| progress.in_hand(None));
            let records = self.batch.as_ref().map_or(0, |batch| batch.records.len() as u64);
            let (first, last) = (first.position.clone(), last.position.clone());
            self.reporter.dropped(&self.hold.key, reason, records, first, last);
        }
        Judgment::Skip
    }

    /// The batch in hand is processed, if it is a batch that was in the processor's hands.
    fn count_processed(&mut self) {
        let (State::Busy { work, .. } | State::Finishing { work } | State::Lapsed { work, .. }) = self.table.state()
        else {
            return;
        };
        let (Step::Call(Work::Process(_)), Some(batch)) = (work, &self.batch) else {
            return;
        };
        let Some(last) = batch.records.last() else { return };
        self.checkpointer.processed(&last.position);
        let bytes: usize = batch.records.iter().map(|record| record.data.len()).sum();
        let (records, checkpoint) = (batch.records.len() as u64, self.checkpointer.written());
        self.reporter.update(|status| {
            status.records_processed += records;
            status.bytes_processed += bytes as u64;
        });
        self.reporter.hold(&self.hold, |hold| {
            hold.checkpoint = checkpoint;
            hold.progress.in_hand(None);
        });
    }

    pub(super) async fn report_drained(&mut self, clean: bool) {
        self.drain_until = None;
        self.let_go();
        let checkpoint = if clean { self.checkpointer.unwritten() } else { None };
        let message = Message::Drained {
            hold: Arc::clone(&self.hold),
            checkpoint,
            hung: std::mem::take(&mut self.hung),
        };
        self.send(message).await;
    }

    pub(super) async fn tell_lost(&mut self) {
        self.let_go();
        let patience = self.drain_timeout;
        let told = async {
            self.settle_call().await;
            // A factory that never made one has nobody to tell.
            if self.processor.is_some() {
                self.start_call(Job::LeaseLost).await;
                self.settle().await;
            }
        };
        // A processor that blocks its thread hears it when it comes back, or never.
        if tokio::time::timeout(patience, told).await.is_err() {
            let error = format!("the processor did not come back within {patience:?}");
            self.report_failure("lease_lost", 1, error);
        }
    }

    async fn settle(&mut self) {
        if let Some(call) = &mut self.call {
            let (processor, outcome) = call.ended().await;
            let name = self.take_back(processor);
            if let Outcome::Failed(failure) = outcome {
                self.report_failure(name, 1, failure.text);
            }
        }
    }

    pub(super) async fn send(&mut self, message: Message) {
        // Without a driver there is nobody to tell; it stops every consumer when it goes.
        let _ = self.inbox.send(message).await;
    }
}

/// A batch that is given again, without what was checkpointed in the middle of the call that failed.
fn unwritten(batch: Arc<RecordBatch>, written: &Checkpoint) -> Arc<RecordBatch> {
    let Checkpoint::At(written) = written else { return batch };
    let first = batch.records.partition_point(|record| record.position <= *written);
    if first == 0 {
        return batch;
    }
    // Never empty: a call that failed after its last checkpoint gets the last record once more.
    let first = first.min(batch.records.len() - 1);
    Arc::new(RecordBatch {
        records: batch.records[first..].to_vec(),
        ..batch.as_ref().clone()
    })
}
