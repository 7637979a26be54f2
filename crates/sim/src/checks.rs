//! What must be true of every history.
//!
//! | check | here |
//! |---|---|
//! | C1 | every record was delivered by the end |
//! | C2 | in one epoch records come in order without a hole; first deliveries of a shard come in order |
//! | C3 | a checkpoint never goes back and never passes a record that was not delivered |
//! | C4 | no two processes may deliver one shard at the same moment. Processes that sleep deliver nothing, so there is no exception: drift is within the margin |
//! | C5 | with parents first, no record of a child before the parents' end |
//! | C6 | an epoch grows by one with each change of owner, and belongs to one process |
//! | C7 | nothing is delivered twice across a yield or a release |
//! | C8 | in the time given after the last fault every lease has a live owner, the gap is at most 1, and nothing moves any more; where the scenario says the minimum, no more leases moved |
//! | C9 | at the end every open shard is being delivered |
//!
//! C10 and C11 are about the operator and about texts; neither exists here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use kinex_core::id::{Epoch, Incarnation, ShardId, WorkerId};
use kinex_core::lease::{Lease, Process};

use crate::consumer::behind;
use crate::history::{Entry, History};
use crate::scenario::Scenario;
use crate::world::Stats;

/// Which check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the table above says what each is")]
pub enum Check {
    C1,
    C2,
    C3,
    C4,
    C5,
    C6,
    C7,
    C8,
    C9,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub check: Check,
    /// When.
    pub at: Duration,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:.3} s: {}", self.check, self.at.as_secs_f64(), self.what)
    }
}

/// What is true at the end of a run.
#[derive(Clone, Debug)]
pub struct Final {
    /// How many records each shard has.
    pub produced: BTreeMap<ShardId, u64>,
    /// The open shards.
    pub open: BTreeSet<ShardId>,
    /// The living processes.
    pub live: Vec<Process>,
    /// Which shards are being delivered, and by whom.
    pub delivering: BTreeMap<ShardId, WorkerId>,
    /// The lease rows.
    pub rows: BTreeMap<ShardId, Lease>,
}

/// All checks, and the figures of the run.
pub fn all(scenario: &Scenario, history: &History, end: &Final) -> (Vec<Violation>, Stats) {
    let mut audit = Audit {
        parents_first: scenario.config.parents_first,
        ..Audit::default()
    };
    for (at, entry) in &history.entries {
        audit.at = *at;
        audit.entry(entry);
    }
    let last_fault = scenario.script.iter().map(|(at, _)| *at).max().unwrap_or_default();
    let quiet_from = scenario.faults_for + scenario.converge_in;
    audit.at = quiet_from + scenario.quiet_for;
    audit.everything_delivered(end);
    audit.balanced(end);
    audit.quiet(history, quiet_from);
    if let Some(minimum) = scenario.moves_minimum
        && audit.stats.moves != minimum
    {
        let moves = audit.stats.moves;
        audit.fails(Check::C8, format!("{moves} leases moved, {minimum} had to"));
    }
    audit.stats.settled_after = audit.last_start.saturating_sub(last_fault);
    (audit.violations, audit.stats)
}

/// What the history has shown so far.
#[derive(Debug, Default)]
struct Audit {
    at: Duration,
    parents_first: bool,
    violations: Vec<Violation>,
    stats: Stats,
    shards: BTreeMap<ShardId, Seen>,
    last_start: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    parents: Vec<ShardId>,
    closed: Option<u64>,
    finished: bool,
    /// Behind the last record that anybody was given.
    delivered: u64,
    /// In each epoch: behind the last record that was given out.
    by_epoch: BTreeMap<Epoch, u64>,
    /// Which process has each epoch.
    writers: BTreeMap<Epoch, Incarnation>,
    /// Epochs that began with a yield or a release.
    graceful: BTreeSet<Epoch>,
}

impl Seen {
    /// How far those came who handed the shard on in good order until it was this epoch's.
    fn came_to(&self, mut epoch: Epoch) -> Option<u64> {
        while self.graceful.contains(&epoch) {
            epoch = Epoch(epoch.0 - 1);
            if let Some(to) = self.by_epoch.get(&epoch) {
                return Some(*to);
            }
        }
        None
    }
}

