//! How a command ends: the exit codes, and errors that carry one together with the next step.

use std::process::ExitCode;

use kinex_kcl::ports::{Fault, FaultKind};

/// What the caller of `kinex` can tell from its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The command did what was asked; of a run: the verdict is Pass.
    Done = 0,
    /// The run ended with another verdict, a check found something wrong, or a program failed at work.
    VerdictFailed = 1,
    /// Bad usage, a bad manifest, or something named that does not exist.
    Usage = 2,
    /// The endpoint does not answer, or refuses the credentials.
    CannotConnect = 3,
    /// A deadline or time limit passed first.
    TimedOut = 4,
    /// Anything else went wrong.
    Failed = 5,
    /// The name is in use by another process (as `EX_TEMPFAIL`).
    NameInUse = 75,
    /// Ctrl-C or SIGTERM ended it early; a run still wrote its partial report.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// The lines at the end of `kinex --help`.
pub(crate) const HELP: &str = "Exit codes: 0 done, 1 verdict failed, 2 usage or bad manifest, 3 cannot connect, \
4 timed out, 5 anything else, 75 worker id in use, 130 interrupted";

/// An error that knows its exit code and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Stop {
    /// How the process ends.
    pub(crate) code: Code,
    /// What is wrong, and where.
    pub(crate) message: String,
    /// What the user can do next.
    pub(crate) next: Option<String>,
    /// The error below.
    #[source]
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Stop {
    /// An error with no cause below it.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            next: None,
            source: None,
        }
    }

    /// Bad usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// The same error with the next step.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The same error with its cause.
    pub(crate) fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// The fault of an endpoint that an error comes from, if any.
pub(crate) fn fault_of(error: &anyhow::Error) -> Option<&Fault> {
    error.chain().find_map(|cause| cause.downcast_ref::<Fault>())
}

/// The exit code that an error stands for.
pub(crate) fn code_of(error: &anyhow::Error) -> Code {
    for cause in error.chain() {
        if let Some(stop) = cause.downcast_ref::<Stop>() {
            return stop.code;
        }
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return match fault.kind {
                FaultKind::Unreachable | FaultKind::Denied => Code::CannotConnect,
                FaultKind::Missing | FaultKind::StreamReplaced | FaultKind::Invalid => Code::Usage,
                FaultKind::Throttled
                | FaultKind::Service
                | FaultKind::Incomplete
                | FaultKind::Rejected
                | FaultKind::IteratorExpired => Code::Failed,
            };
        }
    }
    Code::Failed
}

/// Tells the user on stderr what went wrong and what to do next.
pub(crate) fn report(error: &anyhow::Error) -> Code {
    let code = code_of(error);
    eprintln!("error: {error:#}");
    let next = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Stop>().and_then(|stop| stop.next.clone()));
    if let Some(next) = next {
        eprintln!(" next: {next}");
    }
    code
}

/// Whether the error only says that the reader of our output has gone, which is no failure.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    };
    error.chain().any(closed)
}
