//! Numbers drawn from what is seen: leases per worker, the stream's shards, gaps in reading, moves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::status::{LeaseSummary, StreamSummary};
use super::timestamp::Timestamp;
use super::world::{StreamStatus, World};
use crate::id::{ShardId, WorkerId};
use crate::lease::Lease;
use crate::sync::{self, ChildOrder};

/// Who has how many runnable leases.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Census {
    /// Live workers, those with no lease included.
    pub(super) by_live_worker: BTreeMap<WorkerId, u32>,
    /// Rows of the table.
    pub(super) rows: u32,
    /// Runnable leases.
    pub(super) active: u32,
    /// Runnable leases of which a hand-off runs.
    pub(super) pending: u32,
}

impl Census {
    pub(super) fn of(world: &World, children_wait: bool) -> Self {
        let mut census = Self {
            by_live_worker: world
                .workers
                .iter()
                .filter(|worker| worker.live)
                .map(|w| (w.id.clone(), 0))
                .collect(),
            rows: clip(world.leases.len()),
            ..Self::default()
        };
        for lease in runnable(world, children_wait) {
            census.active += 1;
            census.pending += u32::from(lease.handoff_pending());
            if let Some(count) = lease
                .present_owner()
                .and_then(|owner| census.by_live_worker.get_mut(owner))
            {
                *count += 1;
            }
        }
        census
    }

    pub(super) fn assigned(&self) -> u32 {
        self.by_live_worker.values().sum()
    }

    pub(super) fn unassigned(&self) -> u32 {
        self.active - self.assigned()
    }

    pub(super) fn min(&self) -> u32 {
        self.by_live_worker.values().copied().min().unwrap_or(0)
    }

    pub(super) fn max(&self) -> u32 {
        self.by_live_worker.values().copied().max().unwrap_or(0)
    }

    pub(super) fn imbalance(&self) -> u32 {
        self.max() - self.min()
    }

    pub(super) fn mean(&self) -> f64 {
        let workers = self.by_live_worker.len();
        if workers == 0 {
            0.0
        } else {
            f64::from(self.assigned()) / workers as f64
        }
    }

    /// Standard deviation of the whole population over its mean.
    pub(super) fn cv(&self) -> f64 {
        let mean = self.mean();
        if mean == 0.0 {
            return 0.0;
        }
        let squares: f64 = self
            .by_live_worker
            .values()
            .map(|&count| (f64::from(count) - mean).powi(2))
            .sum();
        (squares / self.by_live_worker.len() as f64).sqrt() / mean
    }

    pub(super) fn summary(&self) -> LeaseSummary {
        LeaseSummary {
            total: self.rows,
            active: self.active,
            assigned: self.assigned(),
            unassigned: self.unassigned(),
            imbalance: self.imbalance(),
            cv: format!("{:.3}", self.cv()),
            by_worker: self.by_live_worker.clone(),
        }
    }
}

/// The leases that count as load.
pub(super) fn runnable(world: &World, children_wait: bool) -> impl Iterator<Item = &Lease> {
    let order = if children_wait {
        ChildOrder::AfterParents
    } else {
        ChildOrder::Immediate
    };
    let keys = sync::runnable(&world.leases, order);
    world.leases.iter().filter(move |lease| keys.contains(&lease.key))
}

pub(super) fn stream_summary(world: &World) -> StreamSummary {
    let total = clip(world.stream.shards.len());
    let open = clip(world.stream.shards.iter().filter(|shard| shard.open).count());
    StreamSummary {
        status: world.stream.status.as_str().to_owned(),
        total,
        open,
        closed: total - open,
        newest_shard: world.stream.shards.iter().map(|shard| &shard.id).max().cloned(),
    }
}

pub(super) fn active(world: &World) -> bool {
    world.stream.status == StreamStatus::Active
}

/// The longest time that a shard was read by nobody, of those that end after `from`.
pub(super) fn unread_max(world: &World, from: Option<Timestamp>, now: Timestamp) -> f64 {
    let from = from.unwrap_or_default();
    let lasting = world.unread.iter().map(|gap| (gap.from, gap.until.unwrap_or(now)));
    lasting
        .filter(|(_, until)| *until >= from)
        .map(|(begun, until)| seconds(until.since(begun)))
        .fold(0.0, f64::max)
}

/// Changes from one owner to another since `from`, and the fewest that could have dealt the leases out evenly.
///
/// Who had which of today's leases at that time is found by taking the moves back. Leases that have ended since then
/// need no move and count for nothing.
pub(super) fn moves_since(world: &World, census: &Census, children_wait: bool, from: Timestamp) -> (u32, u32) {
    let since = || world.moves.iter().filter(|change| change.at >= from);
    let moved = since()
        .filter(|change| change.from.is_some() && change.to.is_some() && change.from != change.to)
        .count();
    let mut first_owner: BTreeMap<&ShardId, Option<&WorkerId>> = BTreeMap::new();
    for change in since() {
        first_owner.entry(&change.lease).or_insert(change.from.as_ref());
    }
    let mut had: BTreeMap<&WorkerId, u32> = census.by_live_worker.keys().map(|worker| (worker, 0)).collect();
    for lease in runnable(world, children_wait) {
        let owner = first_owner
            .get(&lease.key)
            .copied()
            .unwrap_or_else(|| lease.present_owner());
        if let Some(owner) = owner {
            *had.entry(owner).or_default() += 1;
        }
    }
    (clip(moved), fewest_moves(&had, census))
}

/// What every worker had above its share; the larger shares go to those that had most. The dead have no share.
fn fewest_moves(had: &BTreeMap<&WorkerId, u32>, census: &Census) -> u32 {
    let workers = clip(census.by_live_worker.len());
    if workers == 0 {
        return 0;
    }
    let (share, larger) = (census.active / workers, census.active % workers);
    let (live, dead): (Vec<_>, Vec<_>) = had
        .iter()
        .partition(|(worker, _)| census.by_live_worker.contains_key(**worker));
    let mut live: Vec<u32> = live.into_iter().map(|(_, count)| *count).collect();
    live.sort_unstable_by(|a, b| b.cmp(a));
    let surplus = |(at, have): (usize, u32)| have.saturating_sub(share + u32::from(clip(at) < larger));
    live.into_iter().enumerate().map(surplus).sum::<u32>() + dead.into_iter().map(|(_, count)| count).sum::<u32>()
}

pub(super) fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

pub(super) fn clip(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
