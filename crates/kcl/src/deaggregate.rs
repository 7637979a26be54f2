//! The user records of one read, batch by batch: aggregates taken apart, what is behind the checkpoint left out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use kinex_core::id::HashRange;
use kinex_core::lease::Position;
use kinex_core::member::Hold;
use kinex_core::time::Moment;

use crate::aggregate::UserRecords;
use crate::budget::{Share, allocated};
use crate::config::OutOfRange;
use crate::events::{DropReason, WorkerEvent};
use crate::fetch::Fetched;
use crate::ports::{ChildShard, RawRecord};
use crate::processor::Record;
use crate::reporter::Reporter;

/// Which records of a shard a processor gets, and in batches of which size.
#[derive(Clone, Debug)]
pub(crate) struct RecordFilter {
    pub(crate) hold: Arc<Hold>,
    pub(crate) hash_range: Option<HashRange>,
    pub(crate) out_of_range: OutOfRange,
    pub(crate) batch_records_max: usize,
}

/// One read that is being handed to the processor.
#[derive(Debug)]
pub(crate) struct Deaggregator {
    raw: vec::IntoIter<RawRecord>,
    user: Option<UserRecords>,
    ahead: Option<Record>,
    /// Records up to this one are processed already.
    behind: Option<Position>,
    started: bool,
    ended: bool,
    children: BTreeSet<ChildShard>,
    behind_millis: u64,
    /// When the read came, and when its last record had arrived at the stream by the clock there.
    at: Moment,
    newest_millis: i64,
    /// Whether records outside of the shard's range were meant for another shard; `None`: not known yet.
    placed_by_key: Option<bool>,
    /// Records of the portion that is being put together.
    collected: Vec<Record>,
    /// Records outside of the range that are delivered all the same.
    out_of_range: u64,
    /// Records that are dropped: how many, the first, the last.
    dropped: Option<(u64, Position, Position)>,
    /// The memory that the read takes, until the last record is processed.
    share: Share,
    /// What of it the records take as they were read.
    raw_bytes: usize,
}

/// Some user records, and whether they are the last ones of the shard.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) records: Vec<Record>,
    pub(crate) last_of_shard: bool,
}

impl Deaggregator {
    pub(crate) fn new(fetched: Fetched, behind: Option<Position>) -> Self {
        let Fetched { batch, at, share } = fetched;
        Self {
            at,
            newest_millis: batch.records.last().map_or(0, |record| record.arrived_millis),
            raw: batch.records.into_iter(),
            user: None,
            ahead: None,
            behind,
            started: false,
            ended: batch.next.is_none(),
            children: batch.children,
            behind_millis: batch.behind_millis,
            placed_by_key: None,
            collected: Vec::new(),
            out_of_range: 0,
            dropped: None,
            raw_bytes: share.bytes(),
            share,
        }
    }

    /// The children of a shard that has ended, where the read named them.
    pub(crate) fn children(&self) -> &BTreeSet<ChildShard> {
        &self.children
    }

    /// Whether every record has been given out.
    pub(crate) fn is_empty(&self) -> bool {
        self.started && self.ahead.is_none()
    }

    pub(crate) fn behind_millis(&self) -> u64 {
        self.behind_millis
    }

    /// When a record of the read arrived at the stream, by the clock of this process: the clock of the stream may differ,
    /// but what lies between two records does not.
    pub(crate) fn arrived(&self, record: &Record) -> Moment {
        let older = match record.arrived_millis {
            // Kinesis did not say.
            0 => 0,
            arrived => u64::try_from(self.newest_millis.saturating_sub(arrived)).unwrap_or(0),
        };
        self.at - Duration::from_millis(older.saturating_add(self.behind_millis))
    }

    /// Says whether records outside of the shard's range were meant for another shard.
    pub(crate) fn decide(&mut self, placed_by_key: bool) {
        self.placed_by_key = Some(placed_by_key);
    }

    /// The next records; none when there are none left. `None`: it must be decided first what becomes of aggregates that
    /// were meant for another shard; call [`Self::decide`], and then this again.
    pub(crate) fn portion(&mut self, filter: &RecordFilter, reporter: &Reporter) -> Option<Portion> {
        self.started = true;
        while self.collected.len() < filter.batch_records_max {
            let next = match self.ahead.take() {
                Some(record) => Some(record),
                None => self.next(filter, reporter)?,
            };
            match next {
                Some(record) => self.collected.push(record),
                None => break,
            }
        }
        if self.ahead.is_none() {
            self.ahead = self.next(filter, reporter)?;
        }
        let user_bytes: usize = self.collected.iter().map(occupied).sum();
        self.share.set(self.raw_bytes + user_bytes);
        let last_of_read = self.ahead.is_none();
        if last_of_read {
            self.report(filter, reporter);
        }
        Some(Portion {
            records: std::mem::take(&mut self.collected),
            last_of_shard: last_of_read && self.ended,
        })
    }

    fn report(&mut self, filter: &RecordFilter, reporter: &Reporter) {
        let (delivered, dropped) = (
            std::mem::take(&mut self.out_of_range),
            std::mem::take(&mut self.dropped),
        );
        if delivered > 0 {
            reporter.emit(WorkerEvent::OutOfRange {
                shard: filter.hold.key.clone(),
                records: delivered,
            });
        }
        // Some record of the aggregate belongs to another shard, and the producer sends all of it again. The Java library
        // drops the whole aggregate too.
        if let Some((records, first, last)) = dropped {
            reporter.dropped(&filter.hold.key, DropReason::OutOfRange, records, first, last);
        }
    }

    /// The next record, or that there is none; `None`: not decided.
    fn next(&mut self, filter: &RecordFilter, reporter: &Reporter) -> Option<Option<Record>> {
        loop {
            let Some(record) = self.user.as_mut().and_then(Iterator::next) else {
                let Some(raw) = self.raw.as_slice().first() else {
                    return Some(None);
                };
                let records = deaggregate(raw.clone(), filter, reporter);
                let outside = filter.hash_range.map_or(0, |range| records.outside(range));
                if outside > 0 && filter.out_of_range == OutOfRange::Drop {
                    // A record without a key cannot have been placed by it.
                    let keyed = raw.partition_key.is_some();
                    if keyed && self.placed_by_key? {
                        if let Some((count, first, last)) = records.after(self.behind.as_ref()) {
                            let (before, first) = match self.dropped.take() {
                                Some((before, first, _)) => (before, first),
                                None => (0, first),
                            };
                            self.dropped = Some((before + count, first, last));
                        }
                        self.raw.next();
                        continue;
                    }
                }
                self.out_of_range += outside;
                self.raw.next();
                self.user = Some(records);
                continue;
            };
            if self.behind.as_ref().is_some_and(|behind| record.position <= *behind) {
                continue;
            }
            return Some(Some(record));
        }
    }
}

/// What a user record occupies beside the record that it came in, whose number and bytes it shares.
fn occupied(record: &Record) -> usize {
    size_of::<Record>() + allocated(record.partition_key.as_ref().map_or(0, |key| key.len()) + 2 * size_of::<usize>())
}

fn deaggregate(raw: RawRecord, filter: &RecordFilter, reporter: &Reporter) -> UserRecords {
    let (sequence, bytes) = (raw.sequence.clone(), raw.data.len());
    let (records, bad) = UserRecords::of(raw);
    if let Some(bad) = bad {
        reporter.emit(WorkerEvent::BadAggregate {
            shard: filter.hold.key.clone(),
            sequence: sequence.to_string(),
            bytes,
            reason: bad.to_string(),
        });
    }
    records
}
