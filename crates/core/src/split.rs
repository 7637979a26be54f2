//! Which shards to split and where, which pairs to merge, and how far the number of shards may change in one call.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{HashRange, ShardId};
use crate::shard_map::Shard;

/// The most open shards that UpdateShardCount goes to.
pub const SHARDS_MAX: u32 = 10_000;

/// Which shards to split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// Those with the most hash keys.
    #[default]
    Widest,
    /// Those with the highest rates; a shard without a known rate counts as 0.
    Hottest,
    /// Those that were opened first.
    Oldest,
    /// Those that are named.
    ShardIds,
}

/// A split to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The shard.
    pub shard: ShardId,
    /// Its hash keys as they are; the call is right only as long as they are these.
    pub range: HashRange,
    /// `NewStartingHashKey`: where the second child starts, strictly inside the range.
    pub at: u128,
}

/// A merge to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// `ShardToMerge`: the one with the lower hash keys.
    pub shard: ShardId,
    /// `AdjacentShardToMerge`: the one with the next higher hash keys.
    pub adjacent: ShardId,
    /// The hash keys of both.
    pub range: HashRange,
}

/// Why it cannot be done; nothing of it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not enough shards.
    #[error(
        "a split of {asked} shards was asked for but only {open} are open{}: lower the count, or split twice",
        unsplittable(*.narrow)
    )]
    TooFewToSplit {
        /// Asked for.
        asked: usize,
        /// Open shards.
        open: usize,
        /// Those of them that have one hash key only.
        narrow: usize,
    },
    /// Not enough pairs.
    #[error("{}", too_few_to_merge(*.asked, *.open, *.pairs))]
    TooFewToMerge {
        /// Asked for.
        asked: usize,
        /// Open shards.
        open: usize,
        /// Pairs found.
        pairs: usize,
    },
    /// A named shard is not there.
    #[error("shard {shard} is not in the stream: name one of its {open} open shards")]
    Unknown {
        /// The name.
        shard: ShardId,
        /// Open shards.
        open: usize,
    },
    /// A named shard is closed.
    #[error("shard {shard} is closed, it was split or merged before: name one of the {open} open shards")]
    Closed {
        /// The name.
        shard: ShardId,
        /// Open shards.
        open: usize,
    },
    /// A named shard has one hash key.
    #[error("shard {shard} has a single hash key and cannot be split: leave it out")]
    OneKey {
        /// The name.
        shard: ShardId,
    },
    /// A shard is named twice.
    #[error("shard {shard} is named twice: name it once")]
    NamedTwice {
        /// The name.
        shard: ShardId,
    },
    /// The names and the count differ.
    #[error("{count} shards are to be split and {named} are named: make both the same")]
    CountDiffers {
        /// Asked for.
        count: usize,
        /// Named.
        named: usize,
    },
    /// UpdateShardCount does not go there in one call.
    #[error(
        "the stream has {open} open shards and UpdateShardCount goes to {low} to {high} from there in one call, not to \
         {target}: choose a number between, or go there in several steps"
    )]
    CountOutOfReach {
        /// Asked for.
        target: u32,
        /// Open shards.
        open: u32,
        /// The least it goes to.
        low: u32,
        /// The most it goes to.
        high: u32,
    },
}

fn too_few_to_merge(asked: usize, open: usize, pairs: usize) -> String {
    let wanted = match asked {
        1 => "1 merge was".to_owned(),
        more => format!("{more} merges were"),
    };
    let there = match (open, pairs) {
        (1, _) => return format!("{wanted} asked for but the one open shard has no neighbor to merge with"),
        (open, 0) => return format!("{wanted} asked for but no two of the {open} open shards are neighbors"),
        (open, 1) => format!("{open} open shards have only 1 separate pair"),
        (open, pairs) => format!("{open} open shards have only {pairs} separate pairs"),
    };
    format!("{wanted} asked for but the {there} of neighbors: lower the count, or merge twice")
}

fn unsplittable(narrow: usize) -> String {
    match narrow {
        0 => String::new(),
        narrow => format!(", and {narrow} of them have a single hash key"),
    }
}

/// The middle of a range: where the second child starts. `None`: a single hash key cannot be split.
pub fn midpoint(range: HashRange) -> Option<u128> {
    (range.width() > 0).then(|| range.start + range.width() / 2 + 1)
}

