//! The consumer program: counts, audits and reports what it reads.

mod args;
mod error;

pub use args::Args;
pub use error::Error;

/// Runs until a signal ends it.
///
/// # Errors
/// See [`Error`]; [`Error::exit_code`] says with which code the process shall end.
pub async fn run(args: Args) -> Result<(), Error> {
    let _ = args;
    Err(Error::Start("the worker is not wired up yet".to_owned()))
}
