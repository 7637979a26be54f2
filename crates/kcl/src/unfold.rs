//! The user records of one read, batch by batch: aggregates taken apart, what is behind the checkpoint left out.

use std::collections::BTreeSet;
use std::time::Duration;
use std::vec;

use kinex_core::id::{HashRange, ShardId};
use kinex_core::lease::Position;
use kinex_core::time::Moment;

use crate::aggregate::UserRecords;
use crate::board::Board;
use crate::budget::{Share, allocated};
use crate::config::OutOfRange;
use crate::events::WorkerEvent;
use crate::fetch::Fetched;
use crate::ports::RawRecord;
use crate::processor::Record;

/// What the records of a shard go through.
#[derive(Clone, Debug)]
pub(crate) struct Sieve {
    pub(crate) shard: ShardId,
    pub(crate) hash_range: Option<HashRange>,
    pub(crate) out_of_range: OutOfRange,
    pub(crate) batch_records_max: usize,
}

/// One read that is being handed to the processor.
#[derive(Debug)]
pub(crate) struct Unfolding {
    raw: vec::IntoIter<RawRecord>,
    user: Option<UserRecords>,
    ahead: Option<Record>,
    /// Records up to this one are processed already.
    behind: Option<Position>,
    started: bool,
    ended: bool,
    children: BTreeSet<ShardId>,
    behind_millis: u64,
    /// When the read came, and when its last record had arrived at the stream by the clock there.
    at: Moment,
    newest_millis: i64,
    out_of_range: u64,
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

impl Unfolding {
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
            out_of_range: 0,
            raw_bytes: share.bytes(),
            share,
        }
    }

    /// The children of a shard that has ended, where the read named them.
    pub(crate) fn children(&self) -> &BTreeSet<ShardId> {
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

    /// The next records; none when there are none left.
    pub(crate) fn portion(&mut self, sieve: &Sieve, board: &Board) -> Portion {
        self.started = true;
        let mut records = Vec::new();
        while records.len() < sieve.batch_records_max {
            match self.ahead.take().or_else(|| self.next(sieve, board)) {
                Some(record) => records.push(record),
                None => break,
            }
        }
        let user_bytes: usize = records.iter().map(occupied).sum();
        self.share.set(self.raw_bytes + user_bytes);
        self.ahead = self.next(sieve, board);
        let last_of_read = self.ahead.is_none();
        if last_of_read && self.out_of_range > 0 {
            board.tell(WorkerEvent::OutOfRange {
                shard: sieve.shard.clone(),
                records: std::mem::take(&mut self.out_of_range),
                dropped: sieve.out_of_range == OutOfRange::Drop,
            });
        }
        Portion {
            records,
            last_of_shard: last_of_read && self.ended,
        }
    }

    fn next(&mut self, sieve: &Sieve, board: &Board) -> Option<Record> {
        loop {
            let Some(record) = self.user.as_mut().and_then(Iterator::next) else {
                let raw = self.raw.next()?;
                self.user = Some(unfold(raw, sieve, board));
                continue;
            };
            if self.behind.as_ref().is_some_and(|behind| record.position <= *behind) {
                continue;
            }
            if sieve
                .hash_range
                .is_some_and(|range| !UserRecords::belongs(&record, range))
            {
                self.out_of_range += 1;
                if sieve.out_of_range == OutOfRange::Drop {
                    continue;
                }
            }
            return Some(record);
        }
    }
}

/// What a user record occupies beside the record that it came in, whose number and bytes it shares.
fn occupied(record: &Record) -> usize {
    size_of::<Record>() + allocated(record.partition_key.len() + 2 * size_of::<usize>())
}

fn unfold(raw: RawRecord, sieve: &Sieve, board: &Board) -> UserRecords {
    let (sequence, bytes) = (raw.sequence.clone(), raw.data.len());
    let (records, bad) = UserRecords::of(raw);
    if let Some(bad) = bad {
        board.tell(WorkerEvent::BadAggregate {
            shard: sieve.shard.clone(),
            sequence: sequence.to_string(),
            bytes,
            reason: bad.to_string(),
        });
    }
    records
}
