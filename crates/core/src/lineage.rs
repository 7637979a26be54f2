//! The family tree of a stream's shards: who came from whom, and whether all hash keys are covered.
//!
//! Retention removes closed shards from the listing, so a parent that is named and not listed is normal. Nothing here
//! concludes from one listing that a shard is gone.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{HashRange, ShardId};
use crate::shard_map::Shard;

/// One complete listing as a graph.
#[derive(Clone, Debug, Default)]
pub struct Lineage<'a> {
    shards: BTreeMap<&'a ShardId, &'a Shard>,
    children: BTreeMap<&'a ShardId, BTreeSet<&'a ShardId>>,
}

impl<'a> Lineage<'a> {
    /// The graph of a listing.
    pub fn of(listing: &'a [Shard]) -> Self {
        let mut lineage = Self::default();
        for shard in listing {
            lineage.shards.insert(&shard.id, shard);
            for parent in shard.parents() {
                lineage.children.entry(parent).or_default().insert(&shard.id);
            }
        }
        lineage
    }

    /// A listed shard.
    pub fn shard(&self, id: &ShardId) -> Option<&'a Shard> {
        self.shards.get(id).copied()
    }

    /// All listed shards in the order of their ids.
    pub fn shards(&self) -> impl Iterator<Item = &'a Shard> {
        self.shards.values().copied()
    }

    /// The shards that still take records.
    pub fn open(&self) -> impl Iterator<Item = &'a Shard> {
        self.shards().filter(|shard| shard.open)
    }

    /// The listed parents of a shard.
    pub fn parents(&self, id: &ShardId) -> Vec<&'a Shard> {
        let named = self.shard(id).into_iter().flat_map(Shard::parents);
        named.filter_map(|parent| self.shard(parent)).collect()
    }

    /// Parents that a shard names and the listing does not have: their records are older than the retention.
    pub fn trimmed_parents(&self, id: &ShardId) -> Vec<&'a ShardId> {
        let named = self.shard(id).into_iter().flat_map(Shard::parents);
        named.filter(|parent| self.shard(parent).is_none()).collect()
    }

    /// The listed children of a shard, which need not be listed itself.
    pub fn children(&self, id: &ShardId) -> impl Iterator<Item = &'a Shard> {
        let children = self.children.get(id).into_iter().flatten();
        children.filter_map(|child| self.shard(child))
    }

    /// The shards that are not done and whose listed parents all are, in the order of ids: what may be read when parents
    /// come before children. A parent that is not listed counts as done: its records are gone.
    pub fn due(&self, done: &BTreeSet<ShardId>) -> Vec<&'a Shard> {
        let ready = |shard: &&Shard| {
            !done.contains(&shard.id) && self.parents(&shard.id).iter().all(|parent| done.contains(&parent.id))
        };
        self.shards().filter(ready).collect()
    }

    /// Everything that came from a shard, in the order of ids.
    pub fn descendants(&self, id: &ShardId) -> BTreeSet<&'a ShardId> {
        self.closure(id, |at| self.children(at).map(|child| &child.id).collect())
    }

    /// Everything listed that a shard came from, in the order of ids.
    pub fn ancestors(&self, id: &ShardId) -> BTreeSet<&'a ShardId> {
        self.closure(id, |at| self.parents(at).into_iter().map(|parent| &parent.id).collect())
    }

    fn closure(&self, from: &ShardId, next: impl Fn(&ShardId) -> Vec<&'a ShardId>) -> BTreeSet<&'a ShardId> {
        let mut found = BTreeSet::new();
        let mut todo = next(from);
        while let Some(id) = todo.pop() {
            if found.insert(id) {
                todo.extend(next(id));
            }
        }
        found
    }

    /// Generation of every listed shard: 0 for one without a listed parent, else one more than its latest parent's. A
    /// shard of a listing that makes no sense, where parents are named in a circle, has none.
    pub fn generations(&self) -> BTreeMap<&'a ShardId, u32> {
        let mut generations = BTreeMap::new();
        let mut awaited: BTreeMap<&ShardId, usize> = BTreeMap::new();
        let mut todo: Vec<(&'a ShardId, u32)> = Vec::new();
        for shard in self.shards() {
            match self.parents(&shard.id).len() {
                0 => todo.push((&shard.id, 0)),
                parents => drop(awaited.insert(&shard.id, parents)),
            }
        }
        // One generation after the other, so that the parent that settles a child is its latest. Shards that name each
        // other in a circle are never reached.
        while !todo.is_empty() {
            let mut next = Vec::new();
            for (id, generation) in todo {
                generations.insert(id, generation);
                for child in self.children(id) {
                    let Some(left) = awaited.get_mut(&child.id) else {
                        continue;
                    };
                    *left -= 1;
                    if *left == 0 {
                        next.push((&child.id, generation + 1));
                    }
                }
            }
            todo = next;
        }
        generations
    }

    /// What is wrong with the hash keys of the open shards; nothing, for a listing made at a quiet moment.
    pub fn audit(&self) -> Vec<Flaw> {
        let mut open: Vec<&Shard> = self.open().collect();
        open.sort_by(|a, b| (a.hash_range, &a.id).cmp(&(b.hash_range, &b.id)));
        let mut flaws = Vec::new();
        let mut widest: Option<&Shard> = None;
        for shard in open {
            let range = shard.hash_range;
            match widest {
                None if range.start > 0 => flaws.push(hole(0, range.start - 1)),
                Some(before) if before.hash_range.end >= range.start => flaws.push(Flaw::Overlap {
                    a: before.id.clone(),
                    b: shard.id.clone(),
                }),
                Some(before) if range.start - before.hash_range.end > 1 => {
                    flaws.push(hole(before.hash_range.end + 1, range.start - 1));
                }
                _ => {}
            }
            if widest.is_none_or(|before| before.hash_range.end < range.end) {
                widest = Some(shard);
            }
        }
        match widest {
            None => flaws.push(Flaw::Hole(HashRange::FULL)),
            Some(last) if last.hash_range.end < u128::MAX => flaws.push(hole(last.hash_range.end + 1, u128::MAX)),
            Some(_) => {}
        }
        flaws
    }
}

fn hole(start: u128, end: u128) -> Flaw {
    Flaw::Hole(HashRange { start, end })
}

/// Something wrong with the hash keys of the open shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No open shard takes these keys.
    Hole(HashRange),
    /// Two open shards take the same keys.
    Overlap {
        /// The one that starts first.
        a: ShardId,
        /// The other one.
        b: ShardId,
    },
}
