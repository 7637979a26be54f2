//! A stream: its shards, its state, and the change that it is waiting for.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::error::{Kind, Result};
use super::rate::Bucket;
use super::sequence::Position;
use super::shard::{Closed, HashRange, Record, Shard, shard_number};
use super::wire;

pub(super) const HOUR: u64 = 3_600_000;

/// The state, as Kinesis names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Creating,
    Active,
    Updating,
    Deleting,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

/// How the shard of a record is chosen; only an on-demand stream may be set to something else than the default.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateStreamRecordDistributionStrategy.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Distribution {
    /// By the hash of its partition key, or by its explicit hash key.
    #[default]
    UserPartitionKey,
    /// Evenly over the open shards. Both keys are ignored, and a record may come without any.
    Auto,
}

impl Distribution {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::UserPartitionKey => "USER_PARTITION_KEY",
            Self::Auto => "AUTO",
        }
    }

    pub(super) fn of(name: &str) -> Result<Self> {
        [Self::UserPartitionKey, Self::Auto]
            .into_iter()
            .find(|strategy| strategy.name() == name)
            .ok_or_else(|| {
                Kind::Validation.because(format!(
                    "RecordDistributionStrategy is AUTO or USER_PARTITION_KEY, not {name}"
                ))
            })
    }
}

/// One step of resharding. Shards are named by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reshard {
    /// Closes a shard and opens two, the second of which starts at this hash key.
    Split { shard: u32, at: u128 },
    /// Closes two neighbors, lower range first, and opens one.
    Merge { lower: u32, upper: u32 },
}

/// What happens at the end of a state that passes.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Open { shards: usize },
    Reshard(Vec<Reshard>),
    Delete,
}

/// A change and when it is due.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) change: Change,
}

/// One stream. Times are milliseconds since the Unix epoch.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) created: u64,
    /// Tells a stream from another one that had its name.
    pub(super) incarnation: u64,
    pub(super) on_demand: bool,
    pub(super) distribution: Distribution,
    pub(super) status: Status,
    pub(super) due: Option<Due>,
    pub(super) retention_hours: u64,
    /// The most data and partition key that a record may have, in KiB.
    pub(super) max_record_kib: u64,
    pub(super) tags: BTreeMap<String, String>,
    /// Indexed by number; a shard past retention keeps its entry but is not shown.
    pub(super) shards: Vec<Shard>,
    /// Open shards by their first hash key; together they cover the space.
    pub(super) open: BTreeMap<u128, u32>,
    /// When the shard count was updated in the last day.
    pub(super) rescaled: VecDeque<u64>,
    /// ListShards calls.
    pub(super) listings: Bucket,
    /// The first hash key of the shard that took the last record that the stream distributed by itself.
    turn: u128,
    next: Position,
    /// The shard of each record that is kept, oldest first.
    kept: VecDeque<u32>,
    /// What the kept records weigh.
    weight: u64,
    /// Whether records had to go before their time.
    cut_short: bool,
}

impl Stream {
    pub(super) fn new(name: String, arn: String, created: u64, incarnation: u64, on_demand: bool, open: Due) -> Self {
        Self {
            name,
            arn,
            created,
            incarnation,
            on_demand,
            distribution: Distribution::default(),
            status: Status::Creating,
            due: Some(open),
            retention_hours: 24,
            max_record_kib: 1_024,
            tags: BTreeMap::new(),
            shards: Vec::new(),
            open: BTreeMap::new(),
            rescaled: VecDeque::new(),
            listings: Bucket::full(1_000),
            turn: u128::MAX,
            next: Position::at_creation(created),
            kept: VecDeque::new(),
            weight: 0,
            cut_short: false,
        }
    }

    /// Takes a record into an open shard.
    pub(super) fn push(
        &mut self,
        number: u32,
        arrived: u64,
        partition_key: Option<String>,
        data: wire::Data,
    ) -> Position {
        let position = self.draw();
        let shard = &mut self.shards[number as usize];
        let record = Record {
            position,
            arrived,
            partition_key,
            data: data.base64,
            size: data.size,
        };
        let weight = record.weight();
        shard.records.push_back(Arc::new(record));
        self.kept.push_back(number);
        self.weight += weight;
        position
    }

    /// Forgets records past retention, and then the oldest ones while all together weigh more than `bytes_max`.
    pub(super) fn trim(&mut self, now: u64, bytes_max: u64) {
        let horizon = self.horizon(now);
        while let Some(&number) = self.kept.front() {
            let records = &self.shards[number as usize].records;
            let oldest = records.front().expect("a shard holds what the stream keeps of it");
            let expired = oldest.arrived < horizon;
            if !expired && self.weight <= bytes_max {
                break;
            }
            if !expired && !self.cut_short {
                self.cut_short = true;
                let stream = &self.name;
                tracing::warn!(%stream, bytes_max, "oldest records go before their retention ends");
            }
            self.forget_oldest();
        }
    }

