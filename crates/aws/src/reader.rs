//! Reading a stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{self, ShardIteratorType};
use bytes::Bytes;
use kinex_core::id::{HashRange, SequenceNumber, ShardId};
use kinex_core::shard_map::Shard;
use kinex_kcl::ports::{ChildShard, RawRecord, ReadBatch, ReadFrom, ShardIterator, StreamMismatch, StreamReader};

use tracing::debug;

use crate::fault::{Asked, Failure};
use crate::{Clients, Distribution, Fault, FaultKind, StreamIdentity, StreamStatus, StreamSummary, shards, stream_ref};

/// Kinesis gives at most this many records at once.
const RECORDS_MAX: usize = 10_000;

/// A description is asked for this often at most by the listings: an account has 20 a second for all of its programs.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamSummary.html>
const DESCRIBE_EVERY: Duration = Duration::from_secs(60);

/// Where the record distribution may change at any time and the answer decides whether records are dropped.
const DESCRIBE_EVERY_AT_LEAST: Duration = Duration::from_secs(5);

/// One stream, for reading.
///
/// The first description remembers which stream it is (ARN and creation time). Whether it is still that one is seen by
/// its shards: an open one does not vanish from one listing to the next, and none begins at another sequence number.
/// Where they do not fit, and once a minute, a description decides; once a stream of the same name has taken the place,
/// every request is `StreamReplaced`.
#[derive(Clone, Debug)]
pub struct Reader {
    clients: Clients,
    stream: String,
    known: Arc<Mutex<Known>>,
    /// When the last listing that was found to be of this stream began.
    verified: Arc<tokio::sync::Mutex<Option<Instant>>>,
    /// When the stream was last described for its distribution.
    described: Arc<tokio::sync::Mutex<Option<(Instant, Distribution)>>>,
}

/// What is known of the stream.
#[derive(Debug, Default)]
struct Known {
    identity: Option<StreamIdentity>,
    /// When it was last asked for.
    described: Option<Instant>,
    /// Whether any description said `AUTO`: records from that time may stay in the stream for long.
    auto: bool,
    /// The last listing.
    shards: BTreeMap<ShardId, Listed>,
}

#[derive(Debug)]
struct Listed {
    starts_at: SequenceNumber,
    open: bool,
}

impl Known {
    /// Whether these can be the shards of the stream whose shards were listed before.
    fn fits(&self, shards: &[Shard]) -> bool {
        let listed: BTreeMap<&ShardId, &SequenceNumber> =
            shards.iter().map(|shard| (&shard.id, &shard.starts_at)).collect();
        self.shards.iter().all(|(id, known)| match listed.get(id) {
            Some(starts_at) => **starts_at == known.starts_at,
            None => !known.open,
        })
    }

    fn note(&mut self, shards: &[Shard]) {
        let listed = |shard: &Shard| {
            let listed = Listed {
                starts_at: shard.starts_at.clone(),
                open: shard.open,
            };
            (shard.id.clone(), listed)
        };
        self.shards = shards.iter().map(listed).collect();
    }
}

impl Reader {
    pub(crate) fn new(clients: &Clients, stream: &str) -> Self {
        Self {
            clients: clients.clone(),
            stream: stream.to_owned(),
            known: Arc::default(),
            verified: Arc::default(),
            described: Arc::default(),
        }
    }

    /// The name or the ARN of the stream, as it was given.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Which stream of that name it is.
    ///
    /// # Errors
    /// `Missing` when there is no such stream; `StreamReplaced` when it is not the one of the first call any more.
    pub async fn identity(&self) -> Result<StreamIdentity, Fault> {
        Ok(self.describe().await?.identity)
    }

    async fn describe(&self) -> Result<StreamSummary, Fault> {
        self.known().described = Some(Instant::now());
        let summary = shards::describe(&self.clients, self.clients.records(), &self.stream).await?;
        let asked = self.asked("DescribeStreamSummary");
        let mut known = self.known();
        known.auto |= summary.distribution == Distribution::Auto;
        let first = known.identity.get_or_insert_with(|| summary.identity.clone());
        if *first != summary.identity {
            let mismatch = StreamMismatch {
                bound: first.clone(),
                found: summary.identity,
            };
            return Err(Fault::stream_replaced(asked.request(), mismatch));
        }
        if summary.status == StreamStatus::Deleting {
            return Err(asked.fault(FaultKind::Missing, "the stream is being deleted; stop the consumers"));
        }
        Ok(summary)
    }

