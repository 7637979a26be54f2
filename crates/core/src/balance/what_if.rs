//! What a change of the fleet or of the stream would cost, before anybody makes it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::plan::{Plan, plan};
use super::quota::Policy;
use super::view::{Candidate, Placed, View};
use crate::id::{ShardId, WorkerId};
use crate::member::Config;
use crate::stats::Spread;
use crate::worker::RenewalMode;

/// A fleet and a stream that do not exist yet, as differences from those that do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Workers that come; one that is there already is left as it is.
    pub join: Vec<Candidate>,
    /// Workers that leave in good order.
    pub leave: Vec<WorkerId>,
    /// Workers that die without anybody knowing.
    pub die: Vec<WorkerId>,
    /// Shards that are split: the lease goes (once it is read to its end), and the named children come. A merge names
    /// the same child under both of its parents.
    pub reshard: BTreeMap<ShardId, Vec<Placed>>,
}

/// The plan after a [`Change`], and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIf {
    /// What the plan was made from.
    pub view: View,
    /// The plan.
    pub plan: Plan,
    /// The spread at present.
    pub before: Spread,
    /// The spread that the plan leads to.
    pub after: Spread,
    /// Estimate of the time until all leases are where the plan has them.
    pub converges_in: Duration,
    /// Estimate of the DynamoDB requests that the moves make.
    pub requests: Requests,
}

/// Requests that moves make, beside those that are made all the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// Complete scans of the lease table: one per worker that something comes to.
    pub scans: usize,
    /// Consistent reads of single rows: takers confirm dead owners, owners and askers look at the rows of a hand-off.
    pub reads: usize,
    /// Conditional writes.
    pub writes: usize,
}

/// Makes the plan of the changed view and estimates its cost.
///
/// The time is that of a quiet table, each wait at its longest: a poll and the settle delay when workers
/// join, F for a silent death; a poll until the receivers look; then the moves in batches of `moves_in_flight`, a
/// hand-off taking a poll of its owner and a look of its asker. What a processor needs to drain comes on top.
pub fn what_if(view: &View, change: &Change, policy: &Policy, config: &Config) -> WhatIf {
    let changed = changed(view, change);
    let plan = plan(&changed, policy);
    let mut after = changed.clone();
    for lease in &mut after.leases {
        lease.owner = plan.target.get(&lease.key).cloned().flatten();
    }
    WhatIf {
        before: Spread::of(view),
        after: Spread::of(&after),
        converges_in: converges_in(&plan, view, change, config),
        requests: requests(&plan, view, change, config),
        plan,
        view: changed,
    }
}

fn changed(view: &View, change: &Change) -> View {
    let stays = |worker: &&Candidate| !change.leave.contains(&worker.id) && !change.die.contains(&worker.id);
    let mut workers: Vec<Candidate> = view.workers.iter().filter(stays).cloned().collect();
    for candidate in &change.join {
        if workers.iter().all(|worker| worker.id != candidate.id) {
            workers.push(candidate.clone());
        }
    }
    let mut leases: BTreeMap<ShardId, Placed> = view
        .leases
        .iter()
        .map(|lease| (lease.key.clone(), lease.clone()))
        .collect();
    for (parent, children) in &change.reshard {
        leases.remove(parent);
        leases.extend(children.iter().map(|child| (child.key.clone(), child.clone())));
    }
    let shares = |owner: &WorkerId| workers.iter().any(|worker| worker.id == *owner);
    let leases = leases.into_values().map(|lease| Placed {
        owner: lease.owner.filter(|owner| shares(owner)),
        ..lease
    });
    View {
        leases: leases.collect(),
        workers,
    }
}

/// Leases that a live worker yields: surplus, and those of a worker that leaves in good order.
fn handoffs(plan: &Plan, view: &View, change: &Change) -> usize {
    let leaving = |lease: &&Placed| lease.owner.as_ref().is_some_and(|owner| change.leave.contains(owner));
    let moved = |lease: &&Placed| plan.target.get(&lease.key).is_some_and(Option::is_some);
    plan.moves_of_live() + view.leases.iter().filter(leaving).filter(moved).count()
}

fn converges_in(plan: &Plan, view: &View, change: &Change, config: &Config) -> Duration {
    let most = plan
        .quota
        .keys()
        .map(|worker| plan.coming_to(worker).count())
        .max()
        .unwrap_or(0);
    if most == 0 {
        return Duration::ZERO;
    }
    let detect = if change.die.is_empty() {
        Duration::ZERO
    } else {
        config.failover_after
    };
    let settle = if change.join.is_empty() {
        Duration::ZERO
    } else {
        config.poll_every + config.settle_for
    };
    let handoff = if handoffs(plan, view, change) > 0 {
        config.poll_every + config.handoff_poll
    } else {
        Duration::ZERO
    };
    let batches = most.div_ceil(config.moves_in_flight.max(1));
    let batch = handoff + ROUND_TRIP * 3;
    detect + settle + config.poll_every + batch * u32::try_from(batches).unwrap_or(u32::MAX)
}

/// A request to DynamoDB takes some milliseconds; this is a cautious figure.
const ROUND_TRIP: Duration = Duration::from_millis(20);

fn requests(plan: &Plan, view: &View, change: &Change, config: &Config) -> Requests {
    let receivers = plan
        .quota
        .keys()
        .filter(|worker| plan.coming_to(worker).next().is_some())
        .count();
    let taken = plan.moves.iter().filter(|a_move| a_move.to.is_some()).count();
    let handed = handoffs(plan, view, change).min(taken);
    // A hand-off is ASK, a word to the owner, YIELD, and the new owner's RENEW; everything else is one TAKE. In
    // `PerLease` mode the owner learns from its own renewals, so nobody is told and the owner reads nothing.
    let (writes_of_handoff, reads_of_handoff) = match config.renewal {
        RenewalMode::PerWorker => (4, 2),
        RenewalMode::PerLease => (3, 1),
    };
    let silent = if taken > 0 { change.die.len() * receivers } else { 0 };
    Requests {
        scans: receivers,
        reads: silent + handed * reads_of_handoff,
        writes: handed * writes_of_handoff + (taken - handed),
    }
}
