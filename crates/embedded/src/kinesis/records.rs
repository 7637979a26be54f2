//! Putting records and getting them.

use std::sync::Arc;

use super::Trimmed;
use super::admin::page;
use super::error::{Kind, Result, ensure};
use super::iterator::Cursor;
use super::listing::hash_keys;
use super::model::Model;
use super::sequence::Position;
use super::shard::{PUT_BYTES_PER_SECOND, Record, Shard, hash_key, shard_id};
use super::stream::{Distribution, HOUR, Status, Stream};
use super::wire::{self, PutResult};

/// Data and partition keys of one PutRecords.
const PUT_MAX: u64 = 10 << 20;
const PUT_RECORDS_MAX: usize = 500;
/// Data that one GetRecords gives.
const GET_MAX: u64 = 10 << 20;
const GET_RECORDS_MAX: usize = 10_000;

/// A checked record on its way into a shard.
struct Incoming {
    /// `None`: the stream chooses the shard.
    hash_key: Option<u128>,
    partition_key: Option<String>,
    data: wire::Data,
}

impl Model {
    pub(super) fn put_record(&mut self, request: wire::PutRecord) -> Result<wire::Put> {
        let (now, limits) = (self.now, self.settings.limits);
        let stream = self.readable(&request)?;
        let wire::PutRecord {
            data,
            partition_key,
            explicit_hash_key,
            ..
        } = request;
        let incoming = Incoming::check(data, partition_key, explicit_hash_key, stream)?;
        stream.put(incoming, limits, now)
    }

    pub(super) fn put_records(&mut self, request: wire::PutRecords) -> Result<wire::PutRecordsAnswer> {
        let (now, limits) = (self.now, self.settings.limits);
        let count = request.records.len();
        ensure((1..=PUT_RECORDS_MAX).contains(&count), Kind::Validation, || {
            format!("PutRecords takes 1 to {PUT_RECORDS_MAX} records, not {count}")
        })?;
        let size: u64 = request
            .records
            .iter()
            .map(|entry| entry.data.size + key_size(entry.partition_key.as_ref()))
            .sum();
        ensure(size <= PUT_MAX, Kind::InvalidArgument, || {
            format!("PutRecords takes {PUT_MAX} bytes, not {size}")
        })?;
        let stream = self.readable(&request)?;
        let check = |entry| {
            let wire::PutRecordsEntry {
                data,
                partition_key,
                explicit_hash_key,
            } = entry;
            Incoming::check(data, partition_key, explicit_hash_key, stream)
        };
        // All are checked before the first one is put: an invalid record refuses the whole call.
        let incoming = request.records.into_iter().map(check).collect::<Result<Vec<_>>>()?;
        let records: Vec<PutResult> = incoming
            .into_iter()
            .map(|incoming| match stream.put(incoming, limits, now) {
                Ok(put) => PutResult::Done(put),
                Err(error) => PutResult::Failed {
                    error_code: error.kind.name(),
                    error_message: error.message,
                },
            })
            .collect();
        let failed_record_count = records
            .iter()
            .filter(|record| matches!(record, PutResult::Failed { .. }))
            .count();
        Ok(wire::PutRecordsAnswer {
            failed_record_count,
            records,
        })
    }

    pub(super) fn get_records(&mut self, request: wire::GetRecords) -> Result<wire::GetRecordsAnswer> {
        let (now, limits, trimmed) = (self.now, self.settings.limits, self.trimmed);
        ensure(
            request.limit.is_none_or(|limit| limit <= 10_000),
            Kind::InvalidArgument,
            || format!("GetRecords gives {GET_RECORDS_MAX} records at most"),
        )?;
        let limit = page(request.limit, GET_RECORDS_MAX, GET_RECORDS_MAX)?;
        let cursor = Cursor::decode(&request.shard_iterator, now)?;
        let stream = self
            .streams
            .get_mut(&cursor.stream)
            .filter(|stream| stream.incarnation == cursor.incarnation && stream.status != Status::Deleting)
            .ok_or_else(|| {
                let message = format!(
                    "the stream {} that the iterator belongs to does not exist any more",
                    cursor.stream
                );
                Kind::ResourceNotFound.because(message)
            })?;
        let shard = &mut stream.shards[cursor.shard as usize];
        if limits {
            shard.admit_get(now)?;
        }
        if trimmed == Trimmed::Stalls && shard.has_lost(cursor.position) {
            return Ok(stalled(stream, &cursor, now));
        }
        let records = shard.read(&cursor, limit);
        if limits {
            let size = records.iter().map(|record| record.size).sum();
            shard.rates.get_bytes.take(size, now);
        }
        Ok(answer(stream, &cursor, records, now))
    }
}

impl Incoming {
    fn check(
        data: wire::Data,
        partition_key: Option<String>,
        explicit_hash_key: Option<String>,
        stream: &Stream,
    ) -> Result<Self> {
        if let Some(key) = &partition_key {
            let length = key.chars().count();
            ensure((1..=256).contains(&length), Kind::Validation, || {
                format!("a PartitionKey has 1 to 256 characters, not {length}")
            })?;
        }
        let size = data.size + key_size(partition_key.as_ref());
        let max = stream.max_record_kib << 10;
        ensure(size <= max, Kind::Validation, || {
            format!("data and partition key of a record of this stream have at most {max} bytes, not {size}")
        })?;
        let explicit = explicit_hash_key.map(|key| parse_hash_key("ExplicitHashKey", &key));
        let hash_key = match (stream.distribution, &partition_key) {
            // Whatever they say is ignored.
            (Distribution::Auto, _) => None,
            (Distribution::UserPartitionKey, Some(key)) => Some(explicit.unwrap_or_else(|| Ok(hash_key(key)))?),
            (Distribution::UserPartitionKey, None) => {
                let message = format!(
                    "a record of the stream {} needs a PartitionKey: its RecordDistributionStrategy is not AUTO",
                    stream.name
                );
                return Err(Kind::Validation.because(message));
            }
        };
        Ok(Self {
            hash_key,
            partition_key,
            data,
        })
    }
}

