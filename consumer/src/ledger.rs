//! The audit rows of this process: what each term delivered, and who writes it when.
//!
//! # Guarantees
//! A position is checkpointed only after the audit row that holds everything up to it is written. So after a kill the
//! audit may lack the very last deliveries, and then the records come again; it never lacks a record that does not.
//! Rows are written one request after the other, so that an older state never replaces a newer one; each request takes
//! all rows that have changed, as many as the service allows, so that the audit costs one request in a while whatever the
//! number of leases.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinex_aws::{Facts, Fault, FaultKind};
use kinex_core::audit::{Delivery, Header, Term, TermEnd};
use kinex_kcl::{CheckpointError, Checkpointer, DropReason, Position, ShardId};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::now_ms;
use crate::meters::Meters;

/// The kind of the audit's fact rows.
pub const AUDIT: &str = "audit";

/// Checkpoints that are written at the same time.
const WRITES_AT_ONCE: usize = 8;

/// Where audit rows go.
pub(crate) trait Rows: Clone + Send + Sync + 'static {
    /// How many rows one request may have.
    const AT_ONCE: usize;

    /// Replaces the rows, at most [`Rows::AT_ONCE`] of them, in one request. Returns the ids of those that the service
    /// has not taken.
    fn put(&self, rows: &[(String, String)]) -> impl Future<Output = Result<BTreeSet<String>, Fault>> + Send;
    /// The row; `None` when there is none.
    fn get(&self, id: &str) -> impl Future<Output = Result<Option<String>, Fault>> + Send;
}

impl Rows for Facts {
    const AT_ONCE: usize = Self::ROWS_MAX;

    async fn put(&self, rows: &[(String, String)]) -> Result<BTreeSet<String>, Fault> {
        self.put_all(AUDIT, rows).await
    }

    async fn get(&self, id: &str) -> Result<Option<String>, Fault> {
        Self::get(self, AUDIT, id).await
    }
}

