//! Which lease rows a stream needs: rows to make for shards that appeared, rows to remove for shards that are done.
//!
//! # Expected flow
//! Any worker lists the shards, reads the rows, carries out [`sync`]'s creates **one after the other in their order**
//! (a create that is refused because the row exists counts as made; after any other failure the rest is left to the next
//! round), then the deletes. Any number of workers may do so at once.
//!
//! # Guarantees
//! No shard is passed over, whatever of this is interrupted, and none is read again by one syncer at a time. It rests on
//! one invariant, kept by the order: *a row is made only when every ancestor that is still to be read has one*. So a
//! shard without a row that has a descendant with one is finished, and its row was removed.
//!
//! # Caveats
//! A create that was decided from old rows can bring back a row that was finished and removed in the meantime; the shard
//! is then read a second time. So carry a plan out at once or drop it.
//!
//! # Rules
//! - A shard whose hash keys no row covers was never looked at: it begins at the initial position. With `Latest` that
//!   means the open shards only; otherwise every listed one. (The Java library begins there as well.)
//! - Any other shard came out of shards that are being read: it begins at the oldest record, always, also when retention
//!   has removed the parents in between.
//! - Nothing is "gone" because one listing lacks it: a parent that is named, not listed and has no row makes its child
//!   wait until an earlier complete listing lacked it too.
//! - A finished row goes when the rows of all children exist, or existed. An unfinished one never goes: in both orders of
//!   parents and children the parent's row stays until its end.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, HashRange, ShardId};
use crate::lease::{Checkpoint, Lease, LeaseWrite};
use crate::lineage::Lineage;
use crate::shard_map::Shard;

/// When the records of a child are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChildOrder {
    /// At once, side by side with its parents (`processParentShardBeforeChildren: false`).
    #[default]
    Immediate,
    /// When all of its parents are read to their ends (`processParentShardBeforeChildren: true`).
    AfterParents,
}

/// Where an application begins that has never read the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitialPosition {
    /// At the oldest record.
    #[default]
    TrimHorizon,
    /// Behind the newest record.
    Latest,
    /// At the time that the application is configured with.
    AtTimestamp,
}

impl InitialPosition {
    /// The checkpoint of a row that begins there.
    pub fn checkpoint(self) -> Checkpoint {
        match self {
            Self::TrimHorizon => Checkpoint::TrimHorizon,
            Self::Latest => Checkpoint::Latest,
            Self::AtTimestamp => Checkpoint::AtTimestamp,
        }
    }
}

/// The leases that somebody should have: not finished, and with [`ChildOrder::AfterParents`] not blocked.
///
/// A child is blocked by a parent whose row is there and not finished. A parent without a row is done: finished and
/// removed, trimmed by retention, or from before the application's time; the order of creates sees to it.
pub fn runnable<'a>(
    leases: impl IntoIterator<Item = &'a Lease, IntoIter: Clone>,
    order: ChildOrder,
) -> BTreeSet<ShardId> {
    let leases = leases.into_iter();
    let unfinished: BTreeSet<&ShardId> = leases
        .clone()
        .filter(|row| !row.finished())
        .map(|row| &row.key)
        .collect();
    leases
        .filter(|row| unfinished.contains(&row.key))
        .filter(|row| order == ChildOrder::Immediate || row.parents.iter().all(|parent| !unfinished.contains(parent)))
        .map(|row| row.key.clone())
        .collect()
}

/// What to do to the lease table, and what to remember until the next listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncPlan {
    /// [`LeaseWrite::Create`]s: carry them out in this order, each after the one before has succeeded.
    pub creates: Vec<LeaseWrite>,
    /// [`LeaseWrite::Delete`]s, in any order, after the creates.
    pub deletes: Vec<LeaseWrite>,
    /// Shards that get no row yet, because a parent might still appear in the listing.
    pub waiting: BTreeSet<ShardId>,
    /// Shards that rows or other shards name and this listing lacks. Pass it in with the next one.
    pub missing: BTreeSet<ShardId>,
    /// Unfinished rows whose shard two complete listings lack: retention has removed its last records. Whoever has the
    /// lease ends it, and reports the gap.
    pub trimmed: BTreeSet<ShardId>,
}

