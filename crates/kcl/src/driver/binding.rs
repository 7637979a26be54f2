//! Before anything else: the leases in the tables are those of this stream.

use std::time::Duration;

use super::Setup;
use crate::message::Message;
use crate::ports::{Fault, FaultKind, LeaseStore, StreamReader};
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
            Ok((mine, bound)) if mine == bound => return Ok(Bound::Stream),
            Ok((mine, bound)) => return Err(Error::StreamDiffers { bound, mine }),
            Err(fault) => match fault.kind {
                FaultKind::Throttled
                | FaultKind::Unreachable
                | FaultKind::Service
                | FaultKind::Incomplete
                | FaultKind::Rejected => {}
                FaultKind::StreamReplaced => return Err(Error::StreamReplaced(fault.to_string())),
                FaultKind::Missing | FaultKind::Denied | FaultKind::Invalid | FaultKind::IteratorExpired => {
                    return Err(Error::Start(fault));
                }
            },
        }
        if asked_to_leave(setup, pause).await {
            return Ok(Bound::Leave);
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The stream, and the one that the tables are tied to.
async fn once<S: LeaseStore, R: StreamReader, F>(setup: &Setup<S, R, F>) -> Result<(String, String), Fault> {
    let (board, within) = (&setup.board, setup.config.request_timeout);
    let mine = board
        .ask("stream-identity", None, within, setup.stream.stream_identity())
        .await?;
    let bound = board.ask("bind", None, within, setup.store.bind(&mine)).await?;
    board.count("bind", "ok");
    Ok((mine, bound))
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
