//! What was delivered, held against what was produced.
//!
//! The producer numbers every record inside a lane. Each term of a consumer (one shard in one epoch) keeps, per lane,
//! the ranges that it delivered; the producer keeps the ranges that were acknowledged. [`judge`] holds the one against
//! the other. Taking unions of ranges is order-free and idempotent, so no worker has to outlive its rows.
//!
//! Absent: who reads and writes the rows, and every clock. Times are milliseconds since 1970 as a worker saw them; they
//! serve reports and decide nothing.

mod header;
mod ranges;
mod terms;
mod verdict;

pub use header::Header;
pub use ranges::Ranges;
pub use terms::{ChildStart, Gap, child_starts, unread_gaps, unread_seconds};
pub use verdict::{Records, judge};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, Incarnation, ShardId, WorkerId};

/// One start of one producer: `<run>/<incarnation>`. Numbers of different sources have nothing to do with each other.
pub type Source = String;

/// A lane of a source; all records of one lane have the same hash key, so that a shard keeps them in order.
pub type Lane = u32;

/// How many records were read and given to no processor, by the reason, such as `out-of-range` for those of an aggregate
/// that was meant for another shard. They have no number here: whether they are missing as well is another question.
pub type Dropped = BTreeMap<String, u64>;

/// What a term delivered of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Deliveries, repeats included.
    #[serde(rename = "d")]
    pub delivered: u64,
    /// First deliveries behind a greater number.
    #[serde(rename = "o", default, skip_serializing_if = "is_zero")]
    pub reordered: u64,
    /// The numbers.
    #[serde(rename = "r")]
    pub ranges: Ranges,
}

/// What a delivery was, as far as its term can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The first one of this record.
    First,
    /// The first one, behind a greater number of its lane.
    Reordered,
    /// The term had delivered the record before.
    Repeat,
    /// The record has no number.
    Foreign,
}

impl Tally {
    /// Counts a delivery of number `n`.
    pub fn deliver(&mut self, n: u64) -> Delivery {
        self.delivered += 1;
        let behind = self.ranges.last().is_some_and(|last| n < last);
        if !self.ranges.insert(n) {
            return Delivery::Repeat;
        }
        if behind {
            self.reordered += 1;
            return Delivery::Reordered;
        }
        Delivery::First
    }

    /// Deliveries of numbers that this term had delivered before.
    pub fn repeats(&self) -> u64 {
        self.delivered.saturating_sub(self.ranges.count())
    }
}

/// How a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TermEnd {
    /// The shard is closed and every record of it was delivered.
    ShardEnd,
    /// The lease was handed on with its final checkpoint, or given up by a leaving worker.
    Handed,
    /// The lease was lost.
    Lost,
}

/// One shard in one epoch, as its consumer saw it: the audit row `<shard>/<epoch>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// The shard.
    pub shard: ShardId,
    /// The epoch.
    pub epoch: Epoch,
    /// Who had the lease.
    pub worker: WorkerId,
    /// Which process of it.
    pub incarnation: Incarnation,
    /// When the processor was initialized.
    pub started_ms: u64,
    /// When the first record was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<u64>,
    /// When the last record was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<u64>,
    /// When the row was written; what the term did later is unknown unless it ended.
    pub seen_ms: u64,
    /// When and how the term ended; absent while it runs, and for ever after a kill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<(u64, TermEnd)>,
    /// Records without a header: delivered, and outside the audit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub foreign: u64,
    /// Records that were read and that no processor got, by the reason: [`Dropped`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: Dropped,
    /// What was delivered, per source and lane.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<Source, BTreeMap<Lane, Tally>>,
}

impl Term {
    /// A term that begins.
    pub fn starting(shard: ShardId, epoch: Epoch, worker: WorkerId, incarnation: Incarnation, now_ms: u64) -> Self {
        Self {
            shard,
            epoch,
            worker,
            incarnation,
            started_ms: now_ms,
            first_ms: None,
            last_ms: None,
            seen_ms: now_ms,
            end: None,
            foreign: 0,
            dropped: Dropped::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// Counts records that were dropped.
    pub fn drop_records(&mut self, reason: &str, records: u64) {
        *self.dropped.entry(reason.to_owned()).or_default() += records;
    }

    /// The id of the row.
    pub fn row_id(&self) -> String {
        format!("{}/{}", self.shard, self.epoch)
    }

    /// Counts a delivery; `None`: the record has no header.
    pub fn deliver(&mut self, header: Option<&Header>, now_ms: u64) -> Delivery {
        self.first_ms.get_or_insert(now_ms);
        self.last_ms = Some(now_ms);
        let Some(header) = header else {
            self.foreign += 1;
            return Delivery::Foreign;
        };
        let lanes = self.lanes.entry(header.source.clone()).or_default();
        lanes.entry(header.lane).or_default().deliver(header.n)
    }

    /// Whether the term goes on after all: the same process got the same epoch back.
    pub fn resume(&mut self) {
        self.end = None;
    }

    /// Deliveries of any kind.
    pub fn delivered(&self) -> u64 {
        self.foreign + self.tallies().map(|tally| tally.delivered).sum::<u64>()
    }

    /// Deliveries that repeat one of this term.
    pub fn repeats(&self) -> u64 {
        self.tallies().map(Tally::repeats).sum()
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.lanes.values().flat_map(BTreeMap::values)
    }
}

/// What became of the numbers of one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// In the stream: the service said so.
    #[serde(rename = "a")]
    pub acknowledged: Ranges,
    /// No answer came: perhaps in the stream. Such a number is never sent again.
    #[serde(rename = "u", default, skip_serializing_if = "Ranges::is_empty")]
    pub uncertain: Ranges,
}

/// What one start of a producer did: the producer row `<run>/<incarnation>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerRow {
    /// The source that its records name.
    pub source: Source,
    /// When the row was written.
    pub seen_ms: u64,
    /// Whether the producer ended in good order and this row is its last.
    pub ended: bool,
    /// Its lanes.
    pub lanes: BTreeMap<Lane, Sent>,
}

impl ProducerRow {
    /// The first row of a source.
    pub fn starting(source: Source, now_ms: u64) -> Self {
        Self {
            source,
            seen_ms: now_ms,
            ended: false,
            lanes: BTreeMap::new(),
        }
    }

    /// How many records are surely in the stream.
    pub fn acknowledged(&self) -> u64 {
        self.lanes.values().map(|sent| sent.acknowledged.count()).sum()
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[cfg(test)]
mod tests;
