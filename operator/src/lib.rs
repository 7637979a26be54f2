//! The Kubernetes operator of `KinesisExperiment`.
//!
//! # Expected flow
//! API server -> `controller` -> `reconcile`, which runs these steps in order: `observe` (client required) ->
//! `kinex_api::convert` and [`limits`] (no client) -> [`decide`](kinex_core::experiment::decide) (no client) -> `status`
//! is written (client required) -> the workload is built by [`build`] (no client) and written by [`apply`] (client
//! required) -> `effects` (client required) -> `memory` and `events` (client required).
//!
//! It decides nothing about an experiment itself: it turns what the core decides into patches of a StatefulSet and calls
//! to the stream, as `kinex run` turns it into child processes.

pub mod args;
pub mod build;
pub mod limits;
pub mod metrics;
pub mod permissions;
pub mod settings;

mod active_run;
pub mod apply;
mod claim;
mod cleanup;
mod controller;
mod effects;
mod ending;
mod error;
mod events;
mod leader;
mod link;
mod memory;
mod observe;
mod ownership;
mod pacing;
mod pods;
mod program;
mod reconcile;
mod signals;
mod status;
mod watch;
mod watchdog;
mod workload;

#[cfg(test)]
mod tests;

pub use args::Args;
pub use error::Error;

use tokio_util::sync::CancellationToken;

/// Runs until SIGTERM or SIGINT: then what is under way is finished, and the Lease is given back.
///
/// # Errors
/// See [`Error`]; [`Error::exit_code`] says with which code the process shall end.
pub async fn run(args: Args) -> Result<(), Error> {
    let (stop, done) = (CancellationToken::new(), CancellationToken::new());
    let signals = tokio::spawn(signals::watch(stop.clone(), done.clone())?);
    let outcome = Box::pin(program::run(args, stop)).await;
    done.cancel();
    // It only waits for signals, and cannot panic.
    let _ = signals.await;
    outcome
}
