//! The producer program: numbered records at a steady rate, and an account of what became of each number.
//!
//! What was acknowledged and what is uncertain goes to the producer's row in the application's workers' table, where
//! whoever judges the delivery finds it. It knows nothing of leases.

mod args;
mod batch;
mod error;
mod meters;
mod outbox;
mod pace;
mod program;
mod rows;
mod send;

pub use args::Args;
pub use error::Error;
pub use rows::{CONTROL, PRODUCER};

use kinex_telemetry::Interrupts;
use tokio_util::sync::CancellationToken;

/// Runs until SIGTERM, SIGINT or SIGHUP ends it, or the asked number of records is sent.
///
/// # Errors
/// See [`Error`]; [`Error::exit_code`] says with which code the process shall end.
pub async fn run(args: Args) -> Result<(), Error> {
    let refused = |error| Error::Start(format!("cannot watch for signals: {error}"));
    let mut interrupts = Interrupts::listen().map_err(refused)?;
    let stop = CancellationToken::new();
    let running = run_until(args, stop.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        _ = interrupts.next() => {}
    }
    stop.cancel();
    tokio::select! {
        ended = running => ended,
        _ = interrupts.next() => Err(Error::Failed("quit at the second signal".to_owned())),
    }
}

/// Runs until cancelled: what is in flight is settled and the last row is written.
///
/// # Errors
/// See [`Error`].
pub async fn run_until(args: Args, stop: CancellationToken) -> Result<(), Error> {
    Box::pin(program::run(args, stop)).await
}

/// The most records per second that may be asked for.
const RATE_MAX: f64 = 100_000.0;

fn checked_rate(rate: f64) -> Result<f64, String> {
    if (0.0..=RATE_MAX).contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("records per second must be 0 to {RATE_MAX}, not {rate}"))
    }
}
