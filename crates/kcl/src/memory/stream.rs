//! A stream in memory that splits and merges.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kinex_core::id::{HashRange, SequenceNumber, ShardId, StreamIdentity};
use kinex_core::lease::Position;
use kinex_core::shard_map::Shard;

use crate::aggregate::hash_key;
use crate::config::READ_BYTES_MAX;
use crate::ports::{
    ChildShard, Fault, FaultKind, RawRecord, ReadBatch, ReadFrom, ShardIterator, StreamMismatch, StreamReader,
};

/// A stream.
///
/// # Panics
/// Methods that change it panic when asked for something that is not there: they are a test's own mistakes.
#[derive(Clone)]
pub struct MemoryStream {
    state: Arc<Mutex<State>>,
}

struct State {
    /// Tells this stream from the one that had its name before.
    identity: StreamIdentity,
    /// The stream that the first request found; every later one is held against it.
    read: Option<StreamIdentity>,
    /// Whether records are placed by their keys.
    keyed: bool,
    /// How every listing fails.
    listings_failing: Option<FaultKind>,
    shards: BTreeMap<ShardId, Log>,
    /// The next sequence number; one line for all shards keeps children behind their parents.
    next: u128,
    /// Iterators made before are expired.
    iterators_from: u64,
    iterators: u64,
    /// How far the clock of the stream is ahead of this machine's.
    skew_millis: i64,
    /// How many reads and listings fail, and how.
    failing: Vec<FaultKind>,
    /// How every read of records fails for now.
    reads_failing: Option<FaultKind>,
    link: Link,
    /// Reads of records under way, and the most that ever were at the same time.
    under_way: usize,
    under_way_max: usize,
}

/// What lies between the stream and its readers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// How long every read of records takes at least.
    pub latency: Duration,
    /// What all reads together get of the link; `None`: more than they ever need.
    pub bytes_per_second: Option<u32>,
    /// A response with a larger payload breaks off.
    pub response_max: Option<usize>,
}

struct Log {
    shard: Shard,
    records: Vec<RawRecord>,
    /// How many of the oldest records are gone.
    trimmed: usize,
    children: BTreeSet<ShardId>,
}

impl fmt::Debug for MemoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStream({} shards)", self.state().shards.len())
    }
}