impl Stream {
    fn put(&mut self, incoming: Incoming, limits: bool, now: u64) -> Result<wire::Put> {
        let Incoming {
            hash_key,
            partition_key,
            data,
        } = incoming;
        let size = data.size + key_size(partition_key.as_ref());
        let admit = |shard: &mut Shard| if limits { shard.admit_put(size, now) } else { Ok(()) };
        let number = match hash_key.map(|key| self.shard_for(key)) {
            Some(number) => admit(&mut self.shards[number as usize]).map(|()| number),
            None => self.next_in_turn(admit),
        }?;
        let position = self.push(number, now, partition_key, data);
        Ok(wire::Put {
            shard_id: shard_id(number),
            sequence_number: position.number(number),
        })
    }
}

fn key_size(partition_key: Option<&String>) -> u64 {
    partition_key.map_or(0, String::len) as u64
}

impl Shard {
    fn admit_put(&mut self, size: u64, now: u64) -> Result<()> {
        // A record larger than what a second lets through is a burst: it needs the whole second, and what comes next waits
        // until it is paid off. <https://docs.aws.amazon.com/streams/latest/dev/large-records.html>
        let room = size.min(PUT_BYTES_PER_SECOND.into());
        let fits = self.rates.put_records.has(1, now) && self.rates.put_bytes.has(room, now);
        ensure(fits, Kind::ProvisionedThroughputExceeded, || {
            format!("{} takes 1000 records and 1 MiB per second", self.id())
        })?;
        self.rates.put_records.take(1, now);
        self.rates.put_bytes.take(size, now);
        Ok(())
    }

    fn admit_get(&mut self, now: u64) -> Result<()> {
        let fits = self.rates.get_calls.has(1, now) && self.rates.get_bytes.is_paid_off(now);
        ensure(fits, Kind::ProvisionedThroughputExceeded, || {
            format!("{} gives 5 GetRecords and 2 MiB per second", self.id())
        })?;
        self.rates.get_calls.take(1, now);
        Ok(())
    }

    /// Whether a record at or after a position that some record had is gone.
    fn has_lost(&self, position: Position) -> bool {
        position != Position::START && position < self.trimmed
    }

    /// What one call gives: at least one record when there is one.
    fn read(&self, cursor: &Cursor, limit: usize) -> Vec<Arc<Record>> {
        let mut room = GET_MAX;
        self.records
            .range(self.index_from(cursor.position)..)
            .take(limit)
            .enumerate()
            .take_while(|(index, record)| {
                let fits = *index == 0 || record.size <= room;
                room = room.saturating_sub(record.size);
                fits
            })
            .map(|(_, record)| Arc::clone(record))
            .collect()
    }
}

fn answer(stream: &Stream, cursor: &Cursor, records: Vec<Arc<Record>>, now: u64) -> wire::GetRecordsAnswer {
    let shard = &stream.shards[cursor.shard as usize];
    let position = records.last().map_or(cursor.position, |last| last.position.next());
    let unread = shard.records.get(shard.index_from(position));
    // A closed shard without unread records has ended: nothing can come any more.
    let ended = unread.is_none() && !shard.is_open();
    let next = Cursor {
        position,
        issued: now,
        ..cursor.clone()
    };
    wire::GetRecordsAnswer {
        // Zero means that nothing is unread, so a record of this very millisecond counts as one.
        millis_behind_latest: unread.map_or(0, |record| now.saturating_sub(record.arrived).max(1)),
        next_shard_iterator: (!ended).then(|| next.encode()),
        child_shards: if ended { children(stream, shard) } else { Vec::new() },
        records: records
            .into_iter()
            .map(|record| wire::Record {
                shard: cursor.shard,
                record,
            })
            .collect(),
    }
}

/// What GetRecords was seen to give for ever at an iterator of a sequence number that had gone past retention: nothing, and
/// the whole retention behind. <https://github.com/harlow/kinesis-consumer/issues/125>
fn stalled(stream: &Stream, cursor: &Cursor, now: u64) -> wire::GetRecordsAnswer {
    let next = Cursor {
        issued: now,
        ..cursor.clone()
    };
    wire::GetRecordsAnswer {
        records: Vec::new(),
        next_shard_iterator: Some(next.encode()),
        millis_behind_latest: stream.retention_hours * HOUR,
        child_shards: Vec::new(),
    }
}

fn children(stream: &Stream, shard: &Shard) -> Vec<wire::ChildShard> {
    let children = shard.children.iter().map(|&child| &stream.shards[child as usize]);
    children
        .map(|child| wire::ChildShard {
            shard_id: child.id(),
            parent_shards: child.parents.iter().copied().map(shard_id).collect(),
            hash_key_range: hash_keys(child),
        })
        .collect()
}

/// A hash key in decimal digits.
pub(super) fn parse_hash_key(field: &str, text: &str) -> Result<u128> {
    let digits =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    ensure(digits, Kind::Validation, || format!("{field} is not a decimal number"))?;
    text.parse()
        .map_err(|_| Kind::InvalidArgument.because(format!("{field} must be below 2^128")))
}
