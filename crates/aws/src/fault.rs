//! From what the SDK says to what to do about it.
//!
//! The SDK has one error type per operation. [`Failure::of`] takes what matters out of any of them; everything else here
//! is plain code that is compiled once.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use kinex_kcl::ports::{Fault, FaultKind};

use crate::access::Place;

/// What a request was about, for a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// `UpdateItem`.
    pub(crate) api: &'static str,
    /// `table` or `stream`, with the name.
    pub(crate) subject: Subject<'a>,
    /// Where it was sent.
    pub(crate) place: &'a Place,
}

/// What was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    /// A DynamoDB table.
    Table(&'a str),
    /// A Kinesis stream.
    Stream(&'a str),
    /// All streams.
    Streams,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(name) => write!(f, "table {name}"),
            Self::Stream(name) => write!(f, "stream {name}"),
            Self::Streams => f.write_str("all streams"),
        }
    }
}

impl Asked<'_> {
    /// A fault that this crate found itself.
    pub(crate) fn fault(&self, kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault {
            kind,
            request: self.request(),
            message: message.into(),
            source: None,
        }
    }

    /// What was asked of whom.
    pub(crate) fn request(&self) -> String {
        format!("{} on {}", self.api, self.subject)
    }

    /// A fault that the SDK reported.
    pub(crate) fn failed(&self, failure: &Failure) -> Fault {
        self.told(failure, Failure::kind)
    }

    /// A fault that the SDK reported of reading a shard.
    pub(crate) fn read_failed(&self, failure: &Failure) -> Fault {
        self.told(failure, Failure::kind_of_read)
    }

    fn told(&self, failure: &Failure, kind: impl Fn(&Failure) -> FaultKind) -> Fault {
        let refusal = failure.of_proxy(self.place);
        let failure = refusal.as_ref().unwrap_or(failure);
        let kind = kind(failure);
        self.fault(kind, failure.advice(self, kind))
    }

    fn permission(&self) -> String {
        let service = if matches!(self.subject, Subject::Table(_)) {
            "dynamodb"
        } else {
            "kinesis"
        };
        format!("{service}:{}", self.api)
    }
}

/// A failed request without the types of its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The service answered with an error.
    Answer {
        /// Its name: `ResourceNotFoundException`.
        code: String,
        /// The HTTP status.
        status: u16,
        /// What the service says about it.
        message: String,
    },
    /// No answer within the time of the client.
    Silence,
    /// The connection failed, with the innermost reason.
    Connection(String),
    /// There are no credentials to sign with.
    Credentials(String),
    /// The request was never sent, with the reason.
    Unsent(String),
    /// An answer that is none of the protocol.
    Garbage(String),
    /// An error that is none of the protocol: a page of whatever is in between.
    Foreign {
        /// The HTTP status.
        status: u16,
        /// What it is not.
        reason: String,
    },
}

