//! What the times of the terms tell: when children started, and how long a shard stood unread.

use std::collections::{BTreeMap, BTreeSet};

use super::verdict::newest;
use super::{Term, TermEnd};
use crate::id::{Epoch, Incarnation, ShardId};

/// When a child shard was first read, and when its parents were finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildStart {
    /// When its first term began; `None`: nobody has read it yet.
    pub started_ms: Option<u64>,
    /// When the last of its parents was at its end; `None`: not all of them are.
    pub parents_ended_ms: Option<u64>,
}

impl ChildStart {
    /// Whether the child was read before all of its parents were finished.
    pub fn before_parent_end(&self) -> bool {
        match (self.started_ms, self.parents_ended_ms) {
            (Some(started), Some(ended)) => started < ended,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// How long after `since_ms` (the split or merge) the child was first read; zero when its clock was behind.
    pub fn delay_ms(&self, since_ms: u64) -> Option<u64> {
        self.started_ms.map(|started| started.saturating_sub(since_ms))
    }
}

/// For each child in `lineage` (child -> its parents), when it was first read. A shard without parents is left out.
pub fn child_starts(lineage: &BTreeMap<ShardId, BTreeSet<ShardId>>, terms: &[Term]) -> BTreeMap<ShardId, ChildStart> {
    let mut started: BTreeMap<&ShardId, u64> = BTreeMap::new();
    let mut ended: BTreeMap<&ShardId, u64> = BTreeMap::new();
    for term in newest(terms).into_values() {
        let first = started.entry(&term.shard).or_insert(term.started_ms);
        *first = (*first).min(term.started_ms);
        if let Some((at, TermEnd::ShardEnd)) = term.end {
            let end = ended.entry(&term.shard).or_insert(at);
            *end = (*end).min(at);
        }
    }
    lineage
        .iter()
        .filter(|(_, parents)| !parents.is_empty())
        .map(|(child, parents)| {
            let ends: Option<Vec<u64>> = parents.iter().map(|parent| ended.get(parent).copied()).collect();
            let start = ChildStart {
                started_ms: started.get(child).copied(),
                parents_ended_ms: ends.and_then(|ends| ends.into_iter().max()),
            };
            (child.clone(), start)
        })
        .collect()
}

/// A time in which nobody read a shard: from the end of one term to the start of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The term that began then.
    pub epoch: Epoch,
    /// When the term before it ended.
    pub from_ms: u64,
    /// When the term began.
    pub to_ms: u64,
}

impl Gap {
    /// Its length; zero when the terms follow each other at once, or two clocks differ.
    pub fn millis(&self) -> u64 {
        self.to_ms.saturating_sub(self.from_ms)
    }
}

/// The gaps between consecutive terms of each shard, in the order of their epochs.
///
/// A term that never said its end (its process was killed) counts until `deaths` says that the process ended, else
/// until its row was last written, which is too early rather than too late.
pub fn unread_gaps(terms: &[Term], deaths: &BTreeMap<Incarnation, u64>) -> BTreeMap<ShardId, Vec<Gap>> {
    let mut gaps: BTreeMap<ShardId, Vec<Gap>> = BTreeMap::new();
    let mut before: Option<&Term> = None;
    for term in newest(terms).into_values() {
        if let Some(last) = before.filter(|last| last.shard == term.shard) {
            let died = deaths.get(&last.incarnation).copied();
            gaps.entry(term.shard.clone()).or_default().push(Gap {
                epoch: term.epoch,
                from_ms: last.end.map(|(at, _)| at).or(died).unwrap_or(last.seen_ms),
                to_ms: term.started_ms,
            });
        }
        before = Some(term);
    }
    gaps
}

/// How long each shard stood unread in all, in seconds. Shards with one term only are left out.
pub fn unread_seconds(terms: &[Term], deaths: &BTreeMap<Incarnation, u64>) -> BTreeMap<ShardId, f64> {
    unread_gaps(terms, deaths)
        .into_iter()
        .map(|(shard, gaps)| (shard, gaps.iter().map(Gap::millis).sum::<u64>() as f64 / 1_000.0))
        .collect()
}
