//! Takes aggregated records of the Kinesis Producer Library apart.
//!
//! An aggregate is the four bytes `F3 89 9A C2`, a protobuf message, and the MD5 of that message. User records are
//! taken out one by one, so that an aggregate of very many small ones needs no more memory than it has bytes; the
//! payloads are slices of it. An aggregate is checked as a whole first: a bad one is delivered as it is.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use kinex_core::id::HashRange;
use kinex_core::lease::Position;
use md5::{Digest, Md5};
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::ports::RawRecord;
use crate::processor::Record;

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
const DIGEST: usize = 16;

/// The 128-bit number that chooses the shard of a partition key.
pub(crate) fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// Why something that has the marks of an aggregate cannot be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAggregate {
    #[error("not a protobuf message: {0}")]
    Protobuf(String),
    #[error("partition key {0} is not UTF-8")]
    KeyText(usize),
    #[error("explicit hash key {0} is not a number of 128 bits")]
    HashKeyText(usize),
    #[error("user record {record} names partition key {index} of {keys}")]
    KeyIndex { record: u64, index: u64, keys: usize },
    #[error("user record {record} names explicit hash key {index} of {keys}")]
    HashKeyIndex { record: u64, index: u64, keys: usize },
    #[error("it holds no user record")]
    Empty,
}

/// The user records of one Kinesis record, in their order.
#[derive(Clone, Debug)]
pub(crate) struct UserRecords {
    raw: RawRecord,
    /// `None`: the record is not an aggregate, and is its own single user record.
    aggregate: Option<Aggregate>,
    sub: u64,
    /// The key of the last user record; aggregates often repeat it.
    last_key: Option<(u64, Arc<str>)>,
}

impl UserRecords {
    /// The user records, and what is wrong with a record that looks like an aggregate but is delivered as it is.
    pub(crate) fn of(raw: RawRecord) -> (Self, Option<BadAggregate>) {
        let (aggregate, bad) = match Aggregate::parse(&raw.data) {
            None => (None, None),
            Some(Ok(aggregate)) => (Some(aggregate), None),
            Some(Err(bad)) => (None, Some(bad)),
        };
        let records = Self {
            raw,
            aggregate,
            sub: 0,
            last_key: None,
        };
        (records, bad)
    }

    /// How many records belong to another shard by their hash keys. Only what came in an aggregate can.
    pub(crate) fn outside(&self, range: HashRange) -> u64 {
        let outside = |record: &Record| {
            let keyed = || record.partition_key.as_deref().map(hash_key);
            let key = record.explicit_hash_key.or_else(keyed);
            record.aggregated && key.is_some_and(|key| !range.contains(key))
        };
        if self.aggregate.is_none() {
            return 0;
        }
        self.clone().filter(outside).count() as u64
    }

    /// How many records lie after this position, and the first and the last of them.
    pub(crate) fn after(&self, behind: Option<&Position>) -> Option<(u64, Position, Position)> {
        let unread = |record: &Record| behind.is_none_or(|behind| record.position > *behind);
        let mut positions = self.clone().filter(unread).map(|record| record.position);
        let first = positions.next()?;
        let (others, last) = positions.fold((0, first.clone()), |(count, _), position| (count + 1, position));
        Some((others + 1, first, last))
    }

    fn place(&self) -> Position {
        Position {
            sequence: self.raw.sequence.clone(),
            sub: self.sub,
        }
    }

    fn whole(&mut self) -> Option<Record> {
        (self.sub == 0).then(|| Record {
            position: self.place(),
            partition_key: self.raw.partition_key.as_deref().map(Arc::from),
            explicit_hash_key: None,
            data: self.raw.data.clone(),
            arrived_millis: self.raw.arrived_millis,
            aggregated: false,
        })
    }
}

impl Iterator for UserRecords {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let Some(aggregate) = &mut self.aggregate else {
            let whole = self.whole();
            self.sub = 1;
            return whole;
        };
        let sub = aggregate.next_sub().ok().flatten()?;
        let key = match &self.last_key {
            Some((index, key)) if *index == sub.partition_key_index => Arc::clone(key),
            _ => Arc::from(aggregate.keys.text(&aggregate.message, sub.partition_key_index)?),
        };
        self.last_key = Some((sub.partition_key_index, Arc::clone(&key)));
        let hash_key = match sub.explicit_hash_key_index {
            Some(index) => Some(aggregate.hash_keys.text(&aggregate.message, index)?.parse().ok()?),
            None => None,
        };
        let record = Record {
            position: self.place(),
            partition_key: Some(key),
            explicit_hash_key: hash_key,
            data: sub.data,
            arrived_millis: self.raw.arrived_millis,
            aggregated: true,
        };
        self.sub += 1;
        Some(record)
    }
}

/// An aggregate that was checked as a whole.
#[derive(Clone, Debug)]
struct Aggregate {
    message: Bytes,
    keys: Table,
    hash_keys: Table,
    /// Where the next field of the message begins.
    at: usize,
}

/// A user record inside the message.
#[derive(Clone, PartialEq, prost::Message)]
struct SubRecord {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "bytes", required, tag = "3")]
    data: Bytes,
}

impl Aggregate {
    /// `None`: the payload is not an aggregate (or its digest is wrong, which means the same).
    fn parse(data: &Bytes) -> Option<Result<Self, BadAggregate>> {
        let end = data.len().checked_sub(DIGEST)?;
        if end < MAGIC.len() || data[..MAGIC.len()] != MAGIC {
            return None;
        }
        let message = data.slice(MAGIC.len()..end);
        if Md5::digest(&message)[..] != data[end..] {
            return None;
        }
        Some(Self::check(message))
    }

