//! Reading a stream.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{self, ShardIteratorType};
use bytes::Bytes;
use kinex_core::id::{SequenceNumber, ShardId};
use kinex_core::shard_map::Shard;
use kinex_kcl::ports::{RawRecord, ReadBatch, ReadFrom, ShardIterator, StreamReader};

use crate::fault::{Asked, Failure};
use crate::{Clients, Fault, FaultKind, StreamIdentity, StreamStatus, shards, stream_ref};

/// Kinesis gives at most this many records at once.
const RECORDS_MAX: usize = 10_000;

/// One stream, for reading.
///
/// The first listing remembers which stream it is (ARN and creation time); once a stream of the same name takes its
/// place, every later listing is `Missing`.
#[derive(Clone, Debug)]
pub struct Reader {
    clients: Clients,
    stream: String,
    first: Arc<OnceLock<StreamIdentity>>,
}

impl Reader {
    pub(crate) fn new(clients: &Clients, stream: &str) -> Self {
        Self {
            clients: clients.clone(),
            stream: stream.to_owned(),
            first: Arc::default(),
        }
    }

    /// The name or the ARN of the stream, as it was given.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Which stream of that name it is. Give it to [`Tables::bind`](crate::Tables::bind) before the first read.
    ///
    /// # Errors
    /// `Missing` when there is no such stream, or when it is not the one of the first call any more.
    pub async fn identity(&self) -> Result<StreamIdentity, Fault> {
        let summary = shards::describe(&self.clients, self.clients.records(), &self.stream).await?;
        let asked = self.asked("DescribeStreamSummary");
        if summary.status == StreamStatus::Deleting {
            return Err(asked.fault(FaultKind::Missing, "the stream is being deleted; stop the consumers"));
        }
        let first = self.first.get_or_init(|| summary.identity.clone());
        if *first == summary.identity {
            return Ok(summary.identity);
        }
        let message = "the stream was deleted and another one of its name was made; its records are not those that the \
                       leases speak of: choose another application name";
        Err(asked.fault(FaultKind::Missing, message))
    }

    fn asked(&self, api: &'static str) -> Asked<'_> {
        shards::asked(&self.clients, api, &self.stream)
    }
}

impl StreamReader for Reader {
    async fn shards(&self) -> Result<Vec<Shard>, Fault> {
        self.identity().await?;
        shards::list(&self.clients, self.clients.records(), &self.stream).await
    }

    async fn now_millis(&self) -> Result<i64, Fault> {
        let clock = self.clients.requests().kinesis_clock();
        if clock.at_least_millis(Instant::now()).is_none() {
            // Any response tells the time.
            self.identity().await?;
        }
        Ok(clock.at_least_millis(Instant::now()).unwrap_or_else(own_clock_millis))
    }

    async fn iterator(&self, shard: &ShardId, from: &ReadFrom) -> Result<ShardIterator, Fault> {
        let request = self.clients.records().get_shard_iterator();
        let request = request
            .set_stream_name(stream_ref::name(&self.stream))
            .set_stream_arn(stream_ref::arn(&self.stream));
        let request = request.shard_id(shard.as_str());
        let request = match from {
            ReadFrom::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            ReadFrom::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
            ReadFrom::AtTimestamp(millis) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(*millis)),
            ReadFrom::At(number) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(number.as_str()),
            ReadFrom::After(number) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number.as_str()),
        };
        let asked = self.asked("GetShardIterator");
        let answer = request
            .send()
            .await
            .map_err(|error| asked.read_failed(&Failure::of(&error)))?;
        answer.shard_iterator.map(ShardIterator).ok_or_else(|| {
            let message = format!("the answer has no iterator for {shard}; try again");
            asked.fault(FaultKind::Service, message)
        })
    }

    async fn read(&self, at: &ShardIterator, max: usize) -> Result<ReadBatch, Fault> {
        let limit = i32::try_from(max.clamp(1, RECORDS_MAX)).expect("at most 10,000");
        let request = self.clients.reads().get_records().shard_iterator(&at.0).limit(limit);
        let request = request.set_stream_arn(stream_ref::arn(&self.stream));
        let asked = self.asked("GetRecords");
        let answer = request
            .send()
            .await
            .map_err(|error| asked.read_failed(&Failure::of(&error)))?;
        let records: Result<Vec<_>, _> = answer.records.into_iter().map(record).collect();
        let children = answer.child_shards.unwrap_or_default();
        Ok(ReadBatch {
            records: records.map_err(|flaw| asked.fault(FaultKind::Service, flaw))?,
            next: answer.next_shard_iterator.map(ShardIterator),
            children: children
                .iter()
                .map(|child| ShardId::from(child.shard_id.as_str()))
                .collect(),
            behind_millis: answer
                .millis_behind_latest
                .map_or(0, |behind| u64::try_from(behind).unwrap_or(0)),
        })
    }
}

/// AWS refuses requests that are signed with a clock that is further off than this:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

/// For a service that never tells the time: this machine's, less what it may be ahead.
fn own_clock_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.saturating_sub(CLOCK_SKEW_MAX).as_millis()).unwrap_or(0)
}

fn record(record: types::Record) -> Result<RawRecord, String> {
    let sequence =
        SequenceNumber::parse(&record.sequence_number).map_err(|error| format!("a record's number: {error}"))?;
    Ok(RawRecord {
        sequence,
        partition_key: record.partition_key.unwrap_or_default(),
        data: Bytes::from(record.data.into_inner()),
        arrived_millis: record
            .approximate_arrival_timestamp
            .and_then(|time| time.to_millis().ok())
            .unwrap_or(0),
    })
}
