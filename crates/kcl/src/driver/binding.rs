//! Before anything else: the leases in the tables are those of this stream.

use std::time::Duration;

use super::Setup;
use crate::adoption::foreign_lease;
use crate::message::Message;
use crate::ports::{Fault, FaultKind, LeaseStore, StreamMismatch, StreamReader};
use crate::request::SCAN;
use crate::worker::Error;

/// The pause after the first failure that may pass; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How it ended.
pub(super) enum Bound {
    /// The leases are those of the stream.
    Stream,
    /// The worker was asked to leave before that was known.
    Leave,
}

/// Ties the tables to the stream, or finds that they are tied to it.
///
/// # Errors
/// When they are tied to another one, and when tables or stream are missing or refused: waiting would not help. What may
/// pass is retried, and reported as every failed request is.
pub(super) async fn bind<S: LeaseStore, R: StreamReader, F>(setup: &mut Setup<S, R, F>) -> Result<Bound, Error> {
    let mut pause = PAUSE;
    loop {
        match once(setup).await {
            Ok(()) => return Ok(Bound::Stream),
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Fault(fault)) => match fault.kind {
                FaultKind::Throttled
                | FaultKind::Unreachable
                | FaultKind::Service
                | FaultKind::Incomplete
                | FaultKind::Rejected => {}
                FaultKind::StreamReplaced
                | FaultKind::Missing
                | FaultKind::Denied
                | FaultKind::Invalid
                | FaultKind::IteratorExpired => {
                    let replaced = fault.mismatch().cloned().map(Error::StreamReplaced);
                    return Err(replaced.unwrap_or(Error::Start(fault)));
                }
            },
        }
        if asked_to_leave(setup, pause).await {
            return Ok(Bound::Leave);
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Why the leases are not those of the stream, as far as can be told.
enum Refusal {
    /// A request failed.
    Fault(Fault),
    /// They are not.
    Final(Error),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

async fn once<S: LeaseStore, R: StreamReader, F>(setup: &Setup<S, R, F>) -> Result<(), Refusal> {
    let (reporter, within) = (&setup.reporter, setup.config.request_timeout);
    let found = reporter
        .ask("stream-identity", None, within, setup.stream.stream_identity())
        .await?;
    let bound = match reporter.ask("bound", None, within, setup.store.bound()).await? {
        Some(bound) => bound,
        None => {
            let rows = foreign_lease(&*setup.store, &*setup.stream);
            if let Some(foreign) = reporter.ask("foreign-lease", None, within * SCAN, rows).await? {
                return Err(Refusal::Final(Error::LeasesOfAnotherStream(foreign)));
            }
            reporter.ask("bind", None, within, setup.store.bind(&found)).await?
        }
    };
    reporter.count("bind", "ok");
    if found == bound {
        return Ok(());
    }
    Err(Refusal::Final(Error::StreamDiffers(StreamMismatch { bound, found })))
}

/// Waits, and says whether the worker was asked to leave meanwhile.
async fn asked_to_leave<S, R, F>(setup: &mut Setup<S, R, F>, pause: Duration) -> bool {
    let leave = async {
        loop {
            match setup.inbox.recv().await {
                Some(Message::Depart(_)) => return,
                Some(_) => {}
                // The sender lives in the set-up.
                None => std::future::pending().await,
            }
        }
    };
    tokio::time::timeout(pause, leave).await.is_ok()
}
