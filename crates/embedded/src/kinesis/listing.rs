//! ListStreams and ListShards, page by page.

use super::admin::{page, summarize};
use super::error::{Kind, Result, ensure};
use super::model::Model;
use super::shard::{Shard, shard_id, shard_number};
use super::stream::{Status, Stream};
use super::{token, wire};

/// The one filter that names a shard instead of a time.
const AFTER_SHARD_ID: &str = "AFTER_SHARD_ID";

impl Model {
    pub(super) fn list_streams(&mut self, request: wire::ListStreams) -> Result<wire::ListStreamsAnswer> {
        let limit = page(request.limit, 100, 10_000)?;
        let after = match request.next_token {
            None => request.exclusive_start_stream_name.unwrap_or_default(),
            Some(token) => {
                let fields = token::decode::<1>("streams", &token);
                let [name] = fields.ok_or_else(|| Kind::InvalidArgument.because("invalid NextToken"))?;
                name
            }
        };
        let mut rest = self.streams.values().filter(|stream| stream.name > after);
        let streams: Vec<&Stream> = rest.by_ref().take(limit).collect();
        let has_more_streams = rest.next().is_some();
        let last = streams.last().filter(|_| has_more_streams);
        Ok(wire::ListStreamsAnswer {
            next_token: last.map(|stream| token::encode("streams", &[&stream.name])),
            stream_names: streams.iter().map(|stream| stream.name.clone()).collect(),
            stream_summaries: streams.into_iter().map(summarize).collect(),
            has_more_streams,
        })
    }

    pub(super) fn list_shards(&mut self, request: wire::ListShards) -> Result<wire::ListShardsAnswer> {
        let (now, limits) = (self.now, self.settings.limits);
        let limit = page(request.max_results, 1_000, 10_000)?;
        let (name, listing) = match &request.next_token {
            Some(token) => {
                let alone = wire::OnStream::stream(&request) == (None, None)
                    && request.exclusive_start_shard_id.is_none()
                    && request.shard_filter.is_none();
                ensure(alone, Kind::InvalidArgument, || {
                    "a NextToken names the stream and the filter itself".to_owned()
                })?;
                Listing::decode(token, now)?
            }
            None => {
                let stream = self.stream(&request)?;
                let asked = request.shard_filter.as_ref();
                let filter = asked.map_or_else(
                    || Ok(Filter::whole(stream, now)),
                    |asked| Filter::of(asked, stream, now),
                )?;
                let filtered = asked
                    .filter(|asked| asked.kind == AFTER_SHARD_ID)
                    .and_then(|asked| asked.shard_id.as_deref());
                let after = [request.exclusive_start_shard_id.as_deref(), filtered]
                    .into_iter()
                    .flatten();
                let after = after.map(number).collect::<Result<Vec<_>>>()?.into_iter().max();
                (stream.name.clone(), Listing { filter, after })
            }
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return Err(Kind::ResourceNotFound.because(format!("stream {name} does not exist")));
        };
        ensure(stream.status != Status::Deleting, Kind::ResourceInUse, || {
            format!("stream {name} is DELETING")
        })?;
        if limits {
            ensure(stream.listings.has(1, now), Kind::LimitExceeded, || {
                "more than 1000 ListShards per second".to_owned()
            })?;
            stream.listings.take(1, now);
        }
        let mut rest = stream.shown(now).filter(|shard| listing.takes(shard));
        let shards: Vec<&Shard> = rest.by_ref().take(limit).collect();
        let last = shards.last().filter(|_| rest.next().is_some());
        let next_token = last.map(|last| {
            Listing {
                after: Some(last.number),
                ..listing
            }
            .encode(&name, now)
        });
        Ok(wire::ListShardsAnswer {
            shards: shards.into_iter().map(show).collect(),
            next_token,
        })
    }
}

/// A listing that goes on after a shard.
#[derive(Clone, Copy, Debug)]
struct Listing {
    filter: Filter,
    after: Option<u32>,
}

/// The ShardFilter with its times worked out. Millis since the Unix epoch.
#[derive(Clone, Copy, Debug)]
enum Filter {
    /// Open at that time.
    At(u64),
    /// Open at that time or later.
    From(u64),
    /// Open now.
    Open,
}

impl Listing {
    fn takes(&self, shard: &Shard) -> bool {
        let closed = shard.closed.map_or(u64::MAX, |closed| closed.at);
        let filtered = match self.filter {
            Filter::At(time) => shard.opened_at <= time && time <= closed,
            Filter::From(time) => closed >= time,
            Filter::Open => shard.is_open(),
        };
        filtered && self.after.is_none_or(|after| shard.number > after)
    }

