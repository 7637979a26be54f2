//! How much of one shard is asked for at once. Pure: what came of each read comes in.
//!
//! Two things bound a read: the link, which is learned from responses that broke off or came too late, and the memory
//! that is free, which becomes a number of records by what the records of the shard took the last time.

use std::time::Duration;

use crate::config::READ_BYTES_MAX;

/// What the largest read takes while it is decoded: the payload, and the same as text (4/3 of it) with what surrounds it.
pub(crate) const READ_PEAK_MAX: usize = READ_BYTES_MAX / 2 * 5;

/// What a record takes of which nothing is known. Kinesis allows up to 10 MiB; hardly any has more than this.
const UNKNOWN_RECORD: usize = 256 * 1024;

/// No read asks for less memory: an idle shard must not have to ask twice for the first few records.
const WANTED_MIN: usize = 16 * 1024;

/// A response that broke off before anything is known of the shard's records is asked for again at this fraction.
const UNKNOWN_CUT: usize = 8;

/// After a response that broke off, each full read asks for this fraction more.
const GROWTH: usize = 8;

/// How much one shard is asked for at once.
#[derive(Clone, Debug)]
pub(crate) struct ReadSize {
    records_max: usize,
    timeout: Duration,
    /// What the link carries, as far as is known.
    limit: usize,
    /// Of the last read that brought records.
    record: Option<PerRecord>,
    /// What the last read took at its peak.
    needed: usize,
}

/// Averages of one read, in bytes.
#[derive(Clone, Copy, Debug)]
struct PerRecord {
    peak: usize,
    payload: usize,
}

/// What a read brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brought {
    /// How many came.
    pub(crate) records: usize,
    /// Bytes of payload and partition keys.
    pub(crate) payload: usize,
    /// Bytes that it took while it was decoded.
    pub(crate) peak: usize,
    /// How long it took.
    pub(crate) took: Duration,
}

impl ReadSize {
    pub(crate) fn new(records_max: usize, timeout: Duration) -> Self {
        Self {
            records_max,
            timeout,
            limit: records_max,
            record: None,
            needed: READ_PEAK_MAX,
        }
    }

    /// The memory that the next read may well need: twice what the last one did.
    pub(crate) fn wanted(&self) -> usize {
        self.needed.saturating_mul(2).clamp(WANTED_MIN, READ_PEAK_MAX)
    }

    /// How many records to ask for with this much memory. At least one: a shard whose records are large must go on too.
    pub(crate) fn records(&self, memory: usize) -> usize {
        let fits = match self.record {
            // A read cannot bring more than that.
            _ if memory >= READ_PEAK_MAX => self.records_max,
            Some(record) => memory / record.peak.max(1),
            None => memory / UNKNOWN_RECORD,
        };
        fits.min(self.limit).max(1)
    }

    /// A read came back whole.
    pub(crate) fn whole(&mut self, brought: Brought) {
        self.needed = brought.peak;
        if brought.records == 0 {
            return;
        }
        self.record = Some(PerRecord {
            peak: brought.peak.div_ceil(brought.records),
            payload: brought.payload.div_ceil(brought.records),
        });
        // One that took long already would take too long with more.
        if brought.records >= self.limit && brought.took < self.timeout / 3 {
            self.limit = (self.limit + (self.limit / GROWTH).max(1)).min(self.records_max);
        }
    }

    /// The response to a read of so many records broke off, or did not come in time.
    pub(crate) fn cut(&mut self, asked: usize) {
        self.limit = match self.record {
            // What it would have brought has at most 10 MiB.
            Some(record) => asked.min((READ_BYTES_MAX / record.payload.max(1)).max(1)) / 2,
            None => asked / UNKNOWN_CUT,
        }
        .max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn brought(records: usize, payload: usize, millis: u64) -> Brought {
        Brought {
            records,
            payload,
            peak: payload * 5 / 2 + records * 800,
            took: Duration::from_millis(millis),
        }
    }

    fn size() -> ReadSize {
        ReadSize::new(10_000, Duration::from_secs(30))
    }

    #[test]
    fn a_first_read_asks_for_everything_where_there_is_memory_for_it() {
        let size = size();
        assert_eq!(size.wanted(), READ_PEAK_MAX);
        assert_eq!(size.records(READ_PEAK_MAX), 10_000);
        assert_eq!(size.records(1024 * KIB), 4);
        assert_eq!(size.records(0), 1);
    }

    #[test]
    fn an_idle_shard_wants_next_to_nothing() {
        let mut size = size();
        size.whole(brought(0, 0, 10));
        assert_eq!(size.wanted(), WANTED_MIN);
    }

    #[test]
    fn memory_becomes_records_by_what_the_last_ones_took() {
        let mut size = size();
        size.whole(brought(1_000, 1_000 * KIB, 10));
        assert_eq!(size.records(1024 * KIB), 1024 * KIB / (KIB * 5 / 2 + 800));
        assert_eq!(size.wanted(), 2 * (1_000 * KIB * 5 / 2 + 800_000));
    }

    #[test]
    fn a_read_that_breaks_off_is_halved_down_to_one_record() {
        let mut size = size();
        // Ten records of 1 MB are all that a read can bring.
        size.whole(brought(10, 10_000_000, 3_000));
        let mut asked = Vec::new();
        for _ in 0..5 {
            size.cut(size.records(READ_PEAK_MAX));
            asked.push(size.records(READ_PEAK_MAX));
        }
        assert_eq!(asked, [5, 2, 1, 1, 1]);
    }

    #[test]
    fn nothing_known_is_found_out_in_a_few_reads() {
        let mut size = size();
        let mut asked = Vec::new();
        for _ in 0..5 {
            size.cut(size.records(READ_PEAK_MAX));
            asked.push(size.records(READ_PEAK_MAX));
        }
        assert_eq!(asked, [1_250, 156, 19, 2, 1]);
    }

    #[test]
    fn it_grows_slowly_while_reads_are_quick() {
        let mut size = size();
        size.cut(128);
        size.cut(16);
        let mut asked = Vec::new();
        for _ in 0..8 {
            let records = size.records(READ_PEAK_MAX);
            asked.push(records);
            size.whole(brought(records, records * 10, 100));
        }
        assert_eq!(asked, [2, 3, 4, 5, 6, 7, 8, 9]);
        let records = size.records(READ_PEAK_MAX);
        size.whole(brought(records, records * 10, 10_001));
        assert_eq!(size.records(READ_PEAK_MAX), records, "a slow read is large enough");
        size.whole(brought(records - 1, records * 10, 10));
        assert_eq!(size.records(READ_PEAK_MAX), records, "the limit did not hold it up");
    }
}
