//! What the library needs of the world: a table of leases, a table of workers, a stream to read.
//!
//! Each port is named for that need. Every implementation passes the contract suite in `contract`.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;

use bytes::Bytes;
use kinex_core::id::{HashRange, SequenceNumber, ShardId, StreamIdentity, WorkerId};
use kinex_core::lease::{Lease, LeaseWrite};
use kinex_core::member::Written;
use kinex_core::shard_map::Shard;
use kinex_core::worker::{Group, RenewalMode, WorkerRow, WorkerWrite};

/// What went wrong, as far as it decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Too many requests for now: wait and try again.
    Throttled,
    /// No answer, or not in time: a write may or may not have happened. Try again.
    Unreachable,
    /// The response broke off, or took too long to come: ask for less. Only reads fail this way.
    Incomplete,
    /// The service failed (5xx). Try again.
    Service,
    /// The credentials do not allow it. Trying again helps only after somebody changed them.
    Denied,
    /// The table or the stream does not exist (any more).
    Missing,
    /// The stream was deleted, and another one has its name: positions in the old one mean nothing there. Only a person
    /// can tell what is to become of the leases. Made by [`Fault::stream_replaced`].
    StreamReplaced,
    /// The iterator is too old: get a new one behind the last record that was delivered.
    IteratorExpired,
    /// The service rejected a read for a reason that says nothing about the position and may pass, such as a disabled KMS
    /// key or an expired signature. Keep the position and try again, seldom.
    Rejected,
    /// The request can never succeed as it is. Of a read: its position is not one of this shard.
    Invalid,
}

/// A request to the world that failed, with what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{request}: {message}")]
pub struct Fault {
    /// What to do about it.
    pub kind: FaultKind,
    /// What was asked of whom, as a person would say it: `UpdateItem on table orders-leases`.
    pub request: String,
    /// What the answer was, and the next step where there is one.
    pub message: String,
    /// The error below.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Fault {
    /// A request found that another stream has taken the name of the one that is read.
    pub fn stream_replaced(request: impl Into<String>, mismatch: StreamMismatch) -> Self {
        Self {
            kind: FaultKind::StreamReplaced,
            request: request.into(),
            message: mismatch.to_string(),
            source: Some(Box::new(mismatch)),
        }
    }

    /// Which stream the leases belong to and which one was found, where that is what went wrong.
    pub fn mismatch(&self) -> Option<&StreamMismatch> {
        self.source.as_ref()?.downcast_ref()
    }
}

/// The leases belong to another stream than the one that was found, maybe to an earlier one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct StreamMismatch {
    /// The stream that the leases belong to.
    pub bound: StreamIdentity,
    /// The stream that was found.
    pub found: StreamIdentity,
}

impl fmt::Display for StreamMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bound, found } = self;
        if bound.arn == found.arn {
            write!(
                f,
                "the leases belong to the stream {bound}; that one was deleted, and the one that has its name now was \
                 created at {}",
                found.created()
            )?;
        } else {
            write!(f, "the leases belong to the stream {bound}, not to {found}")?;
        }
        f.write_str(": choose another application name, or delete the tables to start anew")
    }
}

/// All lease rows, and those that could not be read.
#[derive(Clone, Debug, Default)]
pub struct LeaseScan {
    /// The rows, in the order of their keys.
    pub leases: Vec<Lease>,
    /// Rows that are skipped: key and what is wrong with it.
    pub unreadable: Vec<(String, String)>,
    /// Keys of rows that are no shard's: see [`ShardId::is_one`]. They are somebody else's and never written.
    pub foreign: Vec<String>,
}

