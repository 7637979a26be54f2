//! What can go wrong with a request or a connection.

use serde::{Deserialize, Serialize};

/// How a request goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fault {
    /// The request is carried out late.
    Delay {
        /// By how much.
        millis: u64,
    },
    /// The request is carried out at once, and its answer is late.
    DelayReply {
        /// By how much.
        millis: u64,
    },
    /// Not carried out; the service's throttling error.
    Throttle,
    /// Not carried out; HTTP 500.
    ServerError,
    /// Carried out, and then HTTP 500.
    ServerErrorAfterCommit,
    /// Not carried out; this error.
    Error(InjectedError),
    /// Carried out; the connection is cut in the middle of the response's body.
    CutBody {
        /// Bytes of the body that arrive. A body that is no longer than that arrives whole.
        after_bytes: u64,
        /// With a TCP reset instead of in good order.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        reset: bool,
    },
    /// GetRecords at an iterator of a sequence number whose record has gone past retention gives no records and the whole
    /// retention as `MillisBehindLatest` (86,400,000), and so does every iterator that follows, as AWS was seen to do. No
    /// effect on anything else.
    TrimmedIterator,
    /// Not carried out; the connection is closed without an answer.
    DropBeforeCommit,
    /// Carried out; the connection is closed without an answer.
    ReplyLost,
    /// Not carried out; the connection is reset (TCP RST).
    Reset,
    /// Not carried out and never answered; the connection stays open.
    BlackHole,
    /// Carried out and never answered; the connection stays open.
    BlackHoleAfterCommit,
    /// Strikes new connections to the service's port, not requests: they are accepted, and nothing is ever answered on
    /// them, not even during a TLS handshake. Connections that are open already go on. Where both services share a port,
    /// it falls silent for both. The paths under `/_kinex/` are answered.
    Silent,
    /// An eventually consistent read (one without `ConsistentRead: true`) gets the answer that the same request would have
    /// got when this fault last struck it; the first time it is answered as usual. Of Kinesis, `List*` and `Describe*`
    /// are such reads. No effect on anything else.
    StaleRead,
}

impl Fault {
    /// Refuses what cannot be carried out.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Error(error) => error.check(),
            _ => Ok(()),
        }
    }
}

/// An error of one's own making.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InjectedError {
    /// The error's name, as the service spells it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The HTTP status; by default 500 or 503 for the names that have it on AWS, and 400 otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The error's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The body as it goes out, instead of one with name and message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The `Content-Type` of `body`; by default that of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

impl InjectedError {
    /// An error of this name, with the status that it has on AWS.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status.unwrap_or(match self.name.as_str() {
            "InternalFailure" | "InternalServerError" => 500,
            "ServiceUnavailable" | "ServiceUnavailableException" => 503,
            _ => 400,
        })
    }

    /// The name that it is counted under.
    pub(crate) fn counted_as(&self) -> String {
        if self.name.is_empty() {
            format!("Http{}", self.status())
        } else {
            self.name.clone()
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() && self.body.is_none() {
            return Err("an `error` needs a `name` or a `body`".to_owned());
        }
        if !(200..=599).contains(&self.status()) {
            return Err("the `status` of an `error` is 200 to 599".to_owned());
        }
        let printable = |text: &String| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !self.content_type.iter().all(printable) {
            return Err("the `contentType` of an `error` must be printable ASCII".to_owned());
        }
        Ok(())
    }
}