impl Failure {
    /// What matters of an SDK error.
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let SdkError::ServiceError(answer) = error {
            let meta = answer.err().meta();
            let status = answer.raw().status().as_u16();
            return Self::Answer {
                code: meta.code().map_or_else(|| format!("HTTP {status}"), str::to_owned),
                status,
                message: meta.message().unwrap_or_default().to_owned(),
            };
        }
        let (reason, credentials) = innermost(error);
        match error {
            _ if credentials => Self::Credentials(reason),
            SdkError::TimeoutError(_) => Self::Silence,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::Silence,
            SdkError::DispatchFailure(_) => Self::Connection(reason),
            SdkError::ResponseError(answer) if !answer.raw().status().is_success() => Self::Foreign {
                status: answer.raw().status().as_u16(),
                reason,
            },
            SdkError::ResponseError(_) => Self::Garbage(reason),
            _ => Self::Unsent(reason),
        }
    }

    /// What a proxy says itself: an answer without the name of an error is none of the service's.
    fn of_proxy(&self, place: &Place) -> Option<Self> {
        let status = match self {
            _ if place.proxy().is_none() => None,
            Self::Answer { code, status, .. } if code.starts_with("HTTP ") => Some(*status),
            Self::Foreign { status, .. } => Some(*status),
            _ => None,
        };
        status.map(|status| Self::Connection(format!("it answered HTTP {status}")))
    }

    /// The name of the service's error, when it answered with one.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Answer { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether a change that failed like this may have been made all the same.
    pub(crate) fn leaves_doubt(&self) -> bool {
        matches!(self.kind(), FaultKind::Unreachable | FaultKind::Service)
    }

    /// What to do about it.
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            Self::Answer { code, status, .. } => answer_kind(code, *status),
            Self::Silence | Self::Connection(_) => FaultKind::Unreachable,
            Self::Credentials(_) => FaultKind::Denied,
            Self::Unsent(_) => FaultKind::Invalid,
            Self::Garbage(_) | Self::Foreign { .. } => FaultKind::Service,
        }
    }

    /// What to do about it when a shard was to be read. A position is given up only where Kinesis itself says by name that
    /// it is none: any other response, of whatever sits in between too, says nothing about it.
    fn kind_of_read(&self) -> FaultKind {
        match self {
            Self::Answer { code, .. } if code == "InvalidArgumentException" => FaultKind::Invalid,
            Self::Answer { .. } | Self::Unsent(_) => match self.kind() {
                FaultKind::Invalid => FaultKind::Rejected,
                kind => kind,
            },
            // The headers came and the rest did not, or it did not come in time.
            Self::Silence | Self::Garbage(_) => FaultKind::Incomplete,
            Self::Connection(_) | Self::Credentials(_) | Self::Foreign { .. } => self.kind(),
        }
    }

    /// What happened and the next step.
    fn advice(&self, asked: &Asked<'_>, kind: FaultKind) -> String {
        let place = asked.place;
        match self {
            Self::Answer { code, message, .. } => {
                let said = if message.is_empty() {
                    code.clone()
                } else {
                    format!("{code}: {message}")
                };
                let step = match kind {
                    FaultKind::Rejected if code.starts_with("KMS") => {
                        format!("make the key of {} usable again", asked.subject)
                    }
                    FaultKind::Rejected => format!("{place} does not serve it now: trying again, seldom"),
                    FaultKind::Throttled if code == "ResourceInUseException" => {
                        format!("{} is being changed: try again", asked.subject)
                    }
                    FaultKind::Throttled => "asked more often than is allowed: slow down, or raise the capacity".into(),
                    FaultKind::Denied => format!("allow {} to these credentials", asked.permission()),
                    FaultKind::StreamReplaced => return said,
                    FaultKind::Missing => {
                        format!(
                            "there is no {} at {place}: check the name and the region",
                            asked.subject
                        )
                    }
                    FaultKind::IteratorExpired => "get a new iterator behind the last record".into(),
                    FaultKind::Service | FaultKind::Unreachable | FaultKind::Incomplete => {
                        format!("{place} failed: try again")
                    }
                    FaultKind::Invalid => return said,
                };
                format!("{said}; {step}")
            }
            Self::Silence => {
                format!("no answer from {place} in time; the request may have been carried out: try again")
            }
            Self::Connection(reason) => match place.proxy() {
                Some(proxy) => format!(
                    "cannot reach {place} through the proxy {proxy}: {reason}; {}",
                    place.remedy()
                ),
                None => format!("cannot reach {place}: {reason}; {}", place.remedy()),
            },
            Self::Credentials(reason) => format!(
                "no AWS credentials: {reason}; set AWS_PROFILE or AWS_ACCESS_KEY_ID, log in (`aws login`, `aws sso login`), \
                 or give --endpoint-url for a local endpoint"
            ),
            Self::Unsent(reason) => format!("the request could not be made: {reason}"),
            Self::Foreign { status, reason } => format!(
                "{place} answered HTTP {status} with something that is not of the protocol: {reason}; is it the right \
                 address?"
            ),
            Self::Garbage(reason) => {
                format!(
                    "{place} answered with something that is not of the protocol: {reason}; is it the right address?"
                )
            }
        }
    }
}

fn answer_kind(code: &str, status: u16) -> FaultKind {
    match code {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "TooManyRequestsException"
        | "ResourceInUseException" => FaultKind::Throttled,
        "ResourceNotFoundException" | "TableNotFoundException" => FaultKind::Missing,
        "ExpiredIteratorException" => FaultKind::IteratorExpired,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "NotAuthorized"
        | "OptInRequired"
        | "SubscriptionRequiredException"
        | "KMSAccessDeniedException" => FaultKind::Denied,
        _ if status >= 500 => FaultKind::Service,
        _ if status == 429 => FaultKind::Throttled,
        _ if status == 403 => FaultKind::Denied,
        _ => FaultKind::Invalid,
    }
}

