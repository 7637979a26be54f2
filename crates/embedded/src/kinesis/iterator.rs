//! Shard iterators: where the next GetRecords starts.

use super::error::{Kind, Result, ensure};
use super::model::Model;
use super::sequence::{self, Position};
use super::shard::Shard;
use super::stream::Stream;
use super::{token, wire};

/// What an iterator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) stream: String,
    /// Tells a stream from a later one of the same name.
    pub(super) incarnation: u64,
    pub(super) shard: u32,
    pub(super) position: Position,
    pub(super) issued: u64,
}

impl Cursor {
    pub(super) fn encode(&self) -> String {
        let Self {
            stream,
            incarnation,
            shard,
            position,
            issued,
        } = self;
        let numbers = [*incarnation, u64::from(*shard), position.0, *issued].map(|n| n.to_string());
        token::encode(
            "iterator",
            &[&numbers[0], &numbers[1], &numbers[2], &numbers[3], stream],
        )
    }

    /// Reads an iterator that has not expired.
    pub(super) fn decode(text: &str, now: u64) -> Result<Self> {
        let cursor = Self::parse(text).ok_or_else(|| Kind::InvalidArgument.because("invalid ShardIterator"))?;
        let age = now.saturating_sub(cursor.issued);
        ensure(age <= token::LIFE_MILLIS, Kind::ExpiredIterator, || {
            format!("the iterator was made {age} ms ago and lived {} ms", token::LIFE_MILLIS)
        })?;
        Ok(cursor)
    }

    fn parse(text: &str) -> Option<Self> {
        let [incarnation, shard, position, issued, stream] = token::decode("iterator", text)?;
        let position = Position(position.parse().ok()?);
        let (incarnation, shard, issued) = (incarnation.parse().ok()?, shard.parse().ok()?, issued.parse().ok()?);
        Some(Self {
            stream,
            incarnation,
            shard,
            position,
            issued,
        })
    }
}

impl Model {
    pub(super) fn get_shard_iterator(&mut self, request: wire::GetShardIterator) -> Result<wire::ShardIterator> {
        let (now, limits) = (self.now, self.settings.limits);
        let stream = self.readable(&request)?;
        let number = stream.shard(&request.shard_id, now)?.number;
        if limits {
            let rate = &mut stream.shards[number as usize].rates.iterators;
            ensure(rate.has(1, now), Kind::ProvisionedThroughputExceeded, || {
                format!("more than 5 GetShardIterator per second on {}", request.shard_id)
            })?;
            rate.take(1, now);
        }
        let position = start(&request, stream, &stream.shards[number as usize], now)?;
        let (name, incarnation) = (stream.name.clone(), stream.incarnation);
        let cursor = Cursor {
            stream: name,
            incarnation,
            shard: number,
            position,
            issued: now,
        };
        Ok(wire::ShardIterator {
            shard_iterator: cursor.encode(),
        })
    }
}

/// Where an iterator of the requested type starts.
fn start(request: &wire::GetShardIterator, stream: &Stream, shard: &Shard, now: u64) -> Result<Position> {
    let wire::GetShardIterator {
        shard_iterator_type: kind,
        starting_sequence_number: number,
        timestamp,
        ..
    } = request;
    match (kind.as_str(), number, timestamp) {
        ("TRIM_HORIZON", None, _) => Ok(Position::START),
        ("LATEST", None, _) => Ok(stream.tip()),
        ("AT_SEQUENCE_NUMBER", Some(number), _) => numbered(number, stream, shard),
        ("AFTER_SEQUENCE_NUMBER", Some(number), _) => numbered(number, stream, shard).map(Position::next),
        ("AT_TIMESTAMP", None, Some(timestamp)) => {
            let millis = wire::millis(*timestamp);
            ensure(millis <= now, Kind::InvalidArgument, || {
                "Timestamp lies in the future".to_owned()
            })?;
            Ok(shard.position_at(millis).unwrap_or(stream.tip()))
        }
        ("AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER", None, _) => {
            Err(Kind::InvalidArgument.because(format!("{kind} needs a StartingSequenceNumber")))
        }
        ("AT_TIMESTAMP", None, None) => Err(Kind::InvalidArgument.because("AT_TIMESTAMP needs a Timestamp")),
        ("TRIM_HORIZON" | "LATEST" | "AT_TIMESTAMP", Some(_), _) => {
            Err(Kind::InvalidArgument.because(format!("{kind} takes no StartingSequenceNumber")))
        }
        _ => Err(Kind::Validation.because(format!("ShardIteratorType {kind} does not exist"))),
    }
}

/// The position of a sequence number, which must be one of this shard.
fn numbered(number: &str, stream: &Stream, shard: &Shard) -> Result<Position> {
    let digits = number.len() <= 129 && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    ensure(digits, Kind::Validation, || {
        "StartingSequenceNumber is not a number".to_owned()
    })?;
    sequence::parse(number)
        .filter(|&(position, of)| of == shard.number && (shard.start..stream.tip()).contains(&position))
        .map(|(position, _)| position)
        .ok_or_else(|| {
            let (id, stream) = (shard.id(), &stream.name);
            let message =
                format!("StartingSequenceNumber {number} did not come from shard {id} of this stream {stream}");
            Kind::InvalidArgument.because(message)
        })
}
