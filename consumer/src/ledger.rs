//! The audit rows of this process: what each term delivered, and who writes it when.
//!
//! # Guarantees
//! A position is checkpointed only after the audit row that holds everything up to it is written. So after a kill the
//! audit may lack the very last deliveries, and then the records come again; it never lacks a record that does not.
//! Rows of one term are written one after the other, so that an older state never replaces a newer one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinex_aws::{Facts, Fault, FaultKind};
use kinex_core::audit::{Delivery, Header, Term, TermEnd};
use kinex_kcl::{CheckpointError, Checkpointer, Position, ShardId};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::now_ms;
use crate::meters::Meters;

/// The kind of the audit's fact rows.
pub const AUDIT: &str = "audit";

/// Rows that are written at the same time.
const WRITES_AT_ONCE: usize = 8;

/// Where audit rows go.
pub(crate) trait Rows: Clone + Send + Sync + 'static {
    /// Replaces the row.
    fn put(&self, id: &str, body: &str) -> impl Future<Output = Result<(), Fault>> + Send;
    /// The row; `None` when there is none.
    fn get(&self, id: &str) -> impl Future<Output = Result<Option<String>, Fault>> + Send;
}

impl Rows for Facts {
    async fn put(&self, id: &str, body: &str) -> Result<(), Fault> {
        Self::put(self, AUDIT, id, body).await
    }

    async fn get(&self, id: &str) -> Result<Option<String>, Fault> {
        Self::get(self, AUDIT, id).await
    }
}

/// The audit of one term. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    state: Arc<Mutex<State>>,
    /// Held while the row or a checkpoint is written.
    writing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct State {
    term: Term,
    /// Grows with every change of the term.
    version: u64,
    /// The version of the row as written.
    written: u64,
    /// Processed, and not yet checkpointed.
    pending: Option<(Checkpointer, Position)>,
    checkpointed: Instant,
    /// Whether the row of the term before this one has been looked for.
    looked_back: bool,
}

impl Entry {
    fn new(term: Term) -> Self {
        let state = State {
            term,
            version: 1,
            written: 0,
            pending: None,
            checkpointed: Instant::now(),
            looked_back: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            writing: Arc::default(),
        }
    }

    /// Counts a delivery.
    pub(crate) fn deliver(&self, header: Option<&Header>) -> Delivery {
        let mut state = self.state();
        state.version += 1;
        state.term.deliver(header, now_ms())
    }

    /// Everything up to this position is processed and may be checkpointed when it is time.
    pub(crate) fn processed(&self, checkpointer: &Checkpointer, position: Position) {
        self.state().pending = Some((checkpointer.clone(), position));
    }

    /// The term is over.
    pub(crate) fn end(&self, end: TermEnd) {
        let mut state = self.state();
        if state.term.end.is_none() {
            state.version += 1;
            state.term.end = Some((now_ms(), end));
        }
        // Whatever comes now is the final checkpoint, and the library writes that.
        state.pending = None;
    }

    /// Counts records that the processor of the term never gets.
    fn dropped(&self, records: u64) {
        let mut state = self.state();
        state.version += 1;
        state.term.dropped += records;
    }

    fn resume(&self) {
        let mut state = self.state();
        state.version += 1;
        state.term.resume();
    }

    fn dirty(&self) -> bool {
        let state = self.state();
        state.version != state.written
    }

