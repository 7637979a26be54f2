//! The strategy `Balanced`.

use std::collections::BTreeMap;

use super::hash::stable_hash;
use super::quota::{CapExceeded, Policy, quotas, quotas_beside};
use super::view::{Candidate, Placed, View};
use crate::id::{ShardId, WorkerId};

/// One lease that changes hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The lease.
    pub key: ShardId,
    /// Who counts as having it; `None`: an orphan.
    pub from: Option<WorkerId>,
    /// Who shall have it; `None`: nobody has room for it.
    pub to: Option<WorkerId>,
}

/// Who shall have which lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For every lease of the view, who shall have it.
    pub target: BTreeMap<ShardId, Option<WorkerId>>,
    /// For every worker of the view, how many leases it shall have.
    pub quota: BTreeMap<WorkerId, u32>,
    /// What differs from the view, by key.
    pub moves: Vec<Move>,
    /// Set when there are more leases than all caps together allow.
    pub cap_exceeded: Option<CapExceeded>,
}

impl Plan {
    /// The leases that shall come to this worker; a worker acts on these and on no others.
    pub fn coming_to(&self, worker: &WorkerId) -> impl Iterator<Item = &Move> {
        self.moves
            .iter()
            .filter(move |a_move| a_move.to.as_ref() == Some(worker))
    }

    /// How many leases leave a worker that could keep them: the cost of the plan. Orphans cost nothing.
    pub fn moves_of_live(&self) -> usize {
        self.moves.iter().filter(|a_move| a_move.from.is_some()).count()
    }

    /// The leases that nobody has room for.
    pub fn spilled(&self) -> impl Iterator<Item = &ShardId> {
        self.target.iter().filter(|(_, to)| to.is_none()).map(|(key, _)| key)
    }
}

/// Who shall have which lease, so that all workers have equally many and as few leases as possible move.
///
/// The leases of closing shards are shared by themselves: evenly, beside the others, and under no cap, since they are
/// gone as soon as what they still hold is read. So nothing moves again when they are.
///
/// Without workers nobody has anything and nothing moves.
pub fn plan(view: &View, policy: &Policy) -> Plan {
    let mut workers: Vec<&Candidate> = view.workers.iter().collect();
    workers.sort_by(|a, b| a.id.cmp(&b.id));
    let mut leases: Vec<&Placed> = view.leases.iter().collect();
    leases.sort_by(|a, b| a.key.cmp(&b.key));
    let owners: Vec<Option<usize>> = leases
        .iter()
        .map(|lease| position(&workers, lease.owner.as_ref()))
        .collect();

    let fleet = Fleet {
        workers,
        leases,
        owners,
    };
    let (closing, lasting): (Vec<usize>, Vec<usize>) =
        (0..fleet.leases.len()).partition(|lease| fleet.leases[*lease].closing);
    let mut targets = fleet.owners.clone();
    let have = fleet.counts(&lasting);
    let (mut quota, cap_exceeded) = quotas(&fleet.workers, &have, lasting.len(), policy);
    fleet.share(&lasting, &quota, &mut targets);
    let beside = quotas_beside(&fleet.workers, &fleet.counts(&closing), closing.len(), &quota);
    fleet.share(&closing, &beside, &mut targets);
    for (quota, beside) in quota.iter_mut().zip(beside) {
        *quota += beside;
    }
    fleet.described(&targets, &quota, cap_exceeded)
}

/// The workers and the leases of a view in their order, with places in these lists for names.
struct Fleet<'a> {
    workers: Vec<&'a Candidate>,
    leases: Vec<&'a Placed>,
    owners: Vec<Option<usize>>,
}

