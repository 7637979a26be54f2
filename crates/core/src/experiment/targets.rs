//! Which shards a step is about, as plan items of the status.

use std::collections::BTreeMap;

use super::spec::ShardSelect;
use super::status::{PlannedMerge, PlannedSplit};
use super::world::World;
use crate::id::ShardId;
use crate::split::{self, Error, Select};

pub(super) fn splits(world: &World, count: u32, select: &ShardSelect) -> Result<Vec<PlannedSplit>, Error> {
    let (select, named): (Select, &[ShardId]) = match select {
        ShardSelect::Widest => (Select::Widest, &[]),
        ShardSelect::Hottest => (Select::Hottest, &[]),
        ShardSelect::Oldest => (Select::Oldest, &[]),
        ShardSelect::Ids(ids) => (Select::ShardIds, ids),
    };
    let rates: BTreeMap<ShardId, f64> = world
        .rates
        .iter()
        .map(|rate| (rate.shard.clone(), rate.records_per_second))
        .collect();
    let splits = split::splits(&world.stream.shards, count as usize, select, &rates, named)?;
    let planned = |split: split::Split| PlannedSplit {
        shard: split.shard,
        at: split.at.to_string(),
        done: false,
    };
    Ok(splits.into_iter().map(planned).collect())
}

pub(super) fn merges(world: &World, count: u32) -> Result<Vec<PlannedMerge>, Error> {
    let planned = |merge: split::Merge| PlannedMerge {
        shard: merge.shard,
        adjacent: merge.adjacent,
        done: false,
    };
    Ok(split::merges(&world.stream.shards, count as usize)?
        .into_iter()
        .map(planned)
        .collect())
}