/// The splits of `count` open shards, each in its middle, in the order in which to make them.
///
/// Ties go to the lower hash key, then the id. `rates` is read by [`Select::Hottest`], `named` by [`Select::ShardIds`].
///
/// # Errors
/// When not all of the splits can be made; the text names how many there are and the next step.
pub fn splits(
    listing: &[Shard],
    count: usize,
    select: Select,
    rates: &BTreeMap<ShardId, f64>,
    named: &[ShardId],
) -> Result<Vec<Split>, Error> {
    let open: Vec<&Shard> = listing.iter().filter(|shard| shard.open).collect();
    if select == Select::ShardIds {
        return named_splits(listing, open.len(), count, named);
    }
    let mut chosen: Vec<Split> = open.iter().filter_map(|shard| split(shard)).collect();
    if chosen.len() < count {
        return Err(Error::TooFewToSplit {
            asked: count,
            open: open.len(),
            narrow: open.len() - chosen.len(),
        });
    }
    chosen.sort_by(|a, b| (a.range, &a.shard).cmp(&(b.range, &b.shard)));
    match select {
        Select::Widest => chosen.sort_by_key(|split| Reverse(split.range.width())),
        Select::Hottest => {
            let rate = |split: &Split| rates.get(&split.shard).copied().unwrap_or(0.0);
            chosen.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
        }
        Select::Oldest => {
            let opened: BTreeMap<_, _> = open.iter().map(|shard| (&shard.id, &shard.starts_at)).collect();
            chosen.sort_by(|a, b| opened.get(&a.shard).cmp(&opened.get(&b.shard)));
        }
        Select::ShardIds => {}
    }
    chosen.truncate(count);
    Ok(chosen)
}

fn split(shard: &Shard) -> Option<Split> {
    midpoint(shard.hash_range).map(|at| Split {
        shard: shard.id.clone(),
        range: shard.hash_range,
        at,
    })
}

fn named_splits(listing: &[Shard], open: usize, count: usize, named: &[ShardId]) -> Result<Vec<Split>, Error> {
    if named.len() != count {
        return Err(Error::CountDiffers {
            count,
            named: named.len(),
        });
    }
    let by_id: BTreeMap<&ShardId, &Shard> = listing.iter().map(|shard| (&shard.id, shard)).collect();
    let mut seen = BTreeSet::new();
    let one = |id: &ShardId| {
        let shard = id.clone();
        match by_id.get(id) {
            None => Err(Error::Unknown { shard, open }),
            Some(found) if !found.open => Err(Error::Closed { shard, open }),
            Some(found) => split(found).ok_or(Error::OneKey { shard }),
        }
    };
    let mut once = |id| {
        if seen.insert(id) {
            one(id)
        } else {
            Err(Error::NamedTwice { shard: id.clone() })
        }
    };
    named.iter().map(&mut once).collect()
}

/// `count` merges of neighbors, no shard in two of them, the narrowest results first (ties: the lower hash keys).
///
/// When the narrowest pairs stand so that too few remain, pairs are taken along the hash keys instead, so that every
/// number of merges that is possible is found.
///
/// # Errors
/// When there are not so many pairs.
pub fn merges(listing: &[Shard], count: usize) -> Result<Vec<Merge>, Error> {
    let mut open: Vec<&Shard> = listing.iter().filter(|shard| shard.open).collect();
    open.sort_by(|a, b| (a.hash_range, &a.id).cmp(&(b.hash_range, &b.id)));
    let pairs: Vec<Merge> = open.windows(2).filter_map(|two| merge(two[0], two[1])).collect();

    let along = disjoint(&pairs);
    if along.len() < count {
        return Err(Error::TooFewToMerge {
            asked: count,
            open: open.len(),
            pairs: along.len(),
        });
    }
    let mut narrowest_first = pairs;
    narrowest_first.sort_by_key(|merge| merge.range.width());
    let mut chosen = disjoint(&narrowest_first);
    if chosen.len() < count {
        chosen = along;
        chosen.sort_by_key(|merge| merge.range.width());
    }
    chosen.truncate(count);
    Ok(chosen)
}

fn merge(low: &Shard, high: &Shard) -> Option<Merge> {
    let adjacent = low.hash_range.end.checked_add(1) == Some(high.hash_range.start);
    adjacent.then(|| Merge {
        shard: low.id.clone(),
        adjacent: high.id.clone(),
        range: HashRange {
            start: low.hash_range.start,
            end: high.hash_range.end,
        },
    })
}

/// Each pair that has no shard in common with an earlier one.
fn disjoint(pairs: &[Merge]) -> Vec<Merge> {
    let mut used = BTreeSet::new();
    let free = pairs.iter().filter(|merge| {
        let free = !used.contains(&merge.shard) && !used.contains(&merge.adjacent);
        if free {
            used.extend([&merge.shard, &merge.adjacent]);
        }
        free
    });
    free.cloned().collect()
}

/// Whether one UpdateShardCount (`UNIFORM_SCALING`) can go from `open` shards to `target`: at most twice as many, at least
/// half as many, at most [`SHARDS_MAX`].
///
/// # Errors
/// When it cannot, with the bounds.
pub fn check_shard_count(open: u32, target: u32) -> Result<(), Error> {
    let low = open.div_ceil(2).max(1);
    let high = open.saturating_mul(2).min(SHARDS_MAX);
    if (low..=high).contains(&target) {
        return Ok(());
    }
    Err(Error::CountOutOfReach {
        target,
        open,
        low,
        high,
    })
}