/// The innermost reason, and whether credentials are what is missing: then everything below says which source failed
/// how.
fn innermost(error: &(dyn Error + 'static)) -> (String, bool) {
    let mut at = error;
    let mut reasons: Option<Vec<String>> = None;
    loop {
        match &mut reasons {
            Some(reasons) => reasons.push(at.to_string()),
            None if at.is::<CredentialsError>() => reasons = Some(Vec::new()),
            None => {}
        }
        match at.source() {
            Some(below) => at = below,
            None => break,
        }
    }
    match reasons {
        Some(reasons) if !reasons.is_empty() => (reasons.join(": "), true),
        Some(_) => (at.to_string(), true),
        None => (at.to_string(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: Failure, kind: FaultKind, message: &str) {
        let place = Place::custom("http://127.0.0.1:4567");
        let asked = Asked {
            api: "UpdateItem",
            subject: Subject::Table("orders"),
            place: &place,
        };
        let fault = asked.failed(&failure);
        assert_eq!(fault.kind, kind, "{fault}");
        assert_eq!(fault.to_string(), format!("UpdateItem on table orders: {message}"));
    }

    fn answer(code: &str, status: u16) -> Failure {
        Failure::Answer {
            code: code.into(),
            status,
            message: "no".into(),
        }
    }

    #[test]
    fn every_failure_says_what_to_do_next() {
        check(
            Failure::Connection("Connection refused (os error 111)".into()),
            FaultKind::Unreachable,
            "cannot reach http://127.0.0.1:4567: Connection refused (os error 111); is the emulator running? start it \
             with `kinex emulator`",
        );
        check(
            answer("ResourceNotFoundException", 400),
            FaultKind::Missing,
            "ResourceNotFoundException: no; there is no table orders at http://127.0.0.1:4567: check the name and the \
             region",
        );
        check(
            answer("AccessDeniedException", 400),
            FaultKind::Denied,
            "AccessDeniedException: no; allow dynamodb:UpdateItem to these credentials",
        );
        check(
            Failure::Silence,
            FaultKind::Unreachable,
            "no answer from http://127.0.0.1:4567 in time; the request may have been carried out: try again",
        );
    }

    #[test]
    fn only_kinesis_itself_can_say_that_a_position_is_none() {
        let check = |failure: &Failure, expected| assert_eq!(failure.kind_of_read(), expected, "{failure:?}");
        check(&answer("InvalidArgumentException", 400), FaultKind::Invalid);
        check(&answer("ExpiredIteratorException", 400), FaultKind::IteratorExpired);
        check(&answer("ResourceNotFoundException", 400), FaultKind::Missing);
        for code in [
            "KMSDisabledException",
            "KMSInvalidStateException",
            "KMSNotFoundException",
            "KMSOptInRequired",
            "RequestExpired",
            "ValidationException",
            "SomethingNew",
        ] {
            check(&answer(code, 400), FaultKind::Rejected);
        }
        // A response without a name came from something in between.
        check(&answer("HTTP 400", 400), FaultKind::Rejected);
        check(&answer("HTTP 404", 404), FaultKind::Rejected);
        for code in [
            "ExpiredTokenException",
            "AccessDeniedException",
            "KMSAccessDeniedException",
        ] {
            check(&answer(code, 400), FaultKind::Denied);
        }
        check(&answer("KMSThrottlingException", 400), FaultKind::Throttled);
        check(
            &answer("ProvisionedThroughputExceededException", 400),
            FaultKind::Throttled,
        );
        check(&answer("InternalFailure", 500), FaultKind::Service);
        check(&Failure::Silence, FaultKind::Incomplete);
        check(&Failure::Garbage("cut".into()), FaultKind::Incomplete);
        check(&Failure::Connection("refused".into()), FaultKind::Unreachable);
        check(&Failure::Unsent("no reason".into()), FaultKind::Rejected);
    }

    #[test]
    fn an_unknown_answer_is_judged_by_its_status() {
        assert_eq!(answer("Odd", 503).kind(), FaultKind::Service);
        assert_eq!(answer("Odd", 429).kind(), FaultKind::Throttled);
        assert_eq!(answer("Odd", 400).kind(), FaultKind::Invalid);
    }
}