    /// One complete listing that is certainly of this stream.
    async fn listed(&self) -> Result<Vec<Shard>, Fault> {
        let shards = shards::list(&self.clients, self.clients.records(), &self.stream).await?;
        let (fits, due) = {
            let known = self.known();
            let due = known.described.is_none_or(|at| at.elapsed() >= DESCRIBE_EVERY);
            (known.identity.is_some() && known.fits(&shards), due)
        };
        if !fits || due {
            // After the listing: a stream that is the same now was the same then.
            match self.describe().await {
                Ok(_) => {}
                Err(fault) if fits && may_pass(fault.kind) => {
                    debug!(%fault, "stream not described; its shards say that it is the same");
                }
                Err(fault) => return Err(fault),
            }
        }
        self.known().note(&shards);
        Ok(shards)
    }

    /// Makes sure that the stream is still the same at a time after `since`. Those who ask together share one listing.
    async fn verify(&self, since: Instant) -> Result<(), Fault> {
        let mut verified = self.verified.lock().await;
        if verified.is_some_and(|at| at >= since) {
            return Ok(());
        }
        let begun = Instant::now();
        self.listed().await?;
        *verified = Some(begun);
        Ok(())
    }

    /// Kinesis has one error for a stream that is not there and for a shard that is not.
    fn no_iterator(&self, shard: &ShardId, failure: &Failure) -> Fault {
        let asked = self.asked("GetShardIterator");
        if failure.kind() == FaultKind::Missing {
            let message = format!(
                "there is no {shard} in the stream, or no such stream: retention removes a closed shard with its last \
                 record"
            );
            return asked.fault(FaultKind::Missing, message);
        }
        asked.read_failed(failure)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is an assignment, so a panic elsewhere leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, api: &'static str) -> Asked<'_> {
        shards::asked(&self.clients, api, &self.stream)
    }
}

impl StreamReader for Reader {
    async fn stream_identity(&self) -> Result<StreamIdentity, Fault> {
        self.identity().await
    }

    async fn placed_by_key(&self) -> Result<bool, Fault> {
        let asked = Instant::now();
        let mut last = self.described.lock().await;
        if self.known().auto {
            return Ok(false);
        }
        if let Some((at, distribution)) = *last {
            let fresh = match distribution {
                Distribution::Auto => return Ok(false),
                Distribution::ByKey => at.elapsed() < DESCRIBE_EVERY,
                Distribution::ByKeyForNow => at >= asked,
            };
            if fresh {
                return Ok(true);
            }
            tokio::time::sleep(DESCRIBE_EVERY_AT_LEAST.saturating_sub(at.elapsed())).await;
        }
        let begun = Instant::now();
        let distribution = self.describe().await?.distribution;
        *last = Some((begun, distribution));
        Ok(distribution != Distribution::Auto)
    }

    async fn shards(&self) -> Result<Vec<Shard>, Fault> {
        let begun = Instant::now();
        let shards = self.listed().await?;
        let mut verified = self.verified.lock().await;
        *verified = verified.max(Some(begun));
        Ok(shards)
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
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let fault = self.no_iterator(shard, &Failure::of(&error));
                if fault.kind == FaultKind::Invalid {
                    // Maybe a position in the stream that had the name before, and not one that retention has removed.
                    self.verify(Instant::now()).await?;
                }
                return Err(fault);
            }
        };
        // Not before: between the check and the request the stream could become another one.
        self.verify(Instant::now()).await?;
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
            children: children.iter().filter_map(child).collect(),
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

/// What may be better the next time.
fn may_pass(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Throttled | FaultKind::Unreachable | FaultKind::Service | FaultKind::Denied
    )
}

/// A child without hash keys is found by the next listing.
fn child(child: &types::ChildShard) -> Option<ChildShard> {
    let range = child.hash_key_range.as_ref()?;
    Some(ChildShard {
        id: ShardId::from(child.shard_id.as_str()),
        parents: child
            .parent_shards
            .iter()
            .map(|id| ShardId::from(id.as_str()))
            .collect(),
        hash_range: HashRange {
            start: range.starting_hash_key.parse().ok()?,
            end: range.ending_hash_key.parse().ok()?,
        },
    })
}

fn record(record: types::Record) -> Result<RawRecord, String> {
    let sequence =
        SequenceNumber::parse(&record.sequence_number).map_err(|error| format!("a record's number: {error}"))?;
    Ok(RawRecord {
        sequence,
        partition_key: record.partition_key,
        data: Bytes::from(record.data.into_inner()),
        arrived_millis: record
            .approximate_arrival_timestamp
            .and_then(|time| time.to_millis().ok())
            .unwrap_or(0),
    })
}