    fn encode(self, stream: &str, now: u64) -> String {
        let (kind, time) = match self.filter {
            Filter::At(time) => ("at", time),
            Filter::From(time) => ("from", time),
            Filter::Open => ("open", 0),
        };
        let after = self.after.map_or_else(|| "-".to_owned(), |after| after.to_string());
        token::encode("shards", &[kind, &time.to_string(), &after, &now.to_string(), stream])
    }

    fn decode(text: &str, now: u64) -> Result<(String, Self)> {
        let (stream, listing, issued) =
            Self::parse(text).ok_or_else(|| Kind::InvalidArgument.because("invalid NextToken"))?;
        let age = now.saturating_sub(issued);
        ensure(age <= token::LIFE_MILLIS, Kind::ExpiredNextToken, || {
            format!("the token was made {age} ms ago and lived {} ms", token::LIFE_MILLIS)
        })?;
        Ok((stream, listing))
    }

    fn parse(text: &str) -> Option<(String, Self, u64)> {
        let [kind, time, after, issued, stream] = token::decode("shards", text)?;
        let time = time.parse().ok()?;
        let filter = match kind.as_str() {
            "at" => Filter::At(time),
            "from" => Filter::From(time),
            _ => Filter::Open,
        };
        Some((
            stream,
            Self {
                filter,
                after: after.parse().ok(),
            },
            issued.parse().ok()?,
        ))
    }
}

impl Filter {
    /// All shards that may hold records.
    fn whole(stream: &Stream, now: u64) -> Self {
        Self::From(trim_horizon(stream, now))
    }

    fn of(asked: &wire::ShardFilter, stream: &Stream, now: u64) -> Result<Self> {
        let horizon = trim_horizon(stream, now);
        let time = || {
            let timestamp = asked
                .timestamp
                .ok_or_else(|| Kind::InvalidArgument.because(format!("the filter {} needs a Timestamp", asked.kind)))?;
            let time = wire::millis(timestamp);
            ensure(time <= now, Kind::InvalidArgument, || {
                "the filter's Timestamp lies in the future".to_owned()
            })?;
            Ok(time.max(horizon))
        };
        match asked.kind.as_str() {
            AFTER_SHARD_ID => {
                ensure(asked.shard_id.is_some(), Kind::InvalidArgument, || {
                    "the filter needs a ShardId".to_owned()
                })?;
                Ok(Self::whole(stream, now))
            }
            "AT_TRIM_HORIZON" => Ok(Self::At(horizon)),
            "FROM_TRIM_HORIZON" => Ok(Self::whole(stream, now)),
            "AT_LATEST" => Ok(Self::Open),
            "AT_TIMESTAMP" => time().map(Self::At),
            "FROM_TIMESTAMP" => time().map(Self::From),
            kind => Err(Kind::Validation.because(format!("the filter {kind} does not exist"))),
        }
    }
}

/// The oldest time of which the stream knows: a stream younger than its retention was whole at its creation.
fn trim_horizon(stream: &Stream, now: u64) -> u64 {
    stream.horizon(now).max(stream.created)
}

/// Up to `limit` shards after one, and whether there are more.
pub(super) fn shards_after(
    stream: &Stream,
    after: Option<&str>,
    limit: usize,
    now: u64,
) -> Result<(Vec<wire::Shard>, bool)> {
    let after = after.map(number).transpose()?;
    let mut rest = stream
        .shown(now)
        .filter(|shard| after.is_none_or(|after| shard.number > after));
    let shards = rest.by_ref().take(limit).map(show).collect();
    Ok((shards, rest.next().is_some()))
}

fn number(id: &str) -> Result<u32> {
    shard_number(id).ok_or_else(|| Kind::InvalidArgument.because(format!("{id} is no shard id")))
}

fn show(shard: &Shard) -> wire::Shard {
    wire::Shard {
        shard_id: shard.id(),
        parent_shard_id: shard.parents.first().copied().map(shard_id),
        adjacent_parent_shard_id: shard.parents.get(1).copied().map(shard_id),
        hash_key_range: hash_keys(shard),
        sequence_number_range: wire::SequenceNumberRange {
            starting_sequence_number: shard.start.number(shard.number),
            ending_sequence_number: shard.closed.map(|closed| closed.position.number(shard.number)),
        },
    }
}

pub(super) fn hash_keys(shard: &Shard) -> wire::HashKeyRange {
    wire::HashKeyRange {
        starting_hash_key: shard.range.first.to_string(),
        ending_hash_key: shard.range.last.to_string(),
    }
}
