//! Why the operator ends otherwise than in good order, and with which exit code.

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings are wrong: exit code 2.
    #[error("{0}")]
    Settings(String),
    /// It could not start: exit code 3.
    #[error("{0}")]
    Start(String),
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
        }
    }
}
