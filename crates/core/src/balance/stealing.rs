//! The strategy `Stealing`: a worker that has too little takes one lease from the fullest, again and again.
//!
//! Kept beside the plan so that an experiment can compare them. From 10/10/10/0/0 it needs six intervals to 6 each,
//! where the plan needs one round.

use std::collections::BTreeMap;

use super::hash::stable_hash;
use super::plan::Move;
use super::quota::Policy;
use super::view::View;
use crate::id::WorkerId;

/// The orphans that shall come to `me`; a worker looks at every poll. They go one by one to the worker with the fewest
/// leases that has room under its cap (ties by name); when nobody has room they wait.
pub fn adopt(view: &View, policy: &Policy, me: &WorkerId) -> Vec<Move> {
    let mut fleet = Fleet::of(view, policy);
    let mut orphans: Vec<_> = view
        .leases
        .iter()
        .filter(|lease| fleet.owner_of(lease.owner.as_ref()).is_none())
        .collect();
    orphans.sort_by(|a, b| a.key.cmp(&b.key));
    let mut mine = Vec::new();
    for orphan in orphans {
        let Some(to) = fleet.emptiest_with_room() else { break };
        fleet.add(&to);
        if to == *me {
            mine.push(Move {
                key: orphan.key.clone(),
                from: None,
                to: Some(to),
            });
        }
    }
    mine
}

/// The one lease that `me` steals now; a worker asks once in each of its intervals.
///
/// Whoever has at least two leases fewer than the fullest worker is a thief. All thieves of the view are served in the
/// order of their counts, then names, each from whoever is then the fullest, so that two thieves with the same view do
/// not reach for the same lease and nobody is robbed below its fair share. While there are orphans nobody steals.
pub fn steal(view: &View, policy: &Policy, me: &WorkerId) -> Option<Move> {
    let mut fleet = Fleet::of(view, policy);
    if view
        .leases
        .iter()
        .any(|lease| fleet.owner_of(lease.owner.as_ref()).is_none())
    {
        return None;
    }
    let mut taken: BTreeMap<WorkerId, usize> = BTreeMap::new();
    for thief in fleet.by_count() {
        let victim = fleet.fullest()?;
        if !fleet.has_room(&thief) || fleet.count[&victim] < fleet.count[&thief] + 2 {
            if thief == *me {
                return None;
            }
            continue;
        }
        let nth = taken.entry(victim.clone()).or_default();
        if thief == *me {
            return nth_lease_of(view, &victim, *nth).map(|key| Move {
                key,
                from: Some(victim),
                to: Some(thief),
            });
        }
        *nth += 1;
        fleet.give(&victim, &thief);
    }
    None
}

/// The nth lease of a worker that no hand-off is under way for, in the order of hashes.
fn nth_lease_of(view: &View, owner: &WorkerId, nth: usize) -> Option<crate::id::ShardId> {
    let mut leases: Vec<_> = view
        .leases
        .iter()
        .filter(|lease| lease.owner.as_ref() == Some(owner) && !lease.pending)
        .collect();
    leases.sort_by_cached_key(|lease| (stable_hash(&[owner.as_str(), lease.key.as_str()]), lease.key.clone()));
    leases.get(nth).map(|lease| lease.key.clone())
}

/// How many leases each worker has, and how many it may have.
struct Fleet {
    count: BTreeMap<WorkerId, usize>,
    cap: BTreeMap<WorkerId, usize>,
}

impl Fleet {
    fn of(view: &View, policy: &Policy) -> Self {
        let mut count: BTreeMap<_, _> = view.workers.iter().map(|worker| (worker.id.clone(), 0)).collect();
        for owner in view.leases.iter().filter_map(|lease| lease.owner.as_ref()) {
            if let Some(count) = count.get_mut(owner) {
                *count += 1;
            }
        }
        let cap = view
            .workers
            .iter()
            .map(|worker| (worker.id.clone(), policy.cap_of(worker) as usize))
            .collect();
        Self { count, cap }
    }

    fn owner_of<'a>(&self, name: Option<&'a WorkerId>) -> Option<&'a WorkerId> {
        name.filter(|name| self.count.contains_key(*name))
    }

    fn has_room(&self, worker: &WorkerId) -> bool {
        self.count[worker] < self.cap[worker]
    }

    fn emptiest_with_room(&self) -> Option<WorkerId> {
        let roomy = self.count.iter().filter(|(worker, _)| self.has_room(worker));
        roomy
            .min_by_key(|(worker, count)| (**count, *worker))
            .map(|(worker, _)| worker.clone())
    }

    fn fullest(&self) -> Option<WorkerId> {
        let fullest = self
            .count
            .iter()
            .min_by_key(|(worker, count)| (std::cmp::Reverse(**count), *worker));
        fullest.map(|(worker, _)| worker.clone())
    }

    fn by_count(&self) -> Vec<WorkerId> {
        let mut workers: Vec<_> = self
            .count
            .iter()
            .map(|(worker, count)| (*count, worker.clone()))
            .collect();
        workers.sort();
        workers.into_iter().map(|(_, worker)| worker).collect()
    }

    fn add(&mut self, worker: &WorkerId) {
        *self.count.entry(worker.clone()).or_default() += 1;
    }

    fn give(&mut self, from: &WorkerId, to: &WorkerId) {
        *self.count.entry(from.clone()).or_default() -= 1;
        self.add(to);
    }
}
