//! Why the consumer ends otherwise than in good order, and with which exit code.

use kinex_aws::{Fault, FaultKind};
use kinex_kcl::ports::StreamMismatch;

/// Why the consumer ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings are wrong: exit code 2.
    #[error("{0}")]
    Settings(String),
    /// It could not start: exit code 3.
    #[error("{0}")]
    Start(String),
    /// Another process has this worker's name, or took its place: exit code 75 (try again later).
    #[error("{0}")]
    Replaced(String),
    /// The stream was deleted while it was read, and another one has its name: exit code 5.
    #[error(transparent)]
    StreamReplaced(StreamMismatch),
    /// It failed while it ran: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// The code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Settings(_) => 2,
            Self::Start(_) => 3,
            Self::StreamReplaced(_) => 5,
            Self::Replaced(_) => 75,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match (fault.kind, fault.mismatch()) {
            (FaultKind::StreamReplaced, Some(mismatch)) => Self::StreamReplaced(mismatch.clone()),
            (FaultKind::Invalid, _) => Self::Settings(fault.to_string()),
            _ => Self::Start(fault.to_string()),
        }
    }
}

impl From<kinex_kcl::Error> for Error {
    fn from(error: kinex_kcl::Error) -> Self {
        match error {
            kinex_kcl::Error::NameInUse(_) | kinex_kcl::Error::Replaced { .. } => Self::Replaced(error.to_string()),
            kinex_kcl::Error::RenewalModeDiffers { .. }
            | kinex_kcl::Error::StreamDiffers(_)
            | kinex_kcl::Error::LeasesOfAnotherStream(_) => Self::Settings(error.to_string()),
            kinex_kcl::Error::StreamReplaced(mismatch) => Self::StreamReplaced(mismatch),
            kinex_kcl::Error::Start(fault) => Self::from(fault),
            _ => Self::Failed(error.to_string()),
        }
    }
}
