//! What a plan is made of: the workers that share the leases, and the leases with who has them.

use std::collections::BTreeSet;

use crate::id::{ShardId, WorkerId};
use crate::lease::Lease;

/// A worker that may be given leases: live and not leaving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: WorkerId,
    /// The most leases that it may have by its own setting.
    pub hard_cap: Option<u32>,
}

/// A lease that somebody should have, and who counts as having it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The lease.
    pub key: ShardId,
    /// The [`effective_owner`]. A name that is no candidate of the view counts as nobody.
    pub owner: Option<WorkerId>,
    /// A hand-off runs: `owner` has asked, and another worker has not yielded yet.
    pub pending: bool,
    /// The first hash key of the shard (0 when it is not known).
    pub hash_start: u128,
    /// The shard is closed, and its children are leased beside it: the lease ends when what is left has been read.
    pub closing: bool,
}

/// A snapshot. The order of both lists has no meaning; names and keys occur once each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The workers that share the leases.
    pub workers: Vec<Candidate>,
    /// The runnable leases (see `sync::runnable`).
    pub leases: Vec<Placed>,
}

impl View {
    /// The view of lease rows of which only the `runnable` ones count.
    pub fn of<'a>(
        rows: impl IntoIterator<Item = &'a Lease>,
        runnable: &BTreeSet<ShardId>,
        workers: Vec<Candidate>,
    ) -> Self {
        let names: BTreeSet<&WorkerId> = workers.iter().map(|worker| &worker.id).collect();
        let rows: Vec<&Lease> = rows.into_iter().filter(|row| runnable.contains(&row.key)).collect();
        let closing: BTreeSet<&ShardId> = rows.iter().flat_map(|row| &row.parents).collect();
        let leases = rows
            .iter()
            .map(|row| Placed {
                key: row.key.clone(),
                owner: effective_owner(row, |worker| names.contains(worker)).cloned(),
                pending: row.handoff_pending(),
                hash_start: row.hash_range.map_or(0, |range| range.start),
                closing: closing.contains(&row.key),
            })
            .collect();
        Self { workers, leases }
    }
}

/// Who counts as having a lease: who shall have it (a running hand-off counts as done), else who has it at present, and
/// nobody when neither shares in the leases. The second name matters when an asker dies: the lease is not an orphan.
pub fn effective_owner(row: &Lease, shares: impl Fn(&WorkerId) -> bool) -> Option<&WorkerId> {
    [&row.owner, &row.checkpoint_owner]
        .into_iter()
        .flatten()
        .find(|worker| shares(worker))
}
