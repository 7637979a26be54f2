//! Where everything that happens in a worker is told and counted.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kinex_core::id::ShardId;
use kinex_core::member::Hold;

use crate::events::{Events, WorkerEvent};
use crate::ports::{Fault, FaultKind};
use crate::worker::{HoldStatus, Status};

/// Events and status of one worker; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    pub(crate) events: Events,
    pub(crate) status: Arc<Mutex<Status>>,
}

impl Board {
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
        match &answer {
            Ok(_) => {}
            Err(fault) => {
                self.count(request, outcome(fault.kind));
                // An iterator that is too old is a matter of course.
                if fault.kind != FaultKind::IteratorExpired {
                    self.tell(WorkerEvent::RequestFailed {
                        request: fault.request.clone(),
                        kind: fault.kind,
                        message: fault.message.clone(),
                    });
                }
            }
        }
        answer
    }
}

/// The name of a failure in counters.
fn outcome(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Throttled => "throttled",
        FaultKind::Unreachable => "unreachable",
        FaultKind::Service => "service",
        FaultKind::Denied => "denied",
        FaultKind::Missing => "missing",
        FaultKind::IteratorExpired => "iterator-expired",
        FaultKind::Invalid => "invalid",
    }
}
