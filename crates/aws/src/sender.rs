//! Writing records to a stream.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use bytes::Bytes;
use kinex_core::id::{SequenceNumber, ShardId};

use crate::fault::Failure;
use crate::{Clients, Fault, FaultKind, shards, stream_ref};

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
    clients: Clients,
    stream: String,
}

impl Sender {
    pub(crate) fn new(clients: &Clients, stream: &str) -> Self {
        Self {
            clients: clients.clone(),
            stream: stream.to_owned(),
        }
    }

    /// Puts 1 to 500 records and up to 10 MiB with one request: one outcome per entry, in their order.
    ///
    /// One request, never repeated by itself: whoever numbers its records decides what to do about a lost answer, and
    /// nothing is put twice behind its back.
    ///
    /// # Errors
    /// `Throttled`, `Denied`, `Missing` and `Invalid`: no record was taken. `Unreachable` and `Service`: nothing is known
    /// of any record.
    pub async fn put_records(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Fault> {
        let asked = shards::asked(&self.clients, "PutRecords", &self.stream);
        let records = entries.iter().map(encode).collect();
        let request = self.clients.puts().put_records();
        let request = request
            .set_stream_name(stream_ref::name(&self.stream))
            .set_stream_arn(stream_ref::arn(&self.stream));
        let answer = request.set_records(Some(records)).send().await;
        let answer = answer.map_err(|error| asked.failed(&Failure::of(&error)))?;
        if answer.records.len() != entries.len() {
            let message = format!("{} outcomes for {} records", answer.records.len(), entries.len());
            return Err(asked.fault(FaultKind::Service, message));
        }
        let outcomes = answer.records.into_iter().map(decode).collect::<Result<_, _>>();
        outcomes.map_err(|flaw| asked.fault(FaultKind::Service, flaw))
    }
}

fn encode(entry: &Entry) -> PutRecordsRequestEntry {
    let record = PutRecordsRequestEntry::builder()
        .partition_key(&entry.key)
        .set_explicit_hash_key(entry.explicit_hash_key.map(|key| key.to_string()))
        .data(Blob::new(entry.data.as_ref()));
    record.build().expect("the key and the data are given")
}

fn decode(result: PutRecordsResultEntry) -> Result<Outcome, String> {
    if let Some(code) = result.error_code {
        let message = result.error_message.unwrap_or_default();
        return Ok(Outcome::Refused {
            throttled: code == "ProvisionedThroughputExceededException" || code == "KMSThrottlingException",
            message: format!("{code}: {message}"),
        });
    }
    let (Some(shard), Some(number)) = (result.shard_id, result.sequence_number) else {
        return Err("an outcome has neither an error nor a sequence number".to_owned());
    };
    let sequence = SequenceNumber::parse(&number).map_err(|error| error.to_string())?;
    Ok(Outcome::Taken {
        shard: ShardId::from(shard),
        sequence,
    })
}
