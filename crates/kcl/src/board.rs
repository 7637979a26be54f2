//! Where everything that happens in a worker is told and counted.

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
pub(crate) struct Board {
    pub(crate) events: Events,
    pub(crate) status: Arc<Mutex<Status>>,
    told: Arc<Mutex<Told>>,
    /// What the stream's reader found when another stream had taken the name.
    replaced: Arc<watch::Sender<Option<StreamMismatch>>>,
}

/// What need not be told again for now.
#[derive(Debug, Default)]
struct Told {
    /// When a failure of this request was last logged, and how many have not been since.
    failures: BTreeMap<(&'static str, FaultKind), (Moment, u64)>,
    /// Rows that could not be read at the last scan.
    unreadable: BTreeSet<(String, String)>,
    /// Keys of rows that are no shard's.
    foreign: BTreeSet<String>,
    /// When a drop of records for this reason was last logged, and how many records have not been since.
    dropped: BTreeMap<DropReason, (Moment, u64)>,
}

/// A request that fails for long is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(10);

impl Board {
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
            self.tell(WorkerEvent::UnreadableLease { key, reason });
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
            self.tell(WorkerEvent::ForeignLeases { keys: new });
        }
    }

    /// Reports records that no processor gets. The log has a line for each reason every ten seconds.
    pub(crate) fn dropped(&self, shard: &ShardId, reason: DropReason, records: u64, first: Position, last: Position) {
        if let Some(unlogged) = self.drop_due(reason, records, clock::now()) {
            crate::log::dropped(shard, reason.as_str(), records, &first, &last, unlogged);
        }
        self.events.tell_quietly(WorkerEvent::RecordsDropped {
            shard: shard.clone(),
            reason,
            records,
            first,
            last,
        });
    }

    /// Whether a drop is to be logged, and how many records were dropped without a line since the last one.
    fn drop_due(&self, reason: DropReason, records: u64, now: Moment) -> Option<u64> {
        let mut told = self.told();
        match told.dropped.get_mut(&reason) {
            Some((at, unlogged)) if now.since(*at) < LOG_EVERY => {
                *unlogged += records;
                None
            }
            entry => {
                let unlogged = entry.map_or(0, |(_, unlogged)| *unlogged);
                told.dropped.insert(reason, (now, 0));
                Some(unlogged)
            }
        }
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
        if let Some(unlogged) = self.log_due(request, fault.kind, clock::now()) {
            crate::log::failure(fault, unlogged);
        }
        self.events.tell_quietly(WorkerEvent::RequestFailed {
            request: fault.request.clone(),
            kind: fault.kind,
            message: fault.message.clone(),
        });
    }

    /// Whether a failure is to be logged, and how many were not since the last one that was.
    fn log_due(&self, request: &'static str, kind: FaultKind, now: Moment) -> Option<u64> {
        let mut told = self.told();
        match told.failures.get_mut(&(request, kind)) {
            Some((at, unlogged)) if now.since(*at) < LOG_EVERY => {
                *unlogged += 1;
                None
            }
            entry => {
                let unlogged = entry.map_or(0, |(_, unlogged)| *unlogged);
                told.failures.insert((request, kind), (now, 0));
                Some(unlogged)
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, event: WorkerEvent) {
        self.events.tell(event);
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
    use kinex_core::lease::Process;

    use super::*;

    #[test]
    fn a_hot_error_is_logged_every_ten_seconds_with_its_count() {
        let process = Process {
            worker: "worker-0".into(),
            incarnation: "inc".into(),
        };
        let board = Board::new(Events::new(1), Arc::new(Mutex::new(Status::starting(&process))));
        let due = |request, kind, millis| board.log_due(request, kind, Moment::millis(millis));
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
}