impl MemoryStream {
    /// A stream with this many shards of equal width.
    pub fn new(shards: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(shards))),
        }
    }

    /// Which stream it is now, whichever was read first.
    pub fn identity(&self) -> StreamIdentity {
        self.state().identity.clone()
    }

    /// Deletes the stream and makes another one of its name, with this many shards of equal width.
    pub fn replace(&self, shards: usize) {
        let mut state = self.state();
        let (read, iterators) = (state.read.take(), state.iterators);
        // Iterators of the old stream are worth nothing in the new one.
        *state = State {
            read,
            iterators,
            iterators_from: iterators,
            ..State::new(shards)
        };
    }

    /// Places records anywhere from now on, as a stream with the record distribution `AUTO` does.
    pub fn distribute_by_itself(&self) {
        self.state().keyed = false;
    }

    /// Adds a record without a partition key to this shard.
    pub fn put_unkeyed(&self, shard: &ShardId, data: impl Into<Bytes>) -> SequenceNumber {
        self.state().append(shard, None, data.into())
    }

    /// Adds a record to the shard that its partition key belongs to.
    pub fn put(&self, partition_key: &str, data: impl Into<Bytes>) -> (ShardId, SequenceNumber) {
        let mut state = self.state();
        let key = hash_key(partition_key);
        let shard = state
            .shards
            .values()
            .find(|log| log.shard.open && log.shard.hash_range.contains(key))
            .map(|log| log.shard.id.clone())
            .expect("the open shards cover all hash keys");
        let sequence = state.append(&shard, Some(partition_key), data.into());
        (shard, sequence)
    }

    /// Adds a record to this shard, whatever its partition key.
    pub fn put_into(&self, shard: &ShardId, partition_key: &str, data: impl Into<Bytes>) -> SequenceNumber {
        self.state().append(shard, Some(partition_key), data.into())
    }

    /// Closes a shard and opens two that share its hash keys.
    pub fn split(&self, shard: &ShardId) -> (ShardId, ShardId) {
        let mut state = self.state();
        let range = state.close(shard);
        let middle = range.start + range.width() / 2;
        let low = HashRange {
            start: range.start,
            end: middle,
        };
        let high = HashRange {
            start: middle + 1,
            end: range.end,
        };
        let children = (
            state.add(low, Some(shard.clone()), None),
            state.add(high, Some(shard.clone()), None),
        );
        state.log(shard).children = [children.0.clone(), children.1.clone()].into();
        children
    }

    /// Closes two neighbors and opens one in their place.
    pub fn merge(&self, low: &ShardId, high: &ShardId) -> ShardId {
        let mut state = self.state();
        let range = HashRange {
            start: state.close(low).start,
            end: state.close(high).end,
        };
        let child = state.add(range, Some(low.clone()), Some(high.clone()));
        state.log(low).children = [child.clone()].into();
        state.log(high).children = [child.clone()].into();
        child
    }

    /// Forgets the oldest records of a shard, as the retention period does.
    pub fn trim(&self, shard: &ShardId, records: usize) {
        let mut state = self.state();
        let log = state.log(shard);
        log.trimmed = (log.trimmed + records).min(log.records.len());
    }

    /// Forgets a closed shard, as the retention period does.
    pub fn forget(&self, shard: &ShardId) {
        let mut state = self.state();
        assert!(!state.log(shard).shard.open, "{shard} is open");
        state.shards.remove(shard);
    }

    /// Makes every iterator given out so far expire.
    pub fn expire_iterators(&self) {
        let mut state = self.state();
        state.iterators_from = state.iterators;
    }

    /// Sets the clock of the stream this far ahead of this machine's; negative: behind it.
    pub fn skew_clock(&self, millis: i64) {
        self.state().skew_millis = millis;
    }

    /// Lets every listing of the shards fail from now on, and no other request; `None`: none any more.
    pub fn fail_listings(&self, kind: Option<FaultKind>) {
        self.state().listings_failing = kind;
    }

    /// Lets the next requests fail, one for each kind.
    pub fn fail_next(&self, kinds: &[FaultKind]) {
        self.state().failing = kinds.iter().rev().copied().collect();
    }

    /// Lets every read of records fail like this, until told otherwise.
    pub fn fail_reads(&self, kind: Option<FaultKind>) {
        self.state().reads_failing = kind;
    }

    /// Puts the stream at the end of another link.
    pub fn link(&self, link: Link) {
        self.state().link = link;
    }

    /// The most reads of records that were under way at the same time.
    pub fn reads_at_once_max(&self) -> usize {
        self.state().under_way_max
    }

    /// The shards that take records, in the order of their ids.
    pub fn open_shards(&self) -> Vec<ShardId> {
        let state = self.state();
        state
            .shards
            .values()
            .filter(|log| log.shard.open)
            .map(|log| log.shard.id.clone())
            .collect()
    }

    /// Every record of a shard, trimmed ones included.
    pub fn records(&self, shard: &ShardId) -> Vec<RawRecord> {
        self.state().log(shard).records.clone()
    }

    /// The place of every record of every shard.
    pub fn positions(&self) -> BTreeMap<ShardId, Vec<Position>> {
        let state = self.state();
        let of = |log: &Log| {
            let positions = log.records.iter().map(|record| Position {
                sequence: record.sequence.clone(),
                sub: 0,
            });
            (log.shard.id.clone(), positions.collect())
        };
        state.shards.values().map(of).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(shards: usize) -> Self {
        assert!(shards > 0, "a stream has at least one shard");
        let mut state = Self {
            identity: StreamIdentity {
                arn: format!("memory:{}", uuid::Uuid::new_v4()),
                created_millis: wall_millis(),
            },
            read: None,
            keyed: true,
            listings_failing: None,
            shards: BTreeMap::new(),
            next: 1,
            iterators_from: 0,
            iterators: 0,
            skew_millis: 0,
            failing: Vec::new(),
            reads_failing: None,
            link: Link::default(),
            under_way: 0,
            under_way_max: 0,
        };
        let width = u128::MAX / shards as u128;
        for index in 0..shards as u128 {
            let end = if index + 1 == shards as u128 {
                u128::MAX
            } else {
                (index + 1) * width - 1
            };
            let range = HashRange {
                start: index * width,
                end,
            };
            state.add(range, None, None);
        }
        state
    }

    /// Whether the stream is the one that was read first.
    fn same(&mut self, request: &str) -> Result<(), Fault> {
        let first = self.read.get_or_insert_with(|| self.identity.clone());
        if *first == self.identity {
            return Ok(());
        }
        let mismatch = StreamMismatch {
            bound: first.clone(),
            found: self.identity.clone(),
        };
        Err(Fault::stream_replaced(request, mismatch))
    }

    fn log(&mut self, shard: &ShardId) -> &mut Log {
        self.shards.get_mut(shard).unwrap_or_else(|| panic!("no shard {shard}"))
    }

    fn add(&mut self, hash_range: HashRange, parent: Option<ShardId>, adjacent_parent: Option<ShardId>) -> ShardId {
        // Ids are never used again, so the number of a new one is behind that of the newest.
        let newest = self
            .shards
            .keys()
            .next_back()
            .and_then(|id| id.as_str()["shardId-".len()..].parse::<u64>().ok());
        let id = ShardId::from(format!("shardId-{:012}", newest.map_or(0, |newest| newest + 1)));
        let shard = Shard {
            id: id.clone(),
            parent,
            adjacent_parent,
            hash_range,
            starts_at: self.sequence(),
            open: true,
        };
        let log = Log {
            shard,
            records: Vec::new(),
            trimmed: 0,
            children: BTreeSet::new(),
        };
        self.shards.insert(id.clone(), log);
        id
    }

    fn children(&self, ids: &BTreeSet<ShardId>) -> BTreeSet<ChildShard> {
        let logs = ids.iter().filter_map(|id| self.shards.get(id));
        logs.map(|log| ChildShard {
            id: log.shard.id.clone(),
            parents: log.shard.parents().cloned().collect(),
            hash_range: log.shard.hash_range,
        })
        .collect()
    }

    fn close(&mut self, shard: &ShardId) -> HashRange {
        let log = self.log(shard);
        assert!(log.shard.open, "{shard} is closed");
        log.shard.open = false;
        log.shard.hash_range
    }

    fn append(&mut self, shard: &ShardId, partition_key: Option<&str>, data: Bytes) -> SequenceNumber {
        let sequence = self.sequence();
        let arrived_millis = wall_millis() + self.skew_millis;
        let log = self.log(shard);
        assert!(log.shard.open, "{shard} is closed");
        log.records.push(RawRecord {
            sequence: sequence.clone(),
            partition_key: partition_key.map(str::to_owned),
            data,
            arrived_millis,
        });
        sequence
    }

    fn sequence(&mut self) -> SequenceNumber {
        self.next += 1;
        SequenceNumber::from(self.next)
    }

    fn failure(&mut self, request: &str) -> Result<(), Fault> {
        match self.failing.pop() {
            Some(kind) => Err(fault(kind, request, "a failure that the test asked for")),
            None => Ok(()),
        }
    }

    /// An iterator says: its number, the index of the next record, the shard.
    fn iterator(&mut self, index: usize, shard: &ShardId) -> ShardIterator {
        self.iterators += 1;
        ShardIterator(format!("{} {index} {shard}", self.iterators))
    }
}

