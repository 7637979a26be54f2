//! SIGTERM and SIGINT.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::error::Error;

/// Cancels `leave` on the first signal; ends on `done`.
pub(crate) fn watch(leave: CancellationToken, done: CancellationToken) -> Result<impl Future<Output = ()>, Error> {
    let refused = |error| Error::Start(format!("cannot watch for signals: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(refused)?;
    let mut int = signal(SignalKind::interrupt()).map_err(refused)?;
    Ok(async move {
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
            () = done.cancelled() => return,
        };
        info!(signal = name, "leaving");
        leave.cancel();
    })
}