    fn check(message: Bytes) -> Result<Self, BadAggregate> {
        let mut aggregate = Self {
            message,
            keys: Table::default(),
            hash_keys: Table::default(),
            at: 0,
        };
        // The tables may follow the records that point into them, so the indexes are checked in a second pass.
        while let Some((field, value)) = aggregate.next_field()? {
            match field {
                Field::Key => aggregate.keys.starts.push(value.start.try_into().unwrap_or(u32::MAX)),
                Field::HashKey => aggregate
                    .hash_keys
                    .starts
                    .push(value.start.try_into().unwrap_or(u32::MAX)),
                Field::Record => {}
            }
        }
        aggregate.check_tables()?;
        aggregate.at = 0;
        let mut record = 0;
        while let Some(sub) = aggregate.next_sub()? {
            aggregate.check_indexes(record, &sub)?;
            record += 1;
        }
        if record == 0 {
            return Err(BadAggregate::Empty);
        }
        aggregate.at = 0;
        Ok(aggregate)
    }

    fn check_tables(&self) -> Result<(), BadAggregate> {
        for index in 0..self.keys.starts.len() {
            self.keys
                .text(&self.message, index as u64)
                .ok_or(BadAggregate::KeyText(index))?;
        }
        for index in 0..self.hash_keys.starts.len() {
            let text = self.hash_keys.text(&self.message, index as u64);
            text.and_then(|text| text.parse::<u128>().ok())
                .ok_or(BadAggregate::HashKeyText(index))?;
        }
        Ok(())
    }

    fn check_indexes(&self, record: u64, sub: &SubRecord) -> Result<(), BadAggregate> {
        let (keys, hash_keys) = (self.keys.starts.len(), self.hash_keys.starts.len());
        if sub.partition_key_index >= keys as u64 {
            return Err(BadAggregate::KeyIndex {
                record,
                index: sub.partition_key_index,
                keys,
            });
        }
        match sub.explicit_hash_key_index {
            Some(index) if index >= hash_keys as u64 => Err(BadAggregate::HashKeyIndex {
                record,
                index,
                keys: hash_keys,
            }),
            _ => Ok(()),
        }
    }

    /// The next user record.
    fn next_sub(&mut self) -> Result<Option<SubRecord>, BadAggregate> {
        while let Some((field, value)) = self.next_field()? {
            if matches!(field, Field::Record) {
                let sub = self.message.slice(value);
                check_required(&sub)?;
                return SubRecord::decode(sub).map(Some).map_err(protobuf);
            }
        }
        Ok(None)
    }

    /// The next field of the message that means something here, and where its value lies.
    fn next_field(&mut self) -> Result<Option<(Field, Range<usize>)>, BadAggregate> {
        while self.at < self.message.len() {
            let mut rest = &self.message[self.at..];
            let (tag, wire) = decode_key(&mut rest).map_err(protobuf)?;
            let field = match tag {
                1 => Field::Key,
                2 => Field::HashKey,
                3 => Field::Record,
                _ => {
                    skip_field(wire, tag, &mut rest, DecodeContext::default()).map_err(protobuf)?;
                    self.at = self.message.len() - rest.remaining();
                    continue;
                }
            };
            if wire != WireType::LengthDelimited {
                return Err(BadAggregate::Protobuf(format!("field {tag} has wire type {wire:?}")));
            }
            let start = self.message.len() - rest.remaining();
            let value = delimited(&self.message, start).ok_or_else(|| truncated(tag))?;
            self.at = value.end;
            // A table remembers where the length stands, a record where its bytes do.
            let range = if matches!(field, Field::Record) {
                value
            } else {
                start..value.end
            };
            return Ok(Some((field, range)));
        }
        Ok(None)
    }
}

#[derive(Clone, Copy)]
enum Field {
    Key,
    HashKey,
    Record,
}

/// A list of texts in the message: only where the length of each one stands, four bytes for at least two in the message.
#[derive(Clone, Debug, Default)]
struct Table {
    starts: Vec<u32>,
}

impl Table {
    fn text<'a>(&self, message: &'a Bytes, index: u64) -> Option<&'a str> {
        let start = *self.starts.get(usize::try_from(index).ok()?)?;
        let value = delimited(message, start as usize)?;
        std::str::from_utf8(&message[value]).ok()
    }
}

/// Where the bytes lie whose length stands at `start`.
fn delimited(message: &Bytes, start: usize) -> Option<Range<usize>> {
    let mut rest = message.get(start..)?;
    let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    let begin = message.len() - rest.remaining();
    let end = begin.checked_add(length)?;
    (end <= message.len()).then_some(begin..end)
}

/// The decoder fills in what is missing; a user record without its key or its data is a bad one.
fn check_required(sub: &Bytes) -> Result<(), BadAggregate> {
    let mut rest = &sub[..];
    let (mut key, mut data) = (false, false);
    while rest.has_remaining() {
        let (tag, wire) = decode_key(&mut rest).map_err(protobuf)?;
        key |= tag == 1;
        data |= tag == 3;
        skip_field(wire, tag, &mut rest, DecodeContext::default()).map_err(protobuf)?;
    }
    match (key, data) {
        (true, true) => Ok(()),
        (false, _) => Err(BadAggregate::Protobuf(
            "a user record has no partition key index".to_owned(),
        )),
        (_, false) => Err(BadAggregate::Protobuf("a user record has no data".to_owned())),
    }
}

fn protobuf(error: prost::DecodeError) -> BadAggregate {
    BadAggregate::Protobuf(error.to_string())
}

fn truncated(tag: u32) -> BadAggregate {
    BadAggregate::Protobuf(format!("field {tag} is longer than the message"))
}

#[cfg(test)]
mod tests;
