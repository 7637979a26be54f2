//! Everything that a run saw, as the writers of the report take it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::report::summary::{Shards, Summary};

/// A run as it was seen. Times are seconds since its start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    /// What it came to.
    pub summary: Summary,
    /// The state at each look, in the order of time; looks that saw what the one before them saw are left out.
    pub samples: Vec<Sample>,
    /// Every change of a lease's owner, in the order of time.
    pub moves: Vec<Move>,
    /// Every stretch that a lease stood without a living owner.
    pub gaps: Vec<Gap>,
    /// The lease table at the end.
    pub leases: Vec<LeaseLine>,
}

/// The state at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When.
    pub seconds: f64,
    /// The step that was on, if any.
    pub step: Option<String>,
    /// Runnable leases of each live worker, workers with none included.
    pub leases_per_worker: BTreeMap<String, usize>,
    /// Runnable leases that nobody reads.
    pub unowned: usize,
    /// The greatest count less the smallest.
    pub imbalance: usize,
    /// The shards.
    pub stream: Shards,
}

impl Sample {
    /// Whether both saw the same state, whenever that was.
    pub fn same_state(&self, other: &Self) -> bool {
        Self {
            seconds: 0.0,
            ..self.clone()
        } == Self {
            seconds: 0.0,
            ..other.clone()
        }
    }
}

/// Why a lease changed its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// Nobody had it before: a new shard, or the start.
    First,
    /// The owner, alive, yielded it.
    HandOff,
    /// The owner was leaving, and released or yielded it.
    Departure,
    /// The owner's process was known to have ended.
    Ended,
    /// The owner had been silent, or did not yield in time.
    Taken,
}

/// A lease changed its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// When it was seen.
    pub seconds: f64,
    /// The lease.
    pub lease: String,
    /// Who had it; absent when nobody did.
    pub from: Option<String>,
    /// Who has it now.
    pub to: String,
    /// Why.
    pub reason: Reason,
}

impl Move {
    /// Whether it counts as a move: from one worker to another.
    pub fn counts(&self) -> bool {
        self.from.as_ref().is_some_and(|from| *from != self.to)
    }
}

/// A lease stood without a living owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The lease.
    pub lease: String,
    /// Since when.
    pub from: f64,
    /// Until when; absent when it had none at the end.
    pub until: Option<f64>,
    /// How that came: `new shard`, `owner left`, `owner ended`.
    pub why: String,
}

impl Gap {
    /// Its length, up to `now` while it lasts.
    pub fn seconds(&self, now: f64) -> f64 {
        (self.until.unwrap_or(now) - self.from).max(0.0)
    }
}

/// A row of the lease table, with the names that Java tools use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseLine {
    /// The shard.
    pub lease_key: String,
    /// The owner, or who shall have it while a hand-off runs.
    pub lease_owner: Option<String>,
    /// Grows with every write of an owner.
    pub lease_counter: u64,
    /// The checkpoint: a sequence number, `LATEST`, `TRIM_HORIZON`, `AT_TIMESTAMP` or `SHARD_END`.
    pub checkpoint_sequence_number: String,
    /// The place inside an aggregated record.
    pub checkpoint_sub_sequence_number: u64,
    /// Changes of owner since the last checkpoint.
    pub owner_switches_since_checkpoint: u64,
    /// The present owner while a hand-off runs.
    pub checkpoint_owner: Option<String>,
    /// Grows with every change of owner.
    pub epoch: u64,
    /// The shards it came from.
    pub parent_shard_id: BTreeSet<String>,
    /// The shards that came from it.
    pub child_shard_ids: BTreeSet<String>,
}

impl Recording {
    /// Every worker that was ever seen alive, in the order of the names' numbers.
    pub fn workers(&self) -> Vec<String> {
        let names: BTreeSet<_> = self
            .samples
            .iter()
            .flat_map(|s| s.leases_per_worker.keys().cloned())
            .collect();
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(|name| ordinal_key(name));
        names
    }
}

/// Sorts `a-2` before `a-10`.
pub fn ordinal_key(name: &str) -> (String, u64) {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (stem, number) = name.split_at(name.len() - digits);
    (stem.to_owned(), number.parse().unwrap_or(0))
}

impl From<&kinex_core::lease::Lease> for LeaseLine {
    fn from(lease: &kinex_core::lease::Lease) -> Self {
        use kinex_core::lease::Checkpoint;
        let (sequence, sub) = match &lease.checkpoint {
            Checkpoint::Latest => ("LATEST".to_owned(), 0),
            Checkpoint::TrimHorizon => ("TRIM_HORIZON".to_owned(), 0),
            Checkpoint::AtTimestamp | Checkpoint::Since(_) => ("AT_TIMESTAMP".to_owned(), 0),
            Checkpoint::At(position) => (position.sequence.to_string(), position.sub),
            Checkpoint::ShardEnd => ("SHARD_END".to_owned(), 0),
        };
        Self {
            lease_key: lease.key.to_string(),
            lease_owner: lease.owner.as_ref().map(ToString::to_string),
            lease_counter: lease.counter,
            checkpoint_sequence_number: sequence,
            checkpoint_sub_sequence_number: sub,
            owner_switches_since_checkpoint: lease.owner_switches,
            checkpoint_owner: lease.checkpoint_owner.as_ref().map(ToString::to_string),
            epoch: lease.epoch.0,
            parent_shard_id: lease.parents.iter().map(ToString::to_string).collect(),
            child_shard_ids: lease.children.iter().map(ToString::to_string).collect(),
        }
    }
}
