//! SIGTERM, SIGINT, and the SIGHUP of a terminal that was closed.

use kinex_telemetry::Interrupts;
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
    let mut interrupts = Interrupts::listen().map_err(refused)?;
    Ok(async move {
        for (then, what) in [(leave, "leaving: every lease is handed on"), (quit, "quitting at once")] {
            let name = tokio::select! {
                name = interrupts.next() => name,
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
