//! A shard: a range of the hash keys, its place in the lineage, its records.

use std::collections::VecDeque;
use std::sync::Arc;

use md5::{Digest, Md5};

use super::rate::Bucket;
use super::sequence::Position;

/// The hash keys that a shard takes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashRange {
    pub(super) first: u128,
    pub(super) last: u128,
}

impl HashRange {
    /// Cuts the whole space into `count` ranges of floor(2^128 / count) keys; the last one takes the rest as well.
    pub(super) fn even(count: usize) -> Vec<Self> {
        let starts = starts(count);
        let ends = starts.iter().skip(1).map(|start| start - 1).chain([u128::MAX]);
        starts
            .iter()
            .zip(ends)
            .map(|(&first, last)| Self { first, last })
            .collect()
    }
}

/// The first hash key of each of `count` ranges as Kinesis cuts them.
pub(super) fn starts(count: usize) -> Vec<u128> {
    let count = count as u128;
    // floor(2^128 / count) without overflow. Zero stands for 2^128 itself, the width of a single range.
    let width = (u128::MAX / count).wrapping_add(u128::from(u128::MAX % count == count - 1));
    (0..count).map(|n| width.wrapping_mul(n)).collect()
}

/// The hash key of a partition key.
pub(super) fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// What a producer put.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) position: Position,
    pub(super) arrived: u64,
    /// `None`: the producer left it to the stream where the record goes.
    pub(super) partition_key: Option<String>,
    /// Base64, as it came and as it goes.
    pub(super) data: String,
    /// Bytes of the data as they count for limits.
    pub(super) size: u64,
}

impl Record {
    /// Bytes of memory, about.
    pub(super) fn weight(&self) -> u64 {
        (size_of::<Self>() + self.partition_key.as_ref().map_or(0, String::len) + self.data.len()) as u64
    }
}

/// When and where a shard was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) at: u64,
    pub(super) position: Position,
}

/// Data and partition keys that a shard takes per second.
pub(super) const PUT_BYTES_PER_SECOND: u32 = 1 << 20;

/// The rates of one shard: <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) put_bytes: Bucket,
    pub(super) put_records: Bucket,
    pub(super) get_calls: Bucket,
    pub(super) get_bytes: Bucket,
    pub(super) iterators: Bucket,
}

impl Rates {
    const FULL: Self = Self {
        put_bytes: Bucket::full(PUT_BYTES_PER_SECOND),
        put_records: Bucket::full(1_000),
        get_calls: Bucket::full(5),
        get_bytes: Bucket::full(2 << 20),
        iterators: Bucket::full(5),
    };
}

/// One shard. Times are milliseconds since the Unix epoch.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) number: u32,
    pub(super) range: HashRange,
    /// One after a split, two after a merge, lower range first.
    pub(super) parents: Vec<u32>,
    pub(super) children: Vec<u32>,
    pub(super) opened_at: u64,
    pub(super) start: Position,
    pub(super) closed: Option<Closed>,
    /// Ordered by position, and so by arrival.
    pub(super) records: VecDeque<Arc<Record>>,
    /// The position right after the last record that was forgotten.
    pub(super) trimmed: Position,
    pub(super) rates: Rates,
}

impl Shard {
    pub(super) fn new(number: u32, range: HashRange, parents: Vec<u32>, opened_at: u64, start: Position) -> Self {
        let (children, closed, records, rates) = (Vec::new(), None, VecDeque::new(), Rates::FULL);
        Self {
            number,
            range,
            parents,
            children,
            opened_at,
            start,
            closed,
            records,
            trimmed: Position::START,
            rates,
        }
    }

    pub(super) fn id(&self) -> String {
        shard_id(self.number)
    }

    pub(super) const fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// Whether it is open or may still hold records that arrived at `horizon` or later.
    pub(super) fn is_shown(&self, horizon: u64) -> bool {
        self.closed.is_none_or(|closed| closed.at >= horizon)
    }

    /// The index of the first record at or after a position.
    pub(super) fn index_from(&self, position: Position) -> usize {
        self.records.partition_point(|record| record.position < position)
    }

    /// The position of the first record that arrived then or later.
    pub(super) fn position_at(&self, millis: u64) -> Option<Position> {
        let index = self.records.partition_point(|record| record.arrived < millis);
        self.records.get(index).map(|record| record.position)
    }
}

pub(super) fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// The number of a shard id; `None` when it is not one.
pub(super) fn shard_number(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("shardId-")?;
    (digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_ranges_cover_the_space_without_gap_or_overlap() {
        for count in [1, 2, 3, 7, 20, 30, 64, 1_000, 9_999] {
            let ranges = HashRange::even(count);
            assert_eq!(ranges.len(), count);
            assert_eq!((ranges[0].first, ranges[count - 1].last), (0, u128::MAX));
            assert!(
                ranges.windows(2).all(|pair| pair[0].last + 1 == pair[1].first),
                "{count}"
            );
            let widths: Vec<u128> = ranges.iter().map(|range| range.last - range.first).collect();
            let (last, others) = widths.split_last().unwrap();
            assert!(others.iter().all(|width| *width == widths[0]), "{count}");
            assert!((0..count as u128).contains(&(last - widths[0])), "{count}");
        }
    }

    /// The example of <https://docs.aws.amazon.com/cli/latest/reference/kinesis/describe-stream.html>
    #[test]
    fn three_ranges_are_those_of_the_documentation() {
        let ranges: Vec<(u128, u128)> = HashRange::even(3)
            .iter()
            .map(|range| (range.first, range.last))
            .collect();
        assert_eq!(
            ranges,
            [
                (0, 113_427_455_640_312_821_154_458_202_477_256_070_484),
                (
                    113_427_455_640_312_821_154_458_202_477_256_070_485,
                    226_854_911_280_625_642_308_916_404_954_512_140_969
                ),
                (226_854_911_280_625_642_308_916_404_954_512_140_970, u128::MAX),
            ]
        );
    }

    #[test]
    fn a_partition_key_hashes_to_its_md5() {
        assert_eq!(hash_key(""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
        assert_eq!(hash_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn shard_ids_are_read_back_and_others_refused() {
        assert_eq!(shard_number(&shard_id(17)), Some(17));
        for id in [
            "",
            "shardId-",
            "shardId-17",
            "shardId-00000000000x",
            "shardId-+00000000001",
            "17",
        ] {
            assert_eq!(shard_number(id), None, "{id}");
        }
    }
}