/// The audit of one term. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    state: Arc<Mutex<State>>,
    /// Held while a checkpoint is written.
    checkpointing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct State {
    term: Term,
    /// Grows with every change of the term.
    version: u64,
    /// The version of the row as written.
    written: u64,
    /// When that was.
    written_at: Instant,
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
            written_at: Instant::now(),
            pending: None,
            checkpointed: Instant::now(),
            looked_back: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            checkpointing: Arc::default(),
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
    fn dropped(&self, reason: DropReason, records: u64) {
        let mut state = self.state();
        state.version += 1;
        state.term.drop_records(reason.as_str(), records);
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

    /// What is to be checkpointed, when it is time; a tick that comes a little early counts.
    fn due(&self, every: Duration) -> Option<Due> {
        let mut state = self.state();
        let due = state.checkpointed.elapsed() + every / 10 >= every;
        let position = due.then(|| state.pending.take()).flatten()?;
        let version = state.version;
        Some(Due { position, version })
    }

    /// Whether the row as written holds everything up to there.
    fn covers(&self, due: &Due) -> bool {
        self.state().written >= due.version
    }

    fn over(&self) -> bool {
        let state = self.state();
        state.term.end.is_some() && state.version == state.written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A position that is to be checkpointed, and the version of the term that holds everything up to it.
struct Due {
    position: (Checkpointer, Position),
    version: u64,
}

/// All terms of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ledger<R> {
    rows: R,
    meters: Meters,
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// Held while rows are written.
    writing: Arc<tokio::sync::Mutex<()>>,
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
            writing: Arc::default(),
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
    pub(crate) fn dropped(&self, shard: &ShardId, reason: DropReason, records: u64) {
        let entries = self.snapshot().into_iter();
        let of_shard = entries.filter_map(|entry| {
            let epoch = {
                let state = entry.state();
                (state.term.shard == *shard).then_some(state.term.epoch)
            };
            Some((epoch?, entry))
        });
        if let Some((_, entry)) = of_shard.max_by_key(|(epoch, _)| *epoch) {
            entry.dropped(reason, records);
        }
    }

    /// Writes the row of a term unless it is as written, and other changed rows with it: of many leases that are handed
    /// on together, the first one's write takes the rows of all that wait behind it.
    pub(crate) async fn flush(&self, entry: &Entry) -> Result<(), Fault> {
        let _one_at_a_time = self.writing.lock().await;
        if !entry.dirty() {
            return Ok(());
        }
        let mut batch = vec![entry.clone()];
        let others = self
            .changed()
            .into_iter()
            .filter(|other| !Arc::ptr_eq(&other.state, &entry.state));
        batch.extend(others.take(R::AT_ONCE - 1));
        self.write(&batch).await?;
        if entry.dirty() {
            return Err(unwritten());
        }
        Ok(())
    }

    /// Writes changed rows and due checkpoints until cancelled.
    pub(crate) async fn keep(self, audit_every: Duration, checkpoint_every: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval(audit_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.save(checkpoint_every).await;
        }
    }

    /// Writes every changed row: the last thing that a process does. Returns how many could not be written.
    pub(crate) async fn close(&self) -> usize {
        let _one_at_a_time = self.writing.lock().await;
        for batch in self.changed().chunks(R::AT_ONCE) {
            drop(self.write(batch).await);
        }
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

    /// One request for changed rows, and then the checkpoints that are due of all whose rows are as they should be.
    async fn save(&self, checkpoint_every: Duration) {
        // Taken before the rows are, so that the rows hold everything up to there.
        let due: Vec<_> = self
            .snapshot()
            .into_iter()
            .filter_map(|entry| {
                let due = entry.due(checkpoint_every);
                due.map(|due| (entry, due))
            })
            .collect();
        {
            let _one_at_a_time = self.writing.lock().await;
            let mut batch = self.changed();
            batch.truncate(R::AT_ONCE);
            drop(self.write(&batch).await);
        }
        let mut jobs = JoinSet::new();
        for entry in self.snapshot() {
            let ledger = self.clone();
            if !entry.state().looked_back {
                jobs.spawn(async move { ledger.look_back(&entry).await });
            }
        }
        for (entry, due) in due {
            if !entry.covers(&due) {
                // The row did not take these deliveries, so they are not checkpointed either.
                entry.state().pending.get_or_insert(due.position);
                continue;
            }
            if jobs.len() >= WRITES_AT_ONCE {
                jobs.join_next().await;
            }
            let ledger = self.clone();
            jobs.spawn(async move { ledger.checkpoint(&entry, due).await });
        }
        while jobs.join_next().await.is_some() {}
    }

    async fn checkpoint(&self, entry: &Entry, due: Due) {
        let _one_at_a_time = entry.checkpointing.lock().await;
        entry.state().checkpointed = Instant::now();
        let (checkpointer, position) = due.position;
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

    /// Writes the rows of these terms in one request.
    async fn write(&self, entries: &[Entry]) -> Result<(), Fault> {
        if entries.is_empty() {
            return Ok(());
        }
        let (rows, versions): (Vec<_>, Vec<_>) = entries
            .iter()
            .map(|entry| {
                let mut state = entry.state();
                state.term.seen_ms = now_ms();
                let body = serde_json::to_string(&state.term).expect("a term is JSON");
                ((state.term.row_id(), body), state.version)
            })
            .unzip();
        let outcome = self.rows.put(&rows).await;
        let written = |entry: &Entry, version| {
            let mut state = entry.state();
            (state.written, state.written_at) = (version, Instant::now());
        };
        match outcome {
            Ok(left) => {
                for ((entry, version), (id, _)) in entries.iter().zip(versions).zip(&rows) {
                    if left.contains(id) {
                        self.meters.audit_write("failed");
                    } else {
                        self.meters.audit_write("ok");
                        written(entry, version);
                    }
                }
                if !left.is_empty() {
                    warn!(
                        rows = left.len(),
                        "audit rows not written, checkpoints of their shards wait"
                    );
                }
                Ok(())
            }
            // One of them can never be written: a row too large for the table. Reading goes on all the same.
            Err(fault) if fault.kind == FaultKind::Invalid && entries.len() == 1 => {
                self.meters.audit_write("refused");
                let row = &rows[0].0;
                error!(row, error = %fault, "audit row refused: its shard goes on, the audit misses these deliveries");
                written(&entries[0], versions[0]);
                Ok(())
            }
            Err(fault) if fault.kind == FaultKind::Invalid => {
                for entry in entries {
                    Box::pin(self.write(std::slice::from_ref(entry))).await?;
                }
                Ok(())
            }
            Err(fault) => {
                self.meters.audit_write("failed");
                warn!(rows = rows.len(), error = %fault, "audit rows not written, checkpoints of their shards wait");
                Err(fault)
            }
        }
    }

    /// The terms whose rows are not as written, those first that have waited longest.
    fn changed(&self) -> Vec<Entry> {
        let mut changed: Vec<Entry> = self.snapshot().into_iter().filter(Entry::dirty).collect();
        changed.sort_by_key(|entry| entry.state().written_at);
        changed
    }

    fn snapshot(&self) -> Vec<Entry> {
        self.entries().values().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service was asked for more than it gives just now.
fn unwritten() -> Fault {
    Fault {
        kind: FaultKind::Throttled,
        request: "BatchWriteItem".to_owned(),
        message: "the audit row was not taken".to_owned(),
        source: None,
    }
}

#[cfg(test)]
mod tests;
