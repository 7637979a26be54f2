//! Writing records to a stream.

use bytes::Bytes;
use kinex_core::id::{SequenceNumber, ShardId};

use crate::fault::unbuilt;
use crate::{Clients, Fault};

/// A record to put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The partition key, 1 to 256 characters.
    pub key: String,
    /// The hash key, instead of the partition key's MD5.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Bytes,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stream has it.
    Taken {
        /// The shard.
        shard: ShardId,
        /// Its place in the shard.
        sequence: SequenceNumber,
    },
    /// The stream does not have it: send it again.
    Refused {
        /// The shard takes no more for now.
        throttled: bool,
        /// What the service said.
        message: String,
    },
}

/// One stream, for writing.
#[derive(Clone, Debug)]
pub struct Sender {
    stream: String,
}

impl Sender {
    pub(crate) fn new(_clients: &Clients, stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
        }
    }

    /// Puts up to 500 records and 10 MiB with one request: one outcome per entry, in their order.
    ///
    /// One request, never repeated by itself: whoever numbers its records decides what to do about a lost answer, and
    /// nothing is put twice behind its back.
    ///
    /// # Errors
    /// `Throttled`, `Denied`, `Missing` and `Invalid`: no record was taken. `Unreachable` and `Service`: nothing is known
    /// of any record.
    pub async fn put_records(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Fault> {
        let _ = entries;
        unbuilt(&self.stream)
    }
}