    /// Forgets all records that it has, as if their retention had passed. Returns how many they were.
    pub(super) fn forget(&mut self) -> usize {
        let count = self.kept.len();
        while !self.kept.is_empty() {
            self.forget_oldest();
        }
        count
    }

    fn forget_oldest(&mut self) {
        let Some(number) = self.kept.pop_front() else { return };
        let shard = &mut self.shards[number as usize];
        let oldest = shard
            .records
            .pop_front()
            .expect("a shard holds what the stream keeps of it");
        shard.trimmed = oldest.position.next();
        self.weight -= oldest.weight();
    }

    /// Carries out what is due. `false` when the stream is gone.
    pub(super) fn settle(&mut self, now: u64) -> bool {
        let Some(Due { at, change }) = self.due.take_if(|due| due.at <= now) else {
            return true;
        };
        match change {
            Change::Open { shards } => {
                for range in HashRange::even(shards) {
                    self.open_shard(range, Vec::new(), self.created);
                }
            }
            Change::Reshard(steps) => steps.into_iter().for_each(|step| self.reshard(step, at)),
            Change::Delete => return false,
        }
        self.status = Status::Active;
        true
    }

    /// The oldest arrival that is kept.
    pub(super) fn horizon(&self, now: u64) -> u64 {
        now.saturating_sub(self.retention_hours * HOUR)
    }

    /// The shards that have not gone past retention.
    pub(super) fn shown(&self, now: u64) -> impl Iterator<Item = &Shard> {
        let horizon = self.horizon(now);
        self.shards.iter().filter(move |shard| shard.is_shown(horizon))
    }

    /// A shard by its id.
    pub(super) fn shard(&self, id: &str, now: u64) -> Result<&Shard> {
        shard_number(id)
            .and_then(|number| self.shards.get(number as usize))
            .filter(|shard| shard.is_shown(self.horizon(now)))
            .ok_or_else(|| Kind::ResourceNotFound.because(format!("stream {} has no shard {id}", self.name)))
    }

    /// The open shard that takes a hash key.
    pub(super) fn shard_for(&self, hash_key: u128) -> u32 {
        let (_, &number) = self
            .open
            .range(..=hash_key)
            .next_back()
            .expect("open shards cover the space");
        number
    }

    /// The open shard whose turn it is to take a record that the stream distributes by itself. One that refuses it is
    /// passed over.
    pub(super) fn next_in_turn(&mut self, mut admit: impl FnMut(&mut Shard) -> Result<()>) -> Result<u32> {
        let after = (Bound::Excluded(self.turn), Bound::Unbounded);
        let mut refused = None;
        for (&first, &number) in self.open.range(after).chain(self.open.range(..=self.turn)) {
            match admit(&mut self.shards[number as usize]) {
                Ok(()) => {
                    self.turn = first;
                    return Ok(number);
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.expect("a stream that takes records has an open shard"))
    }

    /// Draws the next position.
    pub(super) fn draw(&mut self) -> Position {
        let drawn = self.next;
        self.next = drawn.next();
        drawn
    }

    /// Draws only positions at or after this one from now on.
    pub(super) fn start_after(&mut self, position: Position) {
        self.next = self.next.max(position);
    }

    /// The position that will be drawn next: all that comes is at or after it.
    pub(super) const fn tip(&self) -> Position {
        self.next
    }

    fn reshard(&mut self, step: Reshard, at: u64) {
        match step {
            Reshard::Split { shard, at: key } => {
                let range = self.close_shard(shard, at);
                self.open_shard(
                    HashRange {
                        first: range.first,
                        last: key - 1,
                    },
                    vec![shard],
                    at,
                );
                self.open_shard(
                    HashRange {
                        first: key,
                        last: range.last,
                    },
                    vec![shard],
                    at,
                );
            }
            Reshard::Merge { lower, upper } => {
                let first = self.close_shard(lower, at).first;
                let last = self.close_shard(upper, at).last;
                self.open_shard(HashRange { first, last }, vec![lower, upper], at);
            }
        }
    }

    fn close_shard(&mut self, number: u32, at: u64) -> HashRange {
        let position = self.draw();
        let shard = &mut self.shards[number as usize];
        shard.closed = Some(Closed { at, position });
        self.open.remove(&shard.range.first);
        shard.range
    }

    fn open_shard(&mut self, range: HashRange, parents: Vec<u32>, at: u64) {
        let number = u32::try_from(self.shards.len()).expect("a stream has less than 2^32 shards");
        for &parent in &parents {
            self.shards[parent as usize].children.push(number);
        }
        let start = self.draw();
        self.shards.push(Shard::new(number, range, parents, at, start));
        self.open.insert(range.first, number);
    }
}