    fn over(&self) -> bool {
        let state = self.state();
        state.term.end.is_some() && state.version == state.written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All terms of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ledger<R> {
    rows: R,
    meters: Meters,
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
}

/// Terms that are over and written are forgotten beyond this number; those kept are for a lease that comes back in the
/// same epoch.
const TERMS_KEPT: usize = 1_000;

impl<R: Rows> Ledger<R> {
    pub(crate) fn new(rows: R, meters: Meters) -> Self {
        Self {
            rows,
            meters,
            entries: Arc::default(),
        }
    }

    /// The entry of a term that begins, or goes on when this process had the same epoch before.
    pub(crate) fn begin(&self, term: Term) -> Entry {
        let mut entries = self.entries();
        if entries.len() > TERMS_KEPT {
            entries.retain(|_, entry| !entry.over());
        }
        match entries.get(&term.row_id()) {
            Some(entry) => {
                entry.resume();
                entry.clone()
            }
            None => {
                let entry = Entry::new(term.clone());
                entries.insert(term.row_id(), entry.clone());
                entry
            }
        }
    }

    /// Counts records of a shard that no processor gets, in the term that reads it.
    pub(crate) fn dropped(&self, shard: &ShardId, records: u64) {
        let entries = self.snapshot().into_iter();
        let of_shard = entries.filter_map(|entry| {
            let epoch = {
                let state = entry.state();
                (state.term.shard == *shard).then_some(state.term.epoch)
            };
            Some((epoch?, entry))
        });
        if let Some((_, entry)) = of_shard.max_by_key(|(epoch, _)| *epoch) {
            entry.dropped(records);
        }
    }

    /// Writes the row of a term unless it is as written.
    pub(crate) async fn flush(&self, entry: &Entry) -> Result<(), Fault> {
        let _one_at_a_time = entry.writing.lock().await;
        self.write(entry).await
    }

    /// Writes changed rows and due checkpoints until cancelled.
    pub(crate) async fn keep(self, audit_every: Duration, checkpoint_every: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval(audit_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.each(move |ledger, entry| async move { ledger.save(&entry, checkpoint_every).await })
                .await;
        }
    }

    /// Writes every changed row: the last thing that a process does. Returns how many could not be written.
    pub(crate) async fn close(&self) -> usize {
        self.each(|ledger, entry| async move { drop(ledger.flush(&entry).await) })
            .await;
        self.unwritten()
    }

    /// How many rows have changed and are not written.
    pub(crate) fn unwritten(&self) -> usize {
        self.snapshot().iter().filter(|entry| entry.dirty()).count()
    }

    /// How long the shard had stood unread when this term began, by the row of the term before it; `None` when it has
    /// none. The clocks of two machines may differ, so this is for a report only.
    async fn unread_before(&self, term: &Term) -> Option<Duration> {
        // A hand-off takes one change of owner; a release and a take are two.
        for back in 1..=2 {
            let epoch = kinex_kcl::Epoch(term.epoch.0.checked_sub(back)?);
            let before = Term { epoch, ..term.clone() };
            let body = self.rows.get(&before.row_id()).await.ok()?;
            if let Some(before) = body.and_then(|body| serde_json::from_str::<Term>(&body).ok()) {
                let ended = before.end.map_or(before.seen_ms, |(at, _)| at);
                return Some(Duration::from_millis(term.started_ms.saturating_sub(ended)));
            }
        }
        None
    }

    async fn each<F, Fut>(&self, job: F)
    where
        F: Fn(Self, Entry) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut jobs = JoinSet::new();
        for entry in self.snapshot() {
            if jobs.len() >= WRITES_AT_ONCE {
                jobs.join_next().await;
            }
            jobs.spawn(job(self.clone(), entry));
        }
        while jobs.join_next().await.is_some() {}
    }

    /// The row when it has changed, and then the checkpoint when it is time.
    async fn save(&self, entry: &Entry, checkpoint_every: Duration) {
        let _one_at_a_time = entry.writing.lock().await;
        let due = {
            let mut state = entry.state();
            let due = state.checkpointed.elapsed() >= checkpoint_every;
            due.then(|| state.pending.take()).flatten()
        };
        if self.write(entry).await.is_err() {
            // The row did not take these deliveries, so they are not checkpointed either.
            if let (Some(pending), mut state) = (due, entry.state()) {
                state.pending.get_or_insert(pending);
            }
            return;
        }
        self.look_back(entry).await;
        if let Some((checkpointer, position)) = due {
            entry.state().checkpointed = Instant::now();
            match checkpointer.checkpoint_at(&position).await {
                // Being too late is no failure: the processor hears of it, and the next owner delivers again.
                Ok(()) | Err(CheckpointError::LeaseLost | CheckpointError::Stopped | CheckpointError::ShardEnded) => {}
                Err(CheckpointError::BelowLast { .. }) => {}
                Err(error) => {
                    debug!(%position, %error, "checkpoint not written");
                    entry.state().pending.get_or_insert((checkpointer, position));
                }
            }
        }
    }

    /// Reports once per term how long its shard had stood unread.
    async fn look_back(&self, entry: &Entry) {
        let term = {
            let mut state = entry.state();
            if std::mem::replace(&mut state.looked_back, true) {
                return;
            }
            state.term.clone()
        };
        if let Some(unread) = self.unread_before(&term).await {
            self.meters.handoff_unread(unread);
        }
    }

    async fn write(&self, entry: &Entry) -> Result<(), Fault> {
        let (id, body, version) = {
            let mut state = entry.state();
            if state.version == state.written {
                return Ok(());
            }
            state.term.seen_ms = now_ms();
            let body = serde_json::to_string(&state.term).expect("a term is JSON");
            (state.term.row_id(), body, state.version)
        };
        let outcome = self.rows.put(&id, &body).await;
        match &outcome {
            Ok(()) => {
                self.meters.audit_write("ok");
                entry.state().written = version;
            }
            // It can never be written: a row too large for the table. Reading goes on all the same.
            Err(fault) if fault.kind == FaultKind::Invalid => {
                self.meters.audit_write("refused");
                error!(row = id, error = %fault, "audit row refused: its shard goes on, the audit misses these deliveries");
                entry.state().written = version;
                return Ok(());
            }
            Err(fault) => {
                self.meters.audit_write("failed");
                warn!(row = id, error = %fault, "audit row not written, checkpoints of its shard wait");
            }
        }
        outcome
    }

    fn snapshot(&self) -> Vec<Entry> {
        self.entries().values().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
