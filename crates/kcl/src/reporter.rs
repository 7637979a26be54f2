//! Where a worker emits its events, and counts what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinex_core::id::ShardId;
use kinex_core::lease::Position;
use kinex_core::member::Hold;
use kinex_core::time::Moment;
use tokio::sync::watch;

use crate::clock;
use crate::events::{DropReason, Events, WorkerEvent};
use crate::ports::{Fault, FaultKind, StreamMismatch};
use crate::progress::Progress;
use crate::worker::{HoldStatus, Status};

/// Events and status of one worker; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    pub(crate) events: Events,
    pub(crate) status: Arc<Mutex<Status>>,
    told: Arc<Mutex<Told>>,
    /// What the stream's reader found when another stream had taken the name.
    replaced: Arc<watch::Sender<Option<StreamMismatch>>>,
}

/// What need not be told again for now.
#[derive(Debug, Default)]
struct Told {
    /// Failures of a request.
    failures: Logged<(&'static str, FaultKind)>,
    /// Rows that could not be read at the last scan.
    unreadable: BTreeSet<(String, String)>,
    /// Keys of rows that are no shard's.
    foreign: BTreeSet<String>,
    /// Records that were dropped for a reason.
    dropped: Logged<DropReason>,
}

/// When something of a kind was last logged, and how much of it has not been since.
type Logged<K> = BTreeMap<K, (Moment, u64)>;

/// What happens again and again is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Whether `count` more of a kind are to be logged now, and how many were not since the last ones that were.
fn log_due<K: Ord>(logged: &mut Logged<K>, kind: K, count: u64, now: Moment) -> Option<u64> {
    match logged.get_mut(&kind) {
        Some((at, unlogged)) if now.since(*at) < LOG_EVERY => {
            *unlogged += count;
            None
        }
        entry => {
            let unlogged = entry.map_or(0, |(_, unlogged)| *unlogged);
            logged.insert(kind, (now, 0));
            Some(unlogged)
        }
    }
}

impl Reporter {
    pub(crate) fn new(events: Events, status: Arc<Mutex<Status>>) -> Self {
        Self {
            events,
            status,
            told: Arc::default(),
            replaced: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Tells of the rows that a scan could not read, each once for as long as it stays so.
    pub(crate) fn unreadable(&self, rows: &[(String, String)]) {
        let rows: BTreeSet<_> = rows.iter().cloned().collect();
        let before = std::mem::replace(&mut self.told().unreadable, rows.clone());
        for (key, reason) in rows.difference(&before).cloned() {
            self.emit(WorkerEvent::UnreadableLease { key, reason });
        }
    }

    /// Reports the rows of a scan that are no shard's, each once.
    pub(crate) fn foreign(&self, keys: &[String]) {
        let mut told = self.told();
        let new: Vec<_> = keys
            .iter()
            .filter(|key| told.foreign.insert((*key).clone()))
            .cloned()
            .collect();
        drop(told);
        if !new.is_empty() {
            self.emit(WorkerEvent::ForeignLeases { keys: new });
        }
    }

    /// Reports records that no processor gets. The log has a line for each reason every ten seconds.
    pub(crate) fn dropped(&self, shard: &ShardId, reason: DropReason, records: u64, first: Position, last: Position) {
        let unlogged = log_due(&mut self.told().dropped, reason, records, clock::now());
        if let Some(unlogged) = unlogged {
            crate::log::dropped(shard, reason.as_str(), records, &first, &last, unlogged);
        }
        self.events.emit_quietly(WorkerEvent::RecordsDropped {
            shard: shard.clone(),
            reason,
            records,
            first,
            last,
        });
    }

    /// Waits until a request found another stream in the place of the one that is read, and returns both.
    pub(crate) async fn replaced(&self) -> StreamMismatch {
        let mut replaced = self.replaced.subscribe();
        loop {
            if let Some(mismatch) = replaced.borrow_and_update().clone() {
                return mismatch;
            }
            // The sender lives in this very value.
            let _ = replaced.changed().await;
        }
    }

    fn failed(&self, request: &'static str, fault: &Fault) {
        self.count(request, outcome(fault.kind));
        if let (FaultKind::StreamReplaced, Some(mismatch)) = (fault.kind, fault.mismatch()) {
            // The worker ends with this error, which says it once.
            self.replaced.send_replace(Some(mismatch.clone()));
            return;
        }
        // An iterator that is too old is a matter of course.
        if fault.kind == FaultKind::IteratorExpired {
            return;
        }
        let unlogged = log_due(&mut self.told().failures, (request, fault.kind), 1, clock::now());
        if let Some(unlogged) = unlogged {
            crate::log::failure(fault, unlogged);
        }
        self.events.emit_quietly(WorkerEvent::RequestFailed {
            request: fault.request.clone(),
            kind: fault.kind,
            message: fault.message.clone(),
        });
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn emit(&self, event: WorkerEvent) {
        self.events.emit(event);
    }

    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        // A panic between two changes leaves numbers that are a little off, and nothing worse.
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the status of a hold, unless a later hold of the shard has taken its place.
    pub(crate) fn hold(&self, hold: &Hold, change: impl FnOnce(&mut HoldStatus)) {
        self.update(|status| {
            if let Some(found) = status
                .holds
                .get_mut(&hold.key)
                .filter(|found| found.epoch == hold.fence.epoch)
            {
                change(found);
            }
        });
    }

    /// Changes what is known of how a hold gets on.
    pub(crate) fn progress(&self, hold: &Hold, change: impl FnOnce(&mut Progress)) {
        self.hold(hold, |hold| change(&mut hold.progress));
    }

    /// Counts an answer.
    pub(crate) fn count(&self, request: &'static str, outcome: &'static str) {
        self.update(|status| *status.requests.entry((request, outcome)).or_default() += 1);
    }

    /// Waits for an answer of the world, counts it, and tells of a failure. No answer in time is a failure too.
    pub(crate) async fn ask<T>(
        &self,
        request: &'static str,
        about: Option<&ShardId>,
        within: Duration,
        answer: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let answer = tokio::time::timeout(within, answer).await.unwrap_or_else(|_| {
            let about = about.map_or_else(String::new, |shard| format!(" of {shard}"));
            Err(Fault {
                kind: FaultKind::Unreachable,
                request: format!("{request}{about}"),
                message: format!("no answer within {within:?}"),
                source: None,
            })
        });
        if let Err(fault) = &answer {
            self.failed(request, fault);
        }
        answer
    }
}

/// The name of a failure in counters.
fn outcome(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Throttled => "throttled",
        FaultKind::Unreachable => "unreachable",
        FaultKind::Incomplete => "incomplete",
        FaultKind::Service => "service",
        FaultKind::Denied => "denied",
        FaultKind::Missing => "missing",
        FaultKind::StreamReplaced => "stream-replaced",
        FaultKind::IteratorExpired => "iterator-expired",
        FaultKind::Rejected => "rejected",
        FaultKind::Invalid => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_error_is_logged_every_ten_seconds_with_its_count() {
        let mut logged = Logged::new();
        let mut due = |request, kind, millis| log_due(&mut logged, (request, kind), 1, Moment::millis(millis));
        assert_eq!(due("beat", FaultKind::Throttled, 1_000), Some(0));
        assert_eq!(due("beat", FaultKind::Throttled, 2_000), None);
        assert_eq!(due("beat", FaultKind::Throttled, 10_999), None);
        assert_eq!(
            due("beat", FaultKind::Denied, 10_999),
            Some(0),
            "another kind of failure is news"
        );
        assert_eq!(due("beat", FaultKind::Throttled, 11_000), Some(2));
        assert_eq!(due("beat", FaultKind::Throttled, 21_000), Some(0));
    }

    #[test]
    fn records_dropped_between_two_lines_are_counted_in_the_next() {
        let mut logged = Logged::new();
        let mut due = |reason, records, millis| log_due(&mut logged, reason, records, Moment::millis(millis));
        assert_eq!(due(DropReason::Poison, 1, 0), Some(0));
        assert_eq!(due(DropReason::Poison, 20, 1_000), None);
        assert_eq!(due(DropReason::OutOfRange, 5, 1_000), Some(0));
        assert_eq!(due(DropReason::Poison, 30, 9_999), None);
        assert_eq!(due(DropReason::Poison, 1, 10_000), Some(50));
    }
}