impl Audit {
    fn fails(&mut self, check: Check, what: String) {
        let at = self.at;
        self.violations.push(Violation { check, at, what });
    }

    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened { shard, parents } => self.shard(shard).parents.clone_from(parents),
            Entry::Closed { shard, records } => self.shard(shard).closed = Some(*records),
            Entry::Deliver { by, shard, from, to } => self.delivered(by.epoch, shard, *from, *to),
            Entry::Cut { by, shard, from } => {
                self.stats.cut += 1;
                self.shard(shard).by_epoch.insert(by.epoch, *from);
            }
            Entry::Lease {
                write, before, after, ..
            } => self.written(write, before.as_deref(), after.as_deref()),
            Entry::OwnStart { by, shard, rivals, .. } => {
                self.last_start = self.at;
                if !rivals.is_empty() {
                    self.fails(Check::C4, format!("{shard}: {by:?} and {rivals:?} both deliver"));
                }
            }
            _ => {}
        }
    }

    fn shard(&mut self, shard: &ShardId) -> &mut Seen {
        self.shards.entry(shard.clone()).or_default()
    }

    fn delivered(&mut self, epoch: Epoch, shard: &ShardId, from: u64, to: u64) {
        let parents = self.shard(shard).parents.clone();
        let early = self.parents_first && !parents.iter().all(|parent| self.shard(parent).finished);
        let seen = self.shard(shard);
        let (delivered, last) = (seen.delivered, seen.by_epoch.get(&epoch).copied());
        let before = seen.came_to(epoch);
        seen.delivered = delivered.max(to);
        seen.by_epoch.insert(epoch, to);
        self.stats.delivered += to - from;
        self.stats.duplicates += delivered.min(to).saturating_sub(from);
        if early {
            self.fails(Check::C5, format!("{shard}: record {from} before the parents' end"));
        }
        if last.is_some_and(|last| from != last) {
            self.fails(Check::C2, format!("{shard} epoch {epoch}: {from} after {last:?}"));
        }
        if from > delivered {
            self.fails(Check::C2, format!("{shard}: {from} is delivered, {delivered} was not"));
        }
        if last.is_none() && before.is_some_and(|before| from < before) {
            self.fails(
                Check::C7,
                format!("{shard} epoch {epoch}: {from}..{before:?} again after a graceful move"),
            );
        }
    }

    fn written(&mut self, write: &str, before: Option<&Lease>, after: Option<&Lease>) {
        let (Some(before), Some(after)) = (before, after) else {
            return;
        };
        let shard = &after.key;
        let (old, new) = (behind(&before.checkpoint), behind(&after.checkpoint));
        let (delivered, closed) = (self.shard(shard).delivered, self.shard(shard).closed);
        if new < old {
            self.fails(
                Check::C3,
                format!("{shard}: checkpoint back from {old} to {new} by {write}"),
            );
        }
        if after.finished() {
            self.shard(shard).finished = true;
            if closed != Some(delivered) {
                self.fails(Check::C3, format!("{shard}: ended at {delivered} of {closed:?}"));
            }
        } else if new > delivered {
            self.fails(Check::C3, format!("{shard}: checkpoint {new}, delivered {delivered}"));
        }
        if before.epoch == after.epoch {
            let same = before.present_owner() == after.present_owner() && before.incarnation == after.incarnation;
            if !same {
                self.fails(
                    Check::C6,
                    format!("{shard}: {write} changes the owner in epoch {}", after.epoch),
                );
            }
            return;
        }
        if after.epoch != before.epoch.next() {
            self.fails(
                Check::C6,
                format!("{shard}: epoch {} after {}", after.epoch, before.epoch),
            );
        }
        if matches!(write, "yield" | "release") {
            self.shard(shard).graceful.insert(after.epoch);
        }
        if write == "yield" {
            self.stats.moves += 1;
        }
        if let Some(incarnation) = &after.incarnation {
            let other = self.shard(shard).writers.insert(after.epoch, incarnation.clone());
            if other.is_some() {
                self.fails(Check::C6, format!("{shard}: epoch {} twice", after.epoch));
            }
        }
    }

    fn everything_delivered(&mut self, end: &Final) {
        for (shard, produced) in &end.produced {
            let delivered = self.shard(shard).delivered;
            if delivered < *produced {
                self.fails(Check::C1, format!("{shard}: {delivered} of {produced} delivered"));
            }
        }
        for shard in &end.open {
            if !end.delivering.contains_key(shard) {
                self.fails(Check::C9, format!("{shard}: nobody delivers it at the end"));
            }
        }
    }

    fn balanced(&mut self, end: &Final) {
        let mut counts: BTreeMap<WorkerId, usize> =
            end.live.iter().map(|process| (process.worker.clone(), 0)).collect();
        for row in end.rows.values().filter(|row| !row.finished()) {
            match row.present_owner().and_then(|owner| counts.get_mut(owner)) {
                Some(count) => *count += 1,
                None => self.fails(
                    Check::C8,
                    format!("{}: of nobody alive: {:?}", row.key, row.present_owner()),
                ),
            }
        }
        let (low, high) = (counts.values().min(), counts.values().max());
        if let (Some(low), Some(high)) = (low, high)
            && high - low > 1
        {
            self.fails(Check::C8, format!("not balanced: {counts:?}"));
        }
    }

    fn quiet(&mut self, history: &History, from: Duration) {
        let mut moves = history.entries.iter().filter(|(at, entry)| {
            let moved =
                matches!(entry, Entry::Lease { write, .. } if matches!(*write, "take" | "ask" | "yield" | "release"));
            *at > from && moved
        });
        if let Some((at, entry)) = moves.next_back() {
            self.at = *at;
            self.fails(Check::C8, format!("still moving: {entry:?}"));
        }
    }
}