impl StreamReader for MemoryStream {
    async fn stream_identity(&self) -> Result<StreamIdentity, Fault> {
        tokio::task::yield_now().await;
        let mut state = self.state();
        state.same("identity")?;
        Ok(state.identity.clone())
    }

    async fn placed_by_key(&self) -> Result<bool, Fault> {
        tokio::task::yield_now().await;
        let mut state = self.state();
        state.same("placed by key")?;
        Ok(state.keyed)
    }

    async fn shards(&self) -> Result<Vec<Shard>, Fault> {
        tokio::task::yield_now().await;
        let mut state = self.state();
        state.failure("ListShards")?;
        if let Some(kind) = state.listings_failing {
            return Err(fault(kind, "ListShards", "a failure that the test asked for"));
        }
        state.same("ListShards")?;
        Ok(state.shards.values().map(|log| log.shard.clone()).collect())
    }

    async fn now_millis(&self) -> Result<i64, Fault> {
        tokio::task::yield_now().await;
        let mut state = self.state();
        state.failure("now")?;
        Ok(wall_millis() + state.skew_millis)
    }

    async fn iterator(&self, shard: &ShardId, from: &ReadFrom) -> Result<ShardIterator, Fault> {
        tokio::task::yield_now().await;
        let request = format!("GetShardIterator {shard}");
        let mut state = self.state();
        state.failure(&request)?;
        state.same(&request)?;
        let Some(log) = state.shards.get(shard) else {
            return Err(fault(FaultKind::Missing, &request, "no such shard"));
        };
        let first =
            |wanted: &dyn Fn(&RawRecord) -> bool| log.records.iter().take_while(|record| !wanted(record)).count();
        let index = match from {
            ReadFrom::TrimHorizon => 0,
            ReadFrom::Latest => log.records.len(),
            ReadFrom::AtTimestamp(millis) => first(&|record| record.arrived_millis >= *millis),
            ReadFrom::At(sequence) => first(&|record| record.sequence >= *sequence),
            ReadFrom::After(sequence) => first(&|record| record.sequence > *sequence),
        };
        let index = index.max(log.trimmed);
        Ok(state.iterator(index, shard))
    }

