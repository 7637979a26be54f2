//! Streams: create, look at, split, merge, delete.

use std::time::Duration;

use kinex_core::id::ShardId;
use kinex_core::shard_map::Shard;

use crate::fault::unbuilt;
use crate::{Clients, Fault};

/// What tells a stream from another one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamIdentity {
    /// The ARN.
    pub arn: String,
    /// When it was created, in milliseconds since 1970.
    pub created_millis: i64,
}

/// Whether a stream takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamStatus {
    /// Not yet.
    Creating,
    /// It does.
    Active,
    /// It does, except for changes of its shards.
    Updating,
    /// Not any more.
    Deleting,
}

/// A stream without its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its name.
    pub name: String,
    /// Which one of that name.
    pub identity: StreamIdentity,
    /// Whether it takes requests.
    pub status: StreamStatus,
    /// How many shards take records.
    pub open_shards: u32,
    /// How long records are kept.
    pub retention: Duration,
}

/// All streams of the account and region.
///
/// Every change waits until the stream is active again. A stream that is busy or an account over its call rate is asked
/// again until the patience (two minutes unless told otherwise) is over.
#[derive(Clone, Debug)]
pub struct StreamAdmin {
    patience: Duration,
}

impl StreamAdmin {
    pub(crate) fn new(_clients: &Clients) -> Self {
        Self {
            patience: Duration::from_secs(120),
        }
    }

    /// Gives up after this long.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience }
    }

    /// Creates a provisioned stream and waits until it is active. A stream of that name that is there already is
    /// returned as it is, whatever the number of its shards.
    ///
    /// # Errors
    /// `Invalid` when the name or the number is not allowed; `Throttled` when patience is over.
    pub async fn create(&self, stream: &str, shards: u32) -> Result<StreamSummary, Fault> {
        let _ = shards;
        unbuilt(stream)
    }

    /// A stream's status and figures.
    ///
    /// # Errors
    /// `Missing` when there is no such stream.
    pub async fn describe(&self, stream: &str) -> Result<StreamSummary, Fault> {
        unbuilt(stream)
    }

    /// Every shard of a stream, closed ones included, in the order of their ids.
    ///
    /// # Errors
    /// `Missing` when there is no such stream.
    pub async fn shards(&self, stream: &str) -> Result<Vec<Shard>, Fault> {
        unbuilt(stream)
    }

    /// The names of all streams, in order.
    ///
    /// # Errors
    /// As any request.
    pub async fn list(&self) -> Result<Vec<String>, Fault> {
        unbuilt("ListStreams")
    }

    /// Splits an open shard: the second child starts at the hash key `at`. Returns the children once they are there.
    ///
    /// # Errors
    /// `Invalid` when the shard is closed or `at` is not inside it; `Missing` without such a shard or stream;
    /// `Throttled` when patience is over. After `Unreachable` the split may have happened: look at the shards.
    pub async fn split(&self, stream: &str, shard: &ShardId, at: u128) -> Result<Vec<Shard>, Fault> {
        let _ = (shard, at);
        unbuilt(stream)
    }

    /// Merges two open shards with adjacent hash ranges. Returns the child once it is there.
    ///
    /// # Errors
    /// As [`split`](Self::split).
    pub async fn merge(&self, stream: &str, shard: &ShardId, adjacent: &ShardId) -> Result<Shard, Fault> {
        let _ = (shard, adjacent);
        unbuilt(stream)
    }

    /// Changes the number of open shards by uniform splits and merges, and waits until the stream is active again.
    ///
    /// # Errors
    /// `Invalid` when the target is beyond the limits (twice, half, 10,000).
    pub async fn update_shard_count(&self, stream: &str, target: u32) -> Result<(), Fault> {
        let _ = target;
        unbuilt(stream)
    }

    /// Deletes a stream with its records and waits until it is gone; none there is no error.
    ///
    /// # Errors
    /// As any request.
    pub async fn delete(&self, stream: &str) -> Result<(), Fault> {
        unbuilt(stream)
    }
}