/// The writes that bring the rows in line with one complete listing.
///
/// `missing_before` is what an earlier complete listing lacked ([`SyncPlan::missing`]); `first_epoch` goes into the new
/// rows. An empty listing changes nothing: a stream always has shards.
pub fn sync(
    rows: &[Lease],
    listing: &[Shard],
    initial: InitialPosition,
    missing_before: &BTreeSet<ShardId>,
    first_epoch: Epoch,
) -> SyncPlan {
    if listing.is_empty() {
        return SyncPlan::default();
    }
    let table = Table::of(rows, listing);
    let mut plan = SyncPlan {
        missing: table.missing(),
        ..SyncPlan::default()
    };
    let missing_twice: BTreeSet<ShardId> = plan.missing.intersection(missing_before).cloned().collect();

    // What need not be waited for: it has a row, or needs none.
    let mut settled: BTreeSet<&ShardId> = missing_twice.iter().collect();
    for shard in table
        .eldest_first()
        .into_iter()
        .filter(|shard| !table.has_row_or_had(&shard.id))
    {
        let untouched = table.holding(shard.hash_range).next().is_none();
        let newest_only = untouched && initial == InitialPosition::Latest;
        if newest_only && !shard.open {
            settled.insert(&shard.id);
            continue;
        }
        let has_all_parents = shard
            .parents()
            .all(|parent| settled.contains(parent) || table.has_row_or_had(parent));
        let is_new = untouched || table.is_younger(shard, &missing_twice);
        let is_due = newest_only || (has_all_parents && is_new);
        if !is_due {
            plan.waiting.insert(shard.id.clone());
            continue;
        }
        let checkpoint = if untouched {
            initial.checkpoint()
        } else {
            Checkpoint::TrimHorizon
        };
        plan.creates.push(create(shard, checkpoint, first_epoch));
        settled.insert(&shard.id);
    }
    for row in rows {
        if row.finished() && table.is_superseded(row, &missing_twice) {
            plan.deletes.push(LeaseWrite::Delete {
                key: row.key.clone(),
                epoch: row.epoch,
            });
        }
    }
    let trimmed = rows
        .iter()
        .filter(|row| !row.finished() && missing_twice.contains(&row.key));
    plan.trimmed = trimmed.map(|row| row.key.clone()).collect();
    plan
}

fn create(shard: &Shard, checkpoint: Checkpoint, first_epoch: Epoch) -> LeaseWrite {
    LeaseWrite::Create(Box::new(Lease {
        parents: shard.parents().cloned().collect(),
        hash_range: Some(shard.hash_range),
        ..Lease::unowned(shard.id.clone(), checkpoint, first_epoch)
    }))
}

/// The rows beside the listing.
struct Table<'a> {
    rows: BTreeMap<&'a ShardId, &'a Lease>,
    lineage: Lineage<'a>,
    /// Shards with a row, and all that these came from.
    touched: BTreeSet<&'a ShardId>,
    /// The rows by their first hash keys, and the last hash key of any row up to there.
    by_start: Vec<(HashRange, &'a ShardId, u128)>,
}

impl<'a> Table<'a> {
    fn of(rows: &'a [Lease], listing: &'a [Shard]) -> Self {
        let lineage = Lineage::of(listing);
        let mut touched = BTreeSet::new();
        let mut todo: Vec<&ShardId> = rows
            .iter()
            .flat_map(|row| row.parents.iter().chain([&row.key]))
            .collect();
        while let Some(id) = todo.pop() {
            if touched.insert(id) {
                todo.extend(lineage.shard(id).into_iter().flat_map(Shard::parents));
            }
        }
        let mut table = Self {
            rows: rows.iter().map(|row| (&row.key, row)).collect(),
            lineage,
            touched,
            by_start: Vec::new(),
        };
        // A row of unknown range is taken for one of every key, so that nothing is passed over.
        let ranges = rows
            .iter()
            .map(|row| (table.range_of(row).unwrap_or(HashRange::FULL), &row.key, 0));
        table.by_start = ranges.collect();
        table.by_start.sort_unstable();
        let mut reach = 0;
        for (range, _, last) in &mut table.by_start {
            reach = range.end.max(reach);
            *last = reach;
        }
        table
    }

