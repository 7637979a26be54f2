//! Orders of an experiment that this process carries out on itself, when `--allow-chaos` lets it.

use std::time::Duration;

use kinex_kcl::ports::LeaseStore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::identity::Identity;

/// How soon an order is seen; one more read per second, by processes that allow it only.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The order to end like a process that was killed.
const CRASH: &str = "crash";

/// Looks for orders to this incarnation until cancelled.
pub(crate) async fn obey<S: LeaseStore>(store: S, identity: Identity, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let row = match store.worker(&identity.worker).await {
            Ok(row) => row.filter(|row| row.incarnation == identity.incarnation),
            Err(error) => {
                debug!(%error, "orders not read");
                continue;
            }
        };
        match row.and_then(|row| row.order).as_deref() {
            Some(CRASH) => crash(),
            Some(other) => debug!(order = other, "not an order for this process"),
            None => {}
        }
    }
}

/// As pid 1 of a container without an init process the signal is ignored; abort then ends the process all the same.
fn crash() {
    warn!("ordered to crash");
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}