    async fn read(&self, at: &ShardIterator, max: usize) -> Result<ReadBatch, Fault> {
        let _under_way = UnderWay::begin(self);
        let batch = self.respond(at, max).await?;
        let link = self.state().link;
        let bytes: usize = batch.records.iter().map(|record| record.data.len()).sum();
        let transfer = link.bytes_per_second.map_or(Duration::ZERO, |rate| {
            // Whatever else is read now takes its part of the line.
            Duration::from_secs_f64(bytes as f64 * self.state().under_way as f64 / f64::from(rate.max(1)))
        });
        tokio::time::sleep(link.latency + transfer).await;
        if link.response_max.is_some_and(|max| bytes > max) {
            return Err(fault(FaultKind::Incomplete, "GetRecords", "the response broke off"));
        }
        Ok(batch)
    }
}

/// A read under way.
struct UnderWay<'a>(&'a MemoryStream);

impl<'a> UnderWay<'a> {
    fn begin(stream: &'a MemoryStream) -> Self {
        let mut state = stream.state();
        state.under_way += 1;
        state.under_way_max = state.under_way_max.max(state.under_way);
        Self(stream)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

impl MemoryStream {
    async fn respond(&self, at: &ShardIterator, max: usize) -> Result<ReadBatch, Fault> {
        tokio::task::yield_now().await;
        let mut state = self.state();
        let mut parts = at.0.splitn(3, ' ');
        let mut part = || parts.next().unwrap_or_default();
        let (number, index, shard) = (part().parse::<u64>(), part().parse::<usize>(), ShardId::from(part()));
        let request = format!("GetRecords {shard}");
        state.failure(&request)?;
        if let Some(kind) = state.reads_failing {
            return Err(fault(kind, &request, "a failure that the test asked for"));
        }
        let (Ok(number), Ok(index)) = (number, index) else {
            return Err(fault(FaultKind::Invalid, &request, "not an iterator"));
        };
        if number <= state.iterators_from {
            return Err(fault(FaultKind::IteratorExpired, &request, "the iterator is expired"));
        }
        let now_millis = wall_millis() + state.skew_millis;
        let Some(log) = state.shards.get(&shard) else {
            return Err(fault(FaultKind::Missing, &request, "no such shard"));
        };
        let start = index.max(log.trimmed);
        let records = fitting(&log.records[start..], max);
        let next = start + records.len();
        let ended = !log.shard.open && next == log.records.len();
        let behind = log
            .records
            .get(next)
            .map_or(0, |record| now_millis - record.arrived_millis);
        Ok(ReadBatch {
            next: None,
            children: if ended {
                state.children(&log.children)
            } else {
                BTreeSet::new()
            },
            behind_millis: u64::try_from(behind).unwrap_or(0),
            records,
        })
        .map(|batch| ReadBatch {
            next: (!ended).then(|| state.iterator(next, &shard)),
            ..batch
        })
    }
}

/// As many records from the front as one read returns.
fn fitting(records: &[RawRecord], max: usize) -> Vec<RawRecord> {
    let mut room = READ_BYTES_MAX;
    let fits = |record: &&RawRecord| match room.checked_sub(record.data.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    records.iter().take(max).take_while(fits).cloned().collect()
}

fn fault(kind: FaultKind, request: &str, message: &str) -> Fault {
    Fault {
        kind,
        request: request.to_owned(),
        message: message.to_owned(),
        source: None,
    }
}

fn wall_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
