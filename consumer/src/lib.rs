//! The consumer program: one worker of an application that counts, audits and reports what it reads.
//!
//! It knows nothing of leases and balance; that is the client library's. What it adds is the settings file, signals,
//! the processor, the audit rows and the metrics.

mod args;
pub mod chaos;
mod clock;
mod error;
mod identity;
mod leaving;
mod ledger;
mod meters;
mod processor;
mod program;
mod report;
pub mod settings;
mod signals;

pub use args::Args;
pub use error::Error;
pub use identity::PROCESS;
pub use leaving::Leaving;
pub use ledger::AUDIT;
pub use program::Stop;

use tokio_util::sync::CancellationToken;

/// Runs until a signal ends it: the first SIGTERM, SIGINT or SIGHUP hands every lease on, the second one quits.
///
/// # Errors
/// See [`Error`]; [`Error::exit_code`] says with which code the process shall end.
pub async fn run(args: Args) -> Result<(), Error> {
    let stop = Stop::default();
    let done = CancellationToken::new();
    let signals = tokio::spawn(signals::watch(stop.leave.clone(), stop.quit.clone(), done.clone())?);
    let outcome = run_until(args, stop).await;
    done.cancel();
    // It only waits for signals, and cannot panic.
    let _ = signals.await;
    outcome
}

/// Runs until told to stop.
///
/// # Errors
/// See [`Error`].
pub async fn run_until(args: Args, stop: Stop) -> Result<(), Error> {
    Box::pin(program::run(args, stop)).await
}
