//! Who is alive, judged by nothing but beats that were seen to change.
//!
//! A silent worker may be dead, slow, or merely unseen because the observer itself slept. So it counts as dead only when
//! a read that was *sent* the failover time after its beat was first seen still returns that same beat. Whoever says
//! itself, or is said by one who knows, to have ended counts as gone at once, but only in that incarnation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{Incarnation, WorkerId};
use crate::lease::{Lease, Process};
use crate::time::Moment;
use crate::worker::{Departure, WorkerRow};

/// What an observer holds of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its beat changes, or has not been silent for long enough; or there never was news of it.
    Live,
    /// Its beat stood still for the failover time.
    Silent,
    /// Its process has ended: it left in good order, or somebody who knows says so.
    Gone,
}

/// A worker as last seen.
#[derive(Clone, Debug)]
struct Sight {
    /// The row; `None` when a lease names the worker and there is no row of it.
    row: Option<WorkerRow>,
    /// When this beat was first seen (of a departed worker: when its departure was).
    since: Moment,
    /// When it was last seen.
    seen: Moment,
    /// A read sent late enough returned the same beat.
    silent: bool,
    /// The silence is long enough to take leases for.
    proved: bool,
}

impl Sight {
    fn shows(&self, row: Option<&WorkerRow>) -> bool {
        match (&self.row, row) {
            (Some(had), Some(row)) => {
                had.incarnation == row.incarnation && had.beat == row.beat && had.gone() == row.gone()
            }
            (had, row) => had.is_none() && row.is_none(),
        }
    }
}

/// The workers that one observer knows of. Its own row is none of its business here.
#[derive(Clone, Debug)]
pub struct Liveness {
    failover_after: Duration,
    by_late_read: bool,
    sights: BTreeMap<WorkerId, Sight>,
    /// Named by a lease, and not looked for yet.
    expected: BTreeSet<WorkerId>,
    /// A read that leaves out who left for good did not tell what became of somebody.
    unsure: bool,
}

impl Liveness {
    /// Knows nobody. `by_late_read` is rule 2, for the test of the tests.
    pub fn new(failover_after: Duration, by_late_read: bool) -> Self {
        Self {
            failover_after,
            by_late_read,
            sights: BTreeMap::new(),
            expected: BTreeSet::new(),
            unsure: false,
        }
    }

    /// A read that was sent at `sent` and answered at `now` returned this row of the worker.
    pub fn saw(&mut self, id: &WorkerId, row: Option<&WorkerRow>, sent: Moment, now: Moment) {
        let failover_after = self.failover_after;
        // Without rule 2 an answer counts by when it came, and an observer has begun to look before.
        let suspect_after = if self.by_late_read {
            failover_after
        } else {
            failover_after * 4 / 5
        };
        let proof = if self.by_late_read { sent } else { now };
        // That a row is missing twice tells nothing of the time between: it may have been there, beating.
        let gap_max = failover_after / 4;
        match self.sights.get_mut(id) {
            Some(sight) if sight.shows(row) && (row.is_some() || sent <= sight.seen + gap_max) => {
                sight.seen = now;
                sight.silent |= proof >= sight.since + suspect_after;
                sight.proved |= proof >= sight.since + failover_after;
                sight.row = row.cloned();
            }
            _ => {
                let sight = Sight {
                    row: row.cloned(),
                    since: now,
                    seen: now,
                    silent: false,
                    proved: false,
                };
                self.sights.insert(id.clone(), sight);
            }
        }
    }

    /// A read of the rows of all workers but those that left for good. Whoever had a row and shows none has left, or the
    /// row was removed; which of them, only a read of all rows tells, and until then nothing is known that was not before.
    pub fn saw_present(&mut self, rows: &[WorkerRow], sent: Moment, now: Moment) {
        let shown: BTreeSet<&WorkerId> = rows.iter().map(|row| &row.id).collect();
        let mut missing = Vec::new();
        for (id, sight) in self.sights.iter().filter(|(id, _)| !shown.contains(id)) {
            match &sight.row {
                None => missing.push(id.clone()),
                Some(row) => self.unsure |= !row.left_for_good(),
            }
        }
        for id in missing {
            self.saw(&id, None, sent, now);
        }
        for row in rows {
            self.expected.remove(&row.id);
            self.saw(&row.id, Some(row), sent, now);
        }
    }

    /// Whether only a read of the rows of all workers can tell what became of some worker.
    pub fn needs_all(&self) -> bool {
        self.unsure || !self.expected.is_empty()
    }

