//! SplitShard, MergeShards and UpdateShardCount: which shards close and which open.

use super::error::{Kind, Result, ensure};
use super::model::Model;
use super::records::parse_hash_key;
use super::shard::{Shard, starts};
use super::stream::{Change, Due, HOUR, Reshard, Status, Stream};
use super::wire::{self, Nothing};
use crate::clock::millis;

/// UpdateShardCount calls per stream and 24 hours.
const RESCALES_MAX: usize = 10;
/// A piece this many times narrower than an even range is a sliver, not a shard.
const SLIVER: u128 = 1 << 20;
/// Shards that UpdateShardCount goes up to.
const RESCALE_SHARDS_MAX: usize = 10_000;

impl Model {
    pub(super) fn split_shard(&mut self, request: wire::SplitShard) -> Result<Nothing> {
        let now = self.now;
        let key = parse_hash_key("NewStartingHashKey", &request.new_starting_hash_key)?;
        let stream = self.provisioned(&request)?;
        let shard = open_shard(stream, &request.shard_to_split, now)?;
        let (first, last) = (shard.range.first, shard.range.last);
        ensure(
            key > first.saturating_add(1) && key < last,
            Kind::InvalidArgument,
            || format!("NewStartingHashKey {key} must lie above {first} plus one and below {last}"),
        )?;
        let split = Reshard::Split {
            shard: shard.number,
            at: key,
        };
        self.has_room(1)?;
        self.begin(&request, vec![split])
    }

    pub(super) fn merge_shards(&mut self, request: wire::MergeShards) -> Result<Nothing> {
        let now = self.now;
        let stream = self.provisioned(&request)?;
        let lower = open_shard(stream, &request.shard_to_merge, now)?;
        let upper = open_shard(stream, &request.adjacent_shard_to_merge, now)?;
        ensure(
            lower.range.last.checked_add(1) == Some(upper.range.first),
            Kind::InvalidArgument,
            || format!("{} does not end where {} begins", lower.id(), upper.id()),
        )?;
        let merge = Reshard::Merge {
            lower: lower.number,
            upper: upper.number,
        };
        self.begin(&request, vec![merge])
    }

    pub(super) fn update_shard_count(&mut self, request: wire::UpdateShardCount) -> Result<wire::ShardCount> {
        let (now, limits) = (self.now, self.settings.limits);
        ensure(request.scaling_type == "UNIFORM_SCALING", Kind::Validation, || {
            format!("ScalingType {} does not exist", request.scaling_type)
        })?;
        let target = usize::try_from(request.target_shard_count).unwrap_or(0);
        let stream = self.provisioned(&request)?;
        let present = stream.open.len();
        ensure(
            (1..=RESCALE_SHARDS_MAX).contains(&target),
            Kind::InvalidArgument,
            || format!("TargetShardCount must be 1 to {RESCALE_SHARDS_MAX}"),
        )?;
        ensure(
            target <= present * 2 && target * 2 >= present,
            Kind::InvalidArgument,
            || format!("TargetShardCount {target} must be between half of the {present} open shards and twice as many"),
        )?;
        stream.rescaled.retain(|at| at + 24 * HOUR > now);
        ensure(
            !limits || stream.rescaled.len() < RESCALES_MAX,
            Kind::LimitExceeded,
            || format!("the shard count was updated {RESCALES_MAX} times within 24 hours"),
        )?;
        let steps = uniform(stream, target);
        let (stream_name, stream_arn) = (stream.name.clone(), stream.arn.clone());
        self.has_room(target.saturating_sub(present))?;
        self.stream(&request)?.rescaled.push_back(now);
        self.begin(&request, steps)?;
        Ok(wire::ShardCount {
            stream_name,
            stream_arn,
            current_shard_count: present,
            target_shard_count: target,
        })
    }

    /// A stream whose shards its owner may change.
    fn provisioned(&mut self, request: &impl wire::OnStream) -> Result<&mut Stream> {
        let stream = self.active(request)?;
        ensure(!stream.on_demand, Kind::Validation, || {
            format!("the stream {} is on-demand and scales itself", stream.name)
        })?;
        Ok(stream)
    }

    fn begin(&mut self, request: &impl wire::OnStream, steps: Vec<Reshard>) -> Result<Nothing> {
        let (now, delay) = (self.now, millis(self.settings.reshard_delay));
        let stream = self.stream(request)?;
        stream.status = Status::Updating;
        stream.due = Some(Due {
            at: now + delay,
            change: Change::Reshard(steps),
        });
        // A delay of zero is done at once.
        stream.settle(now);
        Ok(Nothing {})
    }
}

fn open_shard<'a>(stream: &'a Stream, id: &str, now: u64) -> Result<&'a Shard> {
    let shard = stream.shard(id, now)?;
    ensure(shard.is_open(), Kind::InvalidArgument, || {
        format!("{id} was split or merged already")
    })?;
    Ok(shard)
}

/// The steps from the present open shards to `target` even ones: split wherever an even range begins inside of a shard,
/// then merge what lies within the same even range. A shard that begins almost where an even range does begins there, so
/// that ranges that were cut and cut again do not differ by slivers of a few keys.
fn uniform(stream: &Stream, target: usize) -> Vec<Reshard> {
    let starts = aligned(starts(target), stream);
    let mut next = u32::try_from(stream.shards.len()).expect("a stream has less than 2^32 shards");
    let mut steps = Vec::new();
    // The pieces in the order of their hash keys: first key and shard number.
    let mut pieces = Vec::new();
    for &number in stream.open.values() {
        let range = stream.shards[number as usize].range;
        let (mut first, mut shard) = (range.first, number);
        for &at in starts.iter().filter(|&&at| range.first < at && at <= range.last) {
            steps.push(Reshard::Split { shard, at });
            pieces.push((first, next));
            (first, shard) = (at, next + 1);
            next += 2;
        }
        pieces.push((first, shard));
    }
    let mut pieces = pieces.into_iter().peekable();
    for end in starts.iter().skip(1).map(|&start| Some(start)).chain([None]) {
        let inside = |&(first, _): &(u128, u32)| end.is_none_or(|end| first < end);
        let Some((_, mut lower)) = pieces.next_if(inside) else {
            continue;
        };
        while let Some((_, upper)) = pieces.next_if(inside) {
            steps.push(Reshard::Merge { lower, upper });
            (lower, next) = (next, next + 1);
        }
    }
    steps
}

/// Moves each start to the first key of an open shard that is next to it, if there is one.
fn aligned(starts: Vec<u128>, stream: &Stream) -> Vec<u128> {
    // Two starts are at least 2^128 / 10,000 keys apart, so that no two of them move to the same key.
    let near = u128::MAX / starts.len() as u128 / SLIVER;
    let align = |start: u128| {
        let around = start.saturating_sub(near)..=start.saturating_add(near);
        let closest = stream.open.range(around).map(|(&first, _)| first);
        closest.min_by_key(|first| first.abs_diff(start)).unwrap_or(start)
    };
    starts.into_iter().map(align).collect()
}
