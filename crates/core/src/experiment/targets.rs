//! Which shards a step is about.

use super::spec::ShardSelect;
use super::status::{PlannedMerge, PlannedSplit};
use super::world::{ShardRate, World};
use crate::id::ShardId;
use crate::shard_map::Shard;

pub(super) fn splits(world: &World, count: u32, select: &ShardSelect) -> Result<Vec<PlannedSplit>, String> {
    let mut open: Vec<&Shard> = world
        .stream
        .shards
        .iter()
        .filter(|shard| shard.open && shard.hash_range.width() > 0)
        .collect();
    let rate = |id: &ShardId| -> f64 {
        world
            .rates
            .iter()
            .find(|rate| rate.shard == *id)
            .map_or(0.0, |ShardRate { records_per_second, .. }| *records_per_second)
    };
    match select {
        ShardSelect::Widest => {
            open.sort_by(|a, b| b.hash_range.width().cmp(&a.hash_range.width()).then(a.id.cmp(&b.id)))
        }
        ShardSelect::Hottest => open.sort_by(|a, b| rate(&b.id).total_cmp(&rate(&a.id)).then(a.id.cmp(&b.id))),
        ShardSelect::Oldest => open.sort_by(|a, b| a.starts_at.cmp(&b.starts_at).then(a.id.cmp(&b.id))),
        ShardSelect::Ids(ids) => {
            if let Some(id) = ids.iter().find(|id| open.iter().all(|shard| shard.id != **id)) {
                return Err(format!("the stream has no open shard `{id}`"));
            }
            open.retain(|shard| ids.contains(&shard.id));
            open.sort_by(|a, b| a.id.cmp(&b.id));
        }
    }
    if open.len() < count as usize {
        return Err(format!(
            "{count} shards are to be split, and the stream has {} that can be",
            open.len()
        ));
    }
    open.truncate(count as usize);
    let middle = |shard: &Shard| shard.hash_range.start + shard.hash_range.width() / 2 + 1;
    Ok(open
        .into_iter()
        .map(|shard| PlannedSplit {
            shard: shard.id.clone(),
            at: middle(shard).to_string(),
            done: false,
        })
        .collect())
}

pub(super) fn merges(world: &World, count: u32) -> Result<Vec<PlannedMerge>, String> {
    let mut open: Vec<&Shard> = world.stream.shards.iter().filter(|shard| shard.open).collect();
    open.sort_by_key(|shard| shard.hash_range.start);
    let mut pairs: Vec<(u128, &Shard, &Shard)> = open
        .windows(2)
        .filter(|pair| pair[0].hash_range.end.checked_add(1) == Some(pair[1].hash_range.start))
        .map(|pair| {
            (
                pair[0].hash_range.width().saturating_add(pair[1].hash_range.width()),
                pair[0],
                pair[1],
            )
        })
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.id.cmp(&b.1.id)));
    let mut taken: Vec<PlannedMerge> = Vec::new();
    for (_, left, right) in pairs {
        let free = |id: &ShardId| taken.iter().all(|pair| pair.shard != *id && pair.adjacent != *id);
        if taken.len() < count as usize && free(&left.id) && free(&right.id) {
            taken.push(PlannedMerge {
                shard: left.id.clone(),
                adjacent: right.id.clone(),
                done: false,
            });
        }
    }
    if taken.len() < count as usize {
        return Err(format!(
            "{count} pairs of shards are to be merged, and the stream has {} adjacent pairs",
            taken.len()
        ));
    }
    Ok(taken)
}