    /// A read of the rows of all workers.
    pub fn saw_all(&mut self, rows: &[WorkerRow], sent: Moment, now: Moment) {
        self.unsure = false;
        let expected = std::mem::take(&mut self.expected);
        // Thousands of rows of workers that left may still be there: no look-up here may walk through all of them.
        let shown: BTreeSet<&WorkerId> = rows.iter().map(|row| &row.id).collect();
        let missing: BTreeSet<WorkerId> = self
            .sights
            .keys()
            .chain(&expected)
            .filter(|id| !shown.contains(id))
            .cloned()
            .collect();
        for id in missing {
            self.saw(&id, None, sent, now);
        }
        for row in rows {
            self.saw(&row.id, Some(row), sent, now);
        }
    }

    /// A lease names this worker: should the next read of all workers lack its row, its silence begins with that.
    pub fn expect(&mut self, id: &WorkerId) {
        if !self.sights.contains_key(id) {
            self.expected.insert(id.clone());
        }
    }

    /// Whether the worker of this name lives.
    pub fn life(&self, id: &WorkerId) -> Life {
        match self.sights.get(id) {
            Some(sight) if sight.row.as_ref().is_some_and(WorkerRow::gone) => Life::Gone,
            Some(sight) if sight.silent => Life::Silent,
            _ => Life::Live,
        }
    }

    /// Whether its leases may be taken: it is gone, or its silence is proved.
    pub fn is_proved_dead(&self, id: &WorkerId) -> bool {
        self.life(id) == Life::Gone || self.sights.get(id).is_some_and(|sight| sight.proved)
    }

    /// Whether this very process is known to be no more: ended, silent, or replaced by another of its name.
    pub fn is_gone(&self, id: &WorkerId, incarnation: Option<&Incarnation>) -> bool {
        let Some(sight) = self.sights.get(id) else { return false };
        let replaced = sight
            .row
            .as_ref()
            .is_some_and(|row| Some(&row.incarnation) != incarnation);
        replaced || self.life(id) != Life::Live
    }

    /// Whether the process that delivers this lease is proved to have ended, in the incarnation that the lease names.
    pub fn has_ended(&self, lease: &Lease) -> bool {
        let row = lease.present_owner().and_then(|id| self.row(id));
        row.is_some_and(|row| row.gone() && Some(&row.incarnation) == lease.incarnation.as_ref())
    }

    /// Whether the worker shares in the leases: it lives and is not giving its own away, or its name is reserved.
    pub fn shares(&self, id: &WorkerId, now: Moment) -> bool {
        let Some(sight) = self.sights.get(id) else { return false };
        let Some(row) = &sight.row else { return false };
        match (self.life(id), row.departing) {
            (Life::Live, departing) => departing != Some(Departure::Release),
            (Life::Gone, Some(Departure::Reserve(window))) => row.departed && now < sight.since + window,
            _ => false,
        }
    }

    /// When the beat that the worker shows now was first seen.
    pub fn since(&self, id: &WorkerId) -> Option<Moment> {
        Some(self.sights.get(id)?.since)
    }

    /// The last row of the worker.
    pub fn row(&self, id: &WorkerId) -> Option<&WorkerRow> {
        self.sights.get(id)?.row.as_ref()
    }

    /// Every worker with a row, in the order of their ids.
    pub fn rows(&self) -> impl Iterator<Item = &WorkerRow> {
        self.sights.values().filter_map(|sight| sight.row.as_ref())
    }

    /// When to read next so that nobody's silence goes unnoticed: the first moment at which a read could prove one that
    /// no read sent at `last` or before could. [`Moment::NEVER`] when everyone was seen to beat or is known to be dead.
    pub fn next_proof(&self, last: Moment) -> Moment {
        let open = self
            .sights
            .values()
            .filter(|sight| !sight.silent && !sight.row.as_ref().is_some_and(WorkerRow::gone));
        open.map(|sight| sight.since + self.failover_after)
            .filter(|at| *at > last)
            .min()
            .unwrap_or(Moment::NEVER)
    }

    /// The rows that may be removed: of processes that were first seen to be gone before `gone_before`, or whose beat has
    /// stood still, as is proved, since before `silent_before`. A name that is reserved at `now` keeps its row.
    pub fn removable(
        &self,
        now: Moment,
        gone_before: Moment,
        silent_before: Moment,
    ) -> impl Iterator<Item = &WorkerRow> {
        let old = move |sight: &&Sight| {
            let Some(row) = &sight.row else { return false };
            match row.departing {
                Some(Departure::Reserve(window)) if row.departed && now < sight.since + window => false,
                _ if row.gone() => sight.since < gone_before,
                _ => sight.proved && sight.since < silent_before,
            }
        };
        self.sights.values().filter(old).filter_map(|sight| sight.row.as_ref())
    }

