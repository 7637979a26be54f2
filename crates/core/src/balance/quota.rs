//! How many leases each worker shall have.

use serde::{Deserialize, Serialize};

use super::hash::stable_hash;
use super::view::Candidate;

/// What becomes of leases that no worker has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapPolicy {
    /// Every shard is read: all caps are exceeded evenly.
    #[default]
    Cover,
    /// No cap is exceeded: some leases stay unowned.
    Strict,
}

/// How the fair share is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapRounding {
    /// Up, so that the shares of all workers hold every lease.
    #[default]
    Ceil,
    /// Down, as `min(10, shards / pods)` has it, with its fault: 20 shards on 3 workers leave 2 shards unread for ever.
    /// Whatever the cap policy says, nothing is read above the rounded share (which is at least 1).
    Floor,
}

/// Limits on what a plan may give to one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The most leases that any worker may have; a worker's own cap may be lower.
    pub hard_cap: Option<u32>,
    /// What becomes of leases above the caps.
    pub cap_policy: CapPolicy,
    /// How the fair share is rounded.
    pub cap_rounding: CapRounding,
}

impl Policy {
    /// The most leases that this worker may have, whatever its fair share is.
    pub fn cap_of(&self, worker: &Candidate) -> u32 {
        let limits = [self.hard_cap, worker.hard_cap];
        limits.into_iter().flatten().min().unwrap_or(u32::MAX)
    }
}

/// There are more leases than all caps together allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapExceeded {
    /// Leases above the caps.
    pub by: usize,
    /// They stay unowned (`true`), or are dealt out evenly above the caps (`false`).
    pub unowned: bool,
}

/// Quotas of the workers, `have[i]` being what `workers[i]` has.
pub(super) fn quotas(
    workers: &[&Candidate],
    have: &[usize],
    leases: usize,
    policy: &Policy,
) -> (Vec<usize>, Option<CapExceeded>) {
    if workers.is_empty() {
        return (Vec::new(), None);
    }
    let share = match policy.cap_rounding {
        CapRounding::Ceil => usize::MAX,
        CapRounding::Floor => (leases / workers.len()).max(1),
    };
    let caps: Vec<usize> = workers
        .iter()
        .map(|worker| share.min(policy.cap_of(worker) as usize))
        .collect();
    let room = caps.iter().fold(0_usize, |sum, cap| sum.saturating_add(*cap));
    if let Some(by) = leases.checked_sub(room).filter(|by| *by > 0) {
        let unowned = policy.cap_policy == CapPolicy::Strict || policy.cap_rounding == CapRounding::Floor;
        let exceeded = Some(CapExceeded { by, unowned });
        if unowned {
            return (caps, exceeded);
        }
        let base = caps.iter().map(|cap| cap + by / workers.len()).collect();
        let everybody = (0..workers.len()).collect();
        return (with_rest(workers, have, base, everybody, by % workers.len()), exceeded);
    }
    let level = level_under(&caps, leases);
    let base: Vec<usize> = caps.iter().map(|cap| level.min(*cap)).collect();
    let rest = leases - base.iter().sum::<usize>();
    let roomy = (0..workers.len()).filter(|i| caps[*i] > level).collect();
    (with_rest(workers, have, base, roomy, rest), None)
}

/// Quotas of the leases of closed shards, `beside[i]` being the quota of other leases: even by themselves, and the larger
/// ones where `beside` is smaller, so that both together are even as well.
pub(super) fn quotas_beside(workers: &[&Candidate], have: &[usize], leases: usize, beside: &[usize]) -> Vec<usize> {
    let Some(base) = leases.checked_div(workers.len()) else {
        return Vec::new();
    };
    let mut order: Vec<usize> = (0..workers.len()).collect();
    order.sort_by_cached_key(|i| {
        let id = &workers[*i].id;
        (
            beside[*i],
            std::cmp::Reverse(have[*i]),
            stable_hash(&[id.as_str()]),
            id.clone(),
        )
    });
    let mut quota = vec![base; workers.len()];
    for i in order.into_iter().take(leases % workers.len()) {
        quota[i] += 1;
    }
    quota
}

/// The highest level to which every worker can be filled, or to its cap where that is lower.
fn level_under(caps: &[usize], leases: usize) -> usize {
    let mut caps = caps.to_vec();
    caps.sort_unstable();
    let mut left = leases;
    for (nth, cap) in caps.iter().enumerate() {
        let level = left / (caps.len() - nth);
        if level < *cap {
            return level;
        }
        left -= cap;
    }
    caps.last().copied().unwrap_or(0)
}

/// One more for `rest` of the workers: those that hold the most above their base, because each of them then gives one
/// lease less away. Ties break by the name's hash, then the name.
fn with_rest(
    workers: &[&Candidate],
    have: &[usize],
    mut quota: Vec<usize>,
    mut eligible: Vec<usize>,
    rest: usize,
) -> Vec<usize> {
    eligible.sort_by_cached_key(|i| {
        let id = &workers[*i].id;
        let above_base = have[*i] as i64 - quota[*i] as i64;
        (std::cmp::Reverse(above_base), stable_hash(&[id.as_str()]), id.clone())
    });
    for i in eligible.into_iter().take(rest) {
        quota[i] += 1;
    }
    quota
}
