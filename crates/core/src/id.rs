//! The names of things, as types: streams, shards, workers, incarnations, epochs, sequence numbers, hash ranges.
//!
//! Raw text becomes one of these once, at the edge. What cannot be an id is refused there with a reason.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "maxLength": 253 })
            }
        }

        impl $name {
            /// Takes any text; cloning the id later is cheap.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", &self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// What tells a stream from every other one, from one that had its name before too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamIdentity {
    /// Its ARN.
    pub arn: String,
    /// When it was created, in milliseconds since 1970.
    pub created_millis: i64,
}

impl StreamIdentity {
    /// The identity as one text that [`Self::parse`] reads back, the same for the same stream.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a text and a number are JSON")
    }

    /// What [`Self::text`] wrote; `None` when the text is none of those.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// When it was created, as text.
    pub fn created(&self) -> String {
        match jiff::Timestamp::from_millisecond(self.created_millis) {
            Ok(time) => format!("{time:.3}"),
            Err(_) => format!("{} ms", self.created_millis),
        }
    }
}

impl fmt::Display for StreamIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} created at {}", self.arn, self.created())
    }
}

text_id! {
    /// A shard of a stream, and at the same time the key of its lease: `shardId-000000000007`.
    ShardId
}

impl ShardId {
    /// Whether a text can be the id of a shard. Kinesis names every shard `shardId-` and a number; lease tables hold other
    /// keys too: those of the Java library's multi-stream mode (`account:stream:created:shardId-...`), its locks, and
    /// whatever another application keeps there.
    pub fn is_one(text: &str) -> bool {
        text.strip_prefix("shardId-").is_some_and(|rest| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            !rest.is_empty() && rest.bytes().all(allowed)
        })
    }
}
text_id! {
    /// A worker by the name it keeps over restarts: the pod name on Kubernetes.
    WorkerId
}
text_id! {
    /// One process start of a worker: a uuid. Two processes with one name differ here.
    Incarnation
}

/// Grows by one with every change of a lease's owner; every write of the owner is fenced by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after one more change of owner.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A Kinesis sequence number: a decimal number of up to some 60 digits, ordered by value.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SequenceNumber(Arc<str>);

/// The text is not a decimal number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a sequence number: expected decimal digits")]
pub struct NotASequenceNumber(String);

impl SequenceNumber {
    /// Parses decimal digits; leading zeros are dropped, so equal values are equal.
    ///
    /// # Errors
    /// When the text is empty, longer than 128 characters, or has anything but digits.
    pub fn parse(text: &str) -> Result<Self, NotASequenceNumber> {
        let digits = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(NotASequenceNumber(text.chars().take(40).collect()));
        }
        let value = text.trim_start_matches('0');
        Ok(Self(Arc::from(if value.is_empty() { "0" } else { value })))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &*self.0).cmp(&(other.0.len(), &*other.0))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl From<u128> for SequenceNumber {
    fn from(value: u128) -> Self {
        Self(Arc::from(value.to_string()))
    }
}

impl TryFrom<String> for SequenceNumber {
    type Error = NotASequenceNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SequenceNumber> for String {
    fn from(number: SequenceNumber) -> Self {
        number.0.to_string()
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The hash keys of a shard, both ends included. MD5 of the partition key is 128 bits, so `u128` holds them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// The first hash key of the shard.
    pub start: u128,
    /// The last hash key of the shard.
    pub end: u128,
}

impl HashRange {
    /// All hash keys there are.
    pub const FULL: Self = Self {
        start: 0,
        end: u128::MAX,
    };

    /// Whether the key belongs to the shard.
    pub fn contains(self, key: u128) -> bool {
        self.start <= key && key <= self.end
    }

    /// How many hash keys less one: `end - start`. (The full range has 2^128 keys, which no u128 holds.)
    pub fn width(self) -> u128 {
        self.end - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_ordered_by_value_not_by_text() {
        let small = SequenceNumber::parse("9").unwrap();
        let large = SequenceNumber::parse("10").unwrap();
        assert!(small < large);
        assert_eq!(SequenceNumber::parse("0010").unwrap(), large);
    }

    #[test]
    fn the_text_of_a_stream_stays_readable_for_tables_that_exist() {
        let text = r#"{"arn":"arn:aws:kinesis:us-east-1:000000000000:stream/orders","createdMillis":1790000000123}"#;
        let stream = StreamIdentity::parse(text).unwrap();
        assert_eq!(stream.text(), text);
        assert_eq!(
            stream.to_string(),
            "arn:aws:kinesis:us-east-1:000000000000:stream/orders created at 2026-09-21T14:13:20.123Z"
        );
        assert_eq!(StreamIdentity::parse("orders"), None);
    }

    #[test]
    fn text_that_is_no_number_is_refused() {
        for text in ["", "-1", "12a", "LATEST"] {
            assert!(SequenceNumber::parse(text).is_err(), "{text:?}");
        }
    }
}