    /// The row of this process has been removed, and nothing names the worker.
    pub fn removed(&mut self, process: &Process) {
        let same = |sight: &Sight| {
            sight
                .row
                .as_ref()
                .is_none_or(|row| row.incarnation == process.incarnation)
        };
        if self.sights.get(&process.worker).is_some_and(same) {
            self.sights.remove(&process.worker);
        }
    }

    /// Forgets the workers that left for good, where no lease names them: for an observer that removes no rows.
    pub fn forget_left(&mut self, named: impl Fn(&WorkerId) -> bool) {
        self.sights
            .retain(|id, sight| !sight.row.as_ref().is_some_and(WorkerRow::left_for_good) || named(id));
    }

    /// Forgets a worker without a row that no lease names any more.
    pub fn forget_missing(&mut self, named: impl Fn(&WorkerId) -> bool) {
        self.sights.retain(|id, sight| sight.row.is_some() || named(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: Duration = Duration::from_secs(10);

    fn row(incarnation: &str, beat: u64) -> WorkerRow {
        let process = Process {
            worker: "w".into(),
            incarnation: incarnation.into(),
        };
        WorkerRow {
            beat,
            ..WorkerRow::starting(process, None, None, String::new())
        }
    }

    /// Reads as (sent, answered, incarnation, beat), in seconds.
    fn check(reads: &[(u64, u64, &str, u64)], expected: Life) {
        let mut peers = Liveness::new(F, true);
        for (sent, answered, incarnation, beat) in reads {
            let (sent, answered) = (Moment::millis(sent * 1_000), Moment::millis(answered * 1_000));
            peers.saw(&"w".into(), Some(&row(incarnation, *beat)), sent, answered);
        }
        assert_eq!(peers.life(&"w".into()), expected, "{reads:?}");
    }

    #[test]
    fn dead_is_who_shows_the_same_beat_to_a_read_sent_late_enough() {
        check(&[(0, 1, "a", 5), (11, 12, "a", 5)], Life::Silent);
        check(&[(0, 1, "a", 5), (11, 12, "a", 6)], Life::Live);
        check(&[(0, 1, "a", 5), (11, 12, "b", 5)], Life::Live);
    }

    #[test]
    fn a_late_answer_to_an_early_read_proves_nothing() {
        check(&[(0, 1, "a", 5), (10, 30, "a", 5)], Life::Live);
    }

    #[test]
    fn a_beat_brings_the_silent_back() {
        check(&[(0, 1, "a", 5), (11, 12, "a", 5), (13, 14, "a", 6)], Life::Live);
    }

    #[test]
    fn a_row_that_is_missing_twice_may_have_been_there_between() {
        let seconds = |s: u64| Moment::millis(s * 1_000);
        let life = |reads: &[u64]| {
            let mut peers = Liveness::new(F, true);
            peers.expect(&"w".into());
            for at in reads {
                peers.saw_all(&[], seconds(*at), seconds(*at));
            }
            peers.life(&"w".into())
        };
        assert_eq!(life(&[0, 20]), Life::Live);
        assert_eq!(life(&[0, 2, 4, 6, 8, 10]), Life::Silent);
    }

    #[test]
    fn a_departed_name_is_reserved_for_its_window_only() {
        let mut peers = Liveness::new(F, true);
        let left = WorkerRow {
            departing: Some(Departure::Reserve(Duration::from_secs(30))),
            departed: true,
            ..row("a", 5)
        };
        peers.saw(&"w".into(), Some(&left), Moment::millis(0), Moment::millis(0));
        assert!(peers.shares(&"w".into(), Moment::millis(29_999)));
        assert!(!peers.shares(&"w".into(), Moment::millis(30_000)));
    }

    #[test]
    fn a_proof_of_death_names_one_process() {
        let mut peers = Liveness::new(F, true);
        let ended = WorkerRow {
            ended: true,
            ..row("a", 5)
        };
        peers.saw(&"w".into(), Some(&ended), Moment::ZERO, Moment::ZERO);
        assert!(peers.is_gone(&"w".into(), Some(&"a".into())));
        peers.saw(&"w".into(), Some(&row("b", 0)), Moment::ZERO, Moment::ZERO);
        assert!(peers.is_gone(&"w".into(), Some(&"a".into())));
        assert!(!peers.is_gone(&"w".into(), Some(&"b".into())));
    }
}
