//! Putting records and getting them.

use std::sync::Arc;

use super::admin::page;
use super::error::{Kind, Result, ensure};
use super::iterator::Cursor;
use super::listing::hash_keys;
use super::model::Model;
use super::shard::{Record, Shard, hash_key, shard_id};
use super::stream::{Status, Stream};
use super::wire::{self, PutResult};

/// Data and partition key of one record.
const RECORD_MAX: u64 = 1 << 20;
/// Data and partition keys of one PutRecords.
const PUT_MAX: u64 = 10 << 20;
const PUT_RECORDS_MAX: usize = 500;
/// Data that one GetRecords gives.
const GET_MAX: u64 = 10 << 20;
const GET_RECORDS_MAX: usize = 10_000;

/// A checked record on its way into a shard.
struct Incoming {
    hash_key: u128,
    partition_key: String,
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
        let incoming = Incoming::check(data, partition_key, explicit_hash_key)?;
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
            .map(|entry| entry.data.size + entry.partition_key.len() as u64)
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
            Incoming::check(data, partition_key, explicit_hash_key)
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
        let (now, limits) = (self.now, self.settings.limits);
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
            .ok_or_else(|| Kind::ResourceNotFound.because(format!("stream {} does not exist", cursor.stream)))?;
        let shard = &mut stream.shards[cursor.shard as usize];
        if limits {
            shard.admit_get(now)?;
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
    fn check(data: wire::Data, partition_key: String, explicit_hash_key: Option<String>) -> Result<Self> {
        let length = partition_key.chars().count();
        ensure((1..=256).contains(&length), Kind::Validation, || {
            format!("a PartitionKey has 1 to 256 characters, not {length}")
        })?;
        let size = data.size + partition_key.len() as u64;
        ensure(size <= RECORD_MAX, Kind::InvalidArgument, || {
            format!("a record has at most {RECORD_MAX} bytes, not {size}")
        })?;
        let hash_key = match explicit_hash_key {
            None => hash_key(&partition_key),
            Some(key) => parse_hash_key("ExplicitHashKey", &key)?,
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
        if limits {
            self.shard_for(hash_key)
                .admit_put(data.size + partition_key.len() as u64, now)?;
        }
        let (number, position) = self.push(hash_key, now, partition_key, data);
        Ok(wire::Put {
            shard_id: shard_id(number),
            sequence_number: position.number(number),
        })
    }
}

impl Shard {
    fn admit_put(&mut self, size: u64, now: u64) -> Result<()> {
        let fits = self.rates.put_records.has(1, now) && self.rates.put_bytes.has(size, now);
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
