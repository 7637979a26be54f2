//! The producer program: numbered records at a held rate.

mod args;
mod error;

pub use args::Args;
pub use error::Error;

/// Runs until a signal ends it, or the asked number of records is sent.
///
/// # Errors
/// See [`Error`]; [`Error::exit_code`] says with which code the process shall end.
pub async fn run(args: Args) -> Result<(), Error> {
    let _ = args;
    Err(Error::Start("the sender is not wired up yet".to_owned()))
}
