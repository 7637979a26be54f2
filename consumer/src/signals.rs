//! SIGTERM and SIGINT.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Error;

/// Cancels `leave` on the first signal and `quit` on the second; ends on `done`.
pub(crate) fn watch(
    leave: CancellationToken,
    quit: CancellationToken,
    done: CancellationToken,
) -> Result<impl Future<Output = ()>, Error> {
    let refused = |error| Error::Start(format!("cannot watch for signals: {error}"));
    let mut term = signal(SignalKind::terminate()).map_err(refused)?;
    let mut int = signal(SignalKind::interrupt()).map_err(refused)?;
    Ok(async move {
        for (then, what) in [(leave, "leaving: every lease is handed on"), (quit, "quitting at once")] {
            let name = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
                () = done.cancelled() => return,
            };
            if then.is_cancelled() {
                warn!(signal = name, "already {what}");
            }
            info!(signal = name, "{what}");
            then.cancel();
        }
    })
}
