//! The rate, for a person who looks on.

use std::io::Write;
use std::time::Duration;

use kinex_kcl::WorkerHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::meters::Meters;

/// Prints `Rate: X rec/s` on stdout until cancelled.
pub(crate) async fn rate(meters: Meters, worker: WorkerHandle, every: Duration, stop: CancellationToken) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    let (mut before, mut at) = (meters.records(), Instant::now());
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let (records, now) = (meters.records(), Instant::now());
        let rate = (records - before) as f64 / now.duration_since(at).as_secs_f64();
        let status = worker.status();
        let behind = status.behind().as_millis();
        // Nobody reads it any more: no reason to stop.
        let _ = writeln!(
            std::io::stdout(),
            "Rate: {rate:.1} rec/s  leases: {}  total: {records}  behind: {behind} ms",
            status.holds.len()
        );
        (before, at) = (records, now);
    }
}