    /// Whether the shard has a row, or a descendant of it has one, so that its own is no longer needed.
    fn has_row_or_had(&self, id: &ShardId) -> bool {
        self.touched.contains(id)
    }

    /// Listed shards, each after all of its listed parents.
    fn eldest_first(&self) -> Vec<&'a Shard> {
        let generations = self.lineage.generations();
        let mut shards: Vec<&Shard> = self.lineage.shards().collect();
        shards.sort_by_key(|shard| (generations.get(&shard.id).copied().unwrap_or(u32::MAX), &shard.id));
        shards
    }

    fn missing(&self) -> BTreeSet<ShardId> {
        let named_by_shards = self.lineage.shards().flat_map(Shard::parents);
        let named = self.rows.keys().copied().chain(named_by_shards);
        named.filter(|id| self.lineage.shard(id).is_none()).cloned().collect()
    }

    fn range_of(&self, row: &Lease) -> Option<HashRange> {
        let listed = self.lineage.shard(&row.key).map(|shard| shard.hash_range);
        row.hash_range.or(listed)
    }

    /// The rows that have any of these hash keys.
    fn holding(&self, range: HashRange) -> impl Iterator<Item = &'a ShardId> {
        let behind = self.by_start.partition_point(|(row, _, _)| row.start <= range.end);
        let before = self.by_start[..behind].iter().rev();
        let reaching = before.take_while(move |(_, _, reach)| *reach >= range.start);
        reaching
            .filter(move |(row, _, _)| row.end >= range.start)
            .map(|(_, key, _)| *key)
    }

    /// Whether the shard came out of the shards whose rows have its hash keys, and not they out of it.
    ///
    /// Each of them must be an ancestor by the listing, or trimmed, so that the way to it may be cut off. Otherwise the
    /// listing is older than the rows: the shard is done, or the next listing will tell.
    fn is_younger(&self, shard: &Shard, missing_twice: &BTreeSet<ShardId>) -> bool {
        let mut ancestors: BTreeSet<&ShardId> = BTreeSet::new();
        let mut todo: Vec<&ShardId> = shard.parents().collect();
        while let Some(id) = todo.pop() {
            if ancestors.insert(id) {
                todo.extend(self.lineage.shard(id).into_iter().flat_map(Shard::parents));
            }
        }
        let known = |key: &ShardId| ancestors.contains(key) || missing_twice.contains(key);
        shard.parent.is_some() && self.holding(shard.hash_range).all(known)
    }

    /// Whether the finished row is not needed any more: every child has a row or had one, and the rows that came out of
    /// it hold all of its hash keys (so no child is overlooked that the listing does not show yet).
    fn is_superseded(&self, row: &Lease, missing_twice: &BTreeSet<ShardId>) -> bool {
        let listed = self.lineage.children(&row.key).map(|child| &child.id);
        let children: BTreeSet<&ShardId> = listed.chain(&row.children).collect();
        if missing_twice.contains(&row.key) {
            // Retention has begun to cut the way to its descendants; what it knows of itself is enough.
            return self.cover(row, self.rows.keys().copied().filter(|key| **key != row.key));
        }
        let descendants = self.lineage.descendants(&row.key).into_iter().chain(children.clone());
        !children.is_empty() && children.iter().all(|child| self.has_row_or_had(child)) && self.cover(row, descendants)
    }

    /// Whether the rows of these shards hold every hash key of the row.
    fn cover<'b>(&self, row: &Lease, shards: impl Iterator<Item = &'b ShardId>) -> bool {
        let Some(whole) = self.range_of(row) else { return true };
        let ranges = shards
            .filter_map(|id| self.rows.get(id))
            .filter_map(|row| self.range_of(row));
        let covered = union(ranges.collect());
        covered
            .iter()
            .any(|range| range.start <= whole.start && whole.end <= range.end)
    }
}

/// The same hash keys as ranges that neither overlap nor touch, in their order.
fn union(mut ranges: Vec<HashRange>) -> Vec<HashRange> {
    ranges.sort_unstable();
    let mut union: Vec<HashRange> = Vec::new();
    for range in ranges {
        match union.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(1) => last.end = last.end.max(range.end),
            _ => union.push(range),
        }
    }
    union
}
