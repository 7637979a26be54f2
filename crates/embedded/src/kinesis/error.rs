//! Errors as Kinesis names them.

use crate::answer::Answer;

/// A refused request: HTTP 400 with the error's name and a text of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) kind: Kind,
    pub(super) message: String,
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// The names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ExpiredIterator,
    ExpiredNextToken,
    InvalidArgument,
    LimitExceeded,
    ProvisionedThroughputExceeded,
    ResourceInUse,
    ResourceNotFound,
    Serialization,
    UnknownOperation,
    Validation,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ExpiredIterator => "ExpiredIteratorException",
            Self::ExpiredNextToken => "ExpiredNextTokenException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::LimitExceeded => "LimitExceededException",
            Self::ProvisionedThroughputExceeded => "ProvisionedThroughputExceededException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::Validation => "ValidationException",
        }
    }

    pub(super) fn because(self, message: impl Into<String>) -> Error {
        Error {
            kind: self,
            message: message.into(),
        }
    }
}

impl Error {
    pub(super) fn answer(&self) -> Answer {
        Answer::error(400, self.kind.name(), &self.message)
    }
}

/// `Err` of this kind unless the condition holds.
pub(super) fn ensure(holds: bool, kind: Kind, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(kind.because(message())) }
}