impl Fleet<'_> {
    /// How many of these leases each worker has.
    fn counts(&self, leases: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.workers.len()];
        for owner in leases.iter().filter_map(|lease| self.owners[*lease]) {
            counts[owner] += 1;
        }
        counts
    }

    /// Brings every worker to its quota of these leases.
    fn share(&self, of: &[usize], quota: &[usize], targets: &mut [Option<usize>]) {
        let mut holdings: Vec<Vec<usize>> = vec![Vec::new(); self.workers.len()];
        let mut pool = Vec::new();
        for lease in of {
            match self.owners[*lease] {
                Some(owner) => holdings[owner].push(*lease),
                None => pool.push(*lease),
            }
        }
        let have: Vec<usize> = holdings.iter().map(Vec::len).collect();
        for (worker, held) in holdings.into_iter().enumerate() {
            pool.extend(surplus(self.workers[worker], held, quota[worker], &self.leases));
        }
        let slots = slots(&self.workers, &have, quota);
        for (lease, to) in deal(pool, slots, &self.leases) {
            targets[lease] = to;
        }
    }

    fn described(&self, targets: &[Option<usize>], quota: &[usize], cap_exceeded: Option<CapExceeded>) -> Plan {
        let name = |worker: Option<usize>| worker.map(|worker| self.workers[worker].id.clone());
        let moves = (0..self.leases.len())
            .filter(|lease| self.owners[*lease] != targets[*lease])
            .map(|lease| Move {
                key: self.leases[lease].key.clone(),
                from: name(self.owners[lease]),
                to: name(targets[lease]),
            });
        let target = self.leases.iter().zip(targets);
        let quota = self.workers.iter().zip(quota);
        Plan {
            moves: moves.collect(),
            target: target.map(|(lease, to)| (lease.key.clone(), name(*to))).collect(),
            quota: quota
                .map(|(worker, quota)| (worker.id.clone(), u32::try_from(*quota).unwrap_or(u32::MAX)))
                .collect(),
            cap_exceeded,
        }
    }
}

fn position(workers: &[&Candidate], name: Option<&WorkerId>) -> Option<usize> {
    let name = name?;
    workers.binary_search_by(|worker| worker.id.cmp(name)).ok()
}

/// What a worker gives away when it holds more than its quota: first what nobody is being asked for, then by hash.
fn surplus(worker: &Candidate, mut held: Vec<usize>, quota: usize, leases: &[&Placed]) -> Vec<usize> {
    let over = held.len().saturating_sub(quota);
    if over == 0 {
        return Vec::new();
    }
    held.sort_by_cached_key(|lease| {
        let lease = leases[*lease];
        (
            lease.pending,
            stable_hash(&[worker.id.as_str(), lease.key.as_str()]),
            lease.key.clone(),
        )
    });
    held.truncate(over);
    held
}

/// The free places, one of every worker before the second of any, so that a batch of orphans spreads over all.
fn slots(workers: &[&Candidate], have: &[usize], quota: &[usize]) -> Vec<usize> {
    let hashes: Vec<u64> = workers
        .iter()
        .map(|worker| stable_hash(&[worker.id.as_str()]))
        .collect();
    let mut slots: Vec<(usize, u64, usize)> = Vec::new();
    for worker in 0..workers.len() {
        let free = quota[worker].saturating_sub(have[worker]);
        slots.extend((0..free).map(|nth| (nth, hashes[worker], worker)));
    }
    slots.sort_unstable();
    slots.into_iter().map(|(_, _, worker)| worker).collect()
}

/// Deals the pool over the slots. When there are too few, the leases with the lowest hash keys get none.
fn deal(mut pool: Vec<usize>, slots: Vec<usize>, leases: &[&Placed]) -> Vec<(usize, Option<usize>)> {
    pool.sort_by(|a, b| {
        let (a, b) = (leases[*a], leases[*b]);
        (a.hash_start, &a.key).cmp(&(b.hash_start, &b.key))
    });
    let mut placed = pool.split_off(pool.len().saturating_sub(slots.len()));
    placed.sort_unstable();
    let spilled = pool.into_iter().map(|lease| (lease, None));
    let dealt = placed.into_iter().zip(slots.into_iter().map(Some));
    spilled.chain(dealt).collect()
}