/// The lease table and the workers' table of one application.
///
/// # Guarantees
/// Every read is strongly consistent. Every write is one atomic conditional write of one row with exactly the meaning
/// of [`LeaseWrite::apply`] or [`WorkerWrite::apply`]; attributes that the library does not know survive it.
/// After [`FaultKind::Unreachable`] and [`FaultKind::Service`] a write may have happened.
pub trait LeaseStore: Send + Sync + 'static {
    /// The stream that the tables are tied to; `None` before anybody tied them.
    fn bound(&self) -> impl Future<Output = Result<Option<StreamIdentity>, Fault>> + Send;
    /// Ties the tables to this stream unless they are tied to one already, and returns the one that they are tied to.
    fn bind(&self, stream: &StreamIdentity) -> impl Future<Output = Result<StreamIdentity, Fault>> + Send;
    /// Every lease row: all pages, or an error.
    fn leases(&self) -> impl Future<Output = Result<LeaseScan, Fault>> + Send;
    /// One lease row.
    fn lease(&self, key: &ShardId) -> impl Future<Output = Result<Option<Lease>, Fault>> + Send;
    /// One conditional write of a lease row.
    fn write_lease(&self, write: &LeaseWrite) -> impl Future<Output = Result<Written<Lease>, Fault>> + Send;
    /// The group row; written with this mode when there is none.
    fn open_group(&self, renewal: RenewalMode) -> impl Future<Output = Result<Group, Fault>> + Send;
    /// Counts a change of the set of lease rows, so that every worker looks again.
    fn bump_lineage(&self) -> impl Future<Output = Result<(), Fault>> + Send;
    /// The group row (`None` before anybody opened the group) and every worker's row in the order of their ids.
    fn members(&self) -> impl Future<Output = Result<(Option<Group>, Vec<WorkerRow>), Fault>> + Send;
    /// The same without the rows of workers that left for good ([`WorkerRow::left_for_good`]): there may be thousands of
    /// them, and hardly anybody needs them.
    fn members_present(&self) -> impl Future<Output = Result<(Option<Group>, Vec<WorkerRow>), Fault>> + Send;
    /// One worker's row.
    fn worker(&self, id: &WorkerId) -> impl Future<Output = Result<Option<WorkerRow>, Fault>> + Send;
    /// One conditional write of a worker's row.
    fn write_worker(&self, write: &WorkerWrite) -> impl Future<Output = Result<Written<WorkerRow>, Fault>> + Send;
}

/// Where to start reading a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The oldest record.
    TrimHorizon,
    /// Behind the newest record.
    Latest,
    /// The first record at or after this time, in milliseconds since 1970.
    AtTimestamp(i64),
    /// This record.
    At(SequenceNumber),
    /// The record after this one.
    After(SequenceNumber),
}

/// A place in a shard, valid for five minutes.
#[derive(Clone, PartialEq, Eq)]
pub struct ShardIterator(pub String);

impl fmt::Debug for ShardIterator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardIterator({} bytes)", self.0.len())
    }
}

/// A Kinesis record as it was read; it may be an aggregate of several user records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its sequence number.
    pub sequence: SequenceNumber,
    /// The key whose MD5 chose the shard; a stream that distributes records by itself takes them without one.
    pub partition_key: Option<String>,
    /// The payload.
    pub data: Bytes,
    /// When Kinesis took it, in milliseconds since 1970.
    pub arrived_millis: i64,
}

/// A shard that follows one that has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChildShard {
    /// The shard.
    pub id: ShardId,
    /// What it was split off or merged from.
    pub parents: BTreeSet<ShardId>,
    /// Its hash keys.
    pub hash_range: HashRange,
}

/// The answer to one read.
#[derive(Clone, Debug)]
pub struct ReadBatch {
    /// In the order of their sequence numbers.
    pub records: Vec<RawRecord>,
    /// `None`: the shard has ended, and `records` are its last ones.
    pub next: Option<ShardIterator>,
    /// The children of a shard that has ended, where the service names them.
    pub children: BTreeSet<ChildShard>,
    /// How far the batch is behind the newest record.
    pub behind_millis: u64,
}

/// A stream, for reading.
///
/// # Guarantees
/// Once another stream has taken the name of the one that was read first, every request but [`Self::read`] fails with
/// [`FaultKind::StreamReplaced`], and an iterator that was given out before reads nothing of the other one.
pub trait StreamReader: Send + Sync + 'static {
    /// Which stream it is.
    fn stream_identity(&self) -> impl Future<Output = Result<StreamIdentity, Fault>> + Send;
    /// Whether Kinesis places records by their keys, so that a record of an aggregate whose key belongs to another shard
    /// was meant for that one and comes again. A stream with the record distribution `AUTO` does not. The answer is no
    /// older than the question, or than a minute where the distribution cannot have changed.
    fn placed_by_key(&self) -> impl Future<Output = Result<bool, Fault>> + Send;
    /// Every shard that the stream still knows, closed ones included: all pages of one listing, or an error.
    fn shards(&self) -> impl Future<Output = Result<Vec<Shard>, Fault>> + Send;
    /// A time by the clock that stamps the records, in milliseconds since 1970: not after the present, and as close to
    /// it as that clock can be read. Every record that arrives from now on is stamped at or after it.
    fn now_millis(&self) -> impl Future<Output = Result<i64, Fault>> + Send;
    /// A place to read on from.
    fn iterator(&self, shard: &ShardId, from: &ReadFrom) -> impl Future<Output = Result<ShardIterator, Fault>> + Send;
    /// The records at that place, `max` at most.
    fn read(&self, at: &ShardIterator, max: usize) -> impl Future<Output = Result<ReadBatch, Fault>> + Send;
}
