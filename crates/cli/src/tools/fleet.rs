//! Who of an application's workers lives, judged as the workers judge each other: by heartbeats that were seen to change.
//!
//! One read cannot tell a worker that beats from one that was killed, so a tool reads the rows again until every worker
//! has shown a new beat, or has been silent for longer than a beat takes ([`Judge::patience`]). A worker is dead when it
//! was silent for the failover time, or when somebody who knows wrote so into its row. An owner without a worker row,
//! such as one of the Java library, beats with the counters of its leases.
//!
//! Two things shorten the wait. A process that writes a checkpoint lives, and where records flow there is one every
//! second. And a worker that counts leases in its own row while the table names it in none has lost them to others: it is
//! taken for silent until it beats.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kinex_core::id::{ShardId, WorkerId};
use kinex_core::lease::{Lease, Process};
use kinex_core::liveness::Liveness;
use kinex_core::member;
use kinex_core::time::Moment;
use kinex_core::worker::WorkerRow;
use kinex_kcl::ports::LeaseStore;
use serde::Serialize;

use super::snapshot::{Observed, Snapshot};
use crate::endpoint::{Connected, Target};

/// From one read of the workers' rows to the next while a tool waits for heartbeats.
const PACE: Duration = Duration::from_millis(250);

/// Whose fleet, and how to judge it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// The failover time: longer silence is death [default: what the workers' rows say, else 10]
    #[arg(long, value_name = "SECONDS", value_parser = failover)]
    failover_after: Option<f64>,
    /// Read once, without waiting for heartbeats (about 4 s with the default failover time): silent workers then count as live
    #[arg(long)]
    once: bool,
}

fn failover(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.5..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds between 0.5 and 3600".to_owned()),
    }
}

/// What is known of a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    /// It beats.
    Live,
    /// It beats, and gives its leases away.
    Leaving,
    /// It has not been watched for long enough to tell.
    Unknown,
    /// No beat for longer than a beat takes; it may be dead, or slow.
    Silent,
    /// No beat for the failover time, or somebody who knows says that its process has ended.
    Dead,
    /// It left in good order.
    Departed,
}

impl State {
    /// The word for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Leaving => "leaving",
            Self::Unknown => "unknown",
            Self::Silent => "silent",
            Self::Dead => "dead",
            Self::Departed => "departed",
        }
    }

    /// Whether the worker can be reading: as far as anybody knows, it is at work.
    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::Live | Self::Leaving | Self::Unknown)
    }

    /// Whether the worker shares in the leases.
    pub(crate) fn shares(self) -> bool {
        matches!(self, Self::Live | Self::Unknown)
    }
}

/// One worker as judged.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its row; made up for an owner that has none.
    pub(crate) row: WorkerRow,
    /// Whether there is a row of it in the workers' table.
    pub(crate) registered: bool,
    /// What is known of it.
    pub(crate) state: State,
    /// How long its present beat has been seen; its last beat is no younger than that when it lives.
    pub(crate) silent_for: Duration,
}

/// The judgement: reads go in, states come out. Draws on no clock.
pub(crate) struct Judge {
    /// What the user said.
    given: Option<Duration>,
    failover_after: Duration,
    peers: Liveness,
    /// When each worker was first seen, with the row that it has.
    first_seen: BTreeMap<WorkerId, Moment>,
    first_read: Option<Moment>,
    last_read: Moment,
    rows: BTreeMap<WorkerId, (WorkerRow, bool)>,
    /// The leases of owners without a row: who has it, and its counter.
    counters: BTreeMap<ShardId, (WorkerId, bool, u64)>,
    /// How often a counter of such an owner was seen to move.
    moved: BTreeMap<WorkerId, u64>,
    /// The leases of the last read.
    leases: BTreeMap<ShardId, Lease>,
    /// Who was seen to write one of its own leases.
    writing: BTreeSet<WorkerId>,
}

impl Judge {
    /// Has seen nobody yet. Where no failover time is given, the longest that a worker's row names counts.
    pub(crate) fn new(given: Option<Duration>) -> Self {
        let failover_after = given.unwrap_or(member::Config::default().failover_after);
        Self {
            given,
            failover_after,
            peers: Liveness::new(failover_after, true),
            first_seen: BTreeMap::new(),
            first_read: None,
            last_read: Moment::ZERO,
            rows: BTreeMap::new(),
            counters: BTreeMap::new(),
            moved: BTreeMap::new(),
            leases: BTreeMap::new(),
            writing: BTreeSet::new(),
        }
    }

    /// How long a live worker may go without a beat: the time from one to the next (a third of the failover time),
    /// and what reads, writes and a busy machine take.
    pub(crate) fn patience(&self) -> Duration {
        self.failover_after / 3 + (self.failover_after / 15).max(Duration::from_millis(500))
    }

    /// A read that was sent at `sent` and answered at `now` returned these rows of workers and these leases.
    pub(crate) fn saw(&mut self, leases: &[Lease], workers: &[WorkerRow], sent: Moment, now: Moment) {
        let named = workers
            .iter()
            .filter(|row| !row.gone())
            .filter_map(|row| row.failover_after)
            .max();
        if let (None, Some(named)) = (self.given, named)
            && named != self.failover_after
        {
            // Other workers than those that were judged before: it begins anew.
            *self = Self {
                failover_after: named,
                peers: Liveness::new(named, true),
                ..Self::new(None)
            };
        }
        self.rows = workers
            .iter()
            .map(|row| (row.id.clone(), (row.clone(), true)))
            .collect();
        self.owners_without_row(leases);
        self.watch_writes(leases);
        let rows: Vec<WorkerRow> = self.rows.values().map(|(row, _)| row.clone()).collect();
        self.peers.saw_all(&rows, sent, now);
        self.first_read.get_or_insert(now);
        self.last_read = now;
        self.first_seen.retain(|id, _| self.rows.contains_key(id));
        for id in self.rows.keys() {
            self.first_seen.entry(id.clone()).or_insert(now);
        }
    }

    /// Makes a row up for each owner that has none; its beat counts how often a counter of its leases moved.
    fn owners_without_row(&mut self, leases: &[Lease]) {
        let mut counters = BTreeMap::new();
        let mut moved = BTreeSet::new();
        for lease in leases.iter().filter(|lease| !lease.finished()) {
            let Some(owner) = lease.present_owner().filter(|owner| self.registered(owner).is_none()) else {
                continue;
            };
            // A request for the lease moves the counter too, and is not the owner's.
            let now = (owner.clone(), lease.handoff_pending(), lease.counter);
            let before = self.counters.get(&lease.key);
            if before.is_some_and(|before| (&before.0, before.1) == (&now.0, now.1) && before.2 != now.2) {
                moved.insert(owner.clone());
            }
            counters.insert(lease.key.clone(), now);
        }
        for owner in moved {
            *self.moved.entry(owner).or_default() += 1;
        }
        for (owner, _, _) in counters.values() {
            let process = Process {
                worker: owner.clone(),
                incarnation: "none".into(),
            };
            let row = WorkerRow {
                beat: self.moved.get(owner).copied().unwrap_or(0),
                ..WorkerRow::starting(process, None, None, String::new())
            };
            self.rows.insert(owner.clone(), (row, false));
        }
        self.counters = counters;
    }

    /// Notes whose leases changed since the last read in a way that only their owner can change them.
    fn watch_writes(&mut self, leases: &[Lease]) {
        for lease in leases {
            let Some(before) = self.leases.get(&lease.key) else {
                continue;
            };
            let hold = |lease: &Lease| (lease.owner.clone(), lease.incarnation.clone(), lease.epoch);
            let quiet = !before.handoff_pending() && !lease.handoff_pending();
            if quiet && hold(before) == hold(lease) && before.counter != lease.counter {
                self.writing.extend(lease.owner.clone());
            }
        }
        self.leases = leases.iter().map(|lease| (lease.key.clone(), lease.clone())).collect();
    }

    /// Whether a worker's own row counts leases, and no lease names the worker any more.
    fn was_taken_from(&self, row: &WorkerRow) -> bool {
        let names = |lease: &Lease| [&lease.owner, &lease.checkpoint_owner].contains(&&Some(row.id.clone()));
        row.leases > 0 && row.departing.is_none() && !self.leases.values().any(names)
    }

    fn registered(&self, id: &WorkerId) -> Option<&WorkerRow> {
        self.rows
            .get(id)
            .filter(|(_, registered)| *registered)
            .map(|(row, _)| row)
    }

    /// Everybody of the last read, the living first.
    pub(crate) fn members(&self) -> Vec<Member> {
        let mut members: Vec<Member> = self
            .rows
            .values()
            .map(|(row, registered)| {
                let since = self.peers.since(&row.id).unwrap_or(self.last_read);
                let silent_for = self.last_read.since(since);
                Member {
                    state: self.state(row, *registered, since, silent_for),
                    row: row.clone(),
                    registered: *registered,
                    silent_for,
                }
            })
            .collect();
        members.sort_by_key(|member| (!member.state.reads(), member.state == State::Departed));
        members
    }

    fn state(&self, row: &WorkerRow, registered: bool, since: Moment, silent_for: Duration) -> State {
        let first = self.first_seen.get(&row.id).copied().unwrap_or(since);
        // A row that was not there at the first read was written since.
        let heard = since > first
            || self.writing.contains(&row.id)
            || (registered && self.first_read.is_some_and(|read| first > read));
        match () {
            () if row.departed => State::Departed,
            () if row.ended || self.peers.is_proved_dead(&row.id) => State::Dead,
            () if silent_for > self.patience() => State::Silent,
            () if !heard && self.was_taken_from(row) => State::Silent,
            () if !heard => State::Unknown,
            () if row.departing.is_some() => State::Leaving,
            () => State::Live,
        }
    }
}

/// Reads an application's tables again and again, and judges who lives.
pub(crate) struct Fleet<'a> {
    at: &'a Connected,
    once: bool,
    began: Instant,
    judge: Judge,
}

impl<'a> Fleet<'a> {
    /// A fleet that nobody has looked at yet.
    pub(crate) fn new(at: &'a Connected, args: &FleetArgs) -> Self {
        Self {
            at,
            once: args.once,
            began: Instant::now(),
            judge: Judge::new(args.failover_after.map(Duration::from_secs_f64)),
        }
    }

    /// Reads everything once; who was not watched for long enough is [`State::Unknown`].
    ///
    /// # Errors
    /// When stream or tables cannot be read, with what to do about it.
    pub(crate) async fn read(&mut self) -> anyhow::Result<Observed> {
        let sent = self.now();
        let snapshot = Snapshot::read(self.at).await?;
        let now = self.now();
        self.judge.saw(&snapshot.scan.leases, &snapshot.workers, sent, now);
        Ok(Observed {
            snapshot,
            members: self.judge.members(),
        })
    }

    /// Reads until it is known of every worker whether it beats: [`Judge::patience`] at most, and as a rule less.
    ///
    /// # Errors
    /// When stream or tables cannot be read, with what to do about it.
    pub(crate) async fn judged(&mut self) -> anyhow::Result<Observed> {
        let mut observed = self.read().await?;
        if self.once || observed.unknown() == 0 {
            return Ok(observed);
        }
        while self.judge.members().iter().any(|member| member.state == State::Unknown) {
            tokio::time::sleep(PACE).await;
            self.read_tables().await?;
        }
        observed = self.read().await?;
        Ok(observed)
    }

    /// Reads the workers' rows and the leases.
    async fn read_tables(&mut self) -> anyhow::Result<()> {
        let sent = self.now();
        let store = self.at.clients.leases(&self.at.application);
        let (leases, workers) = tokio::join!(store.leases(), Snapshot::workers(self.at));
        let leases = leases.map_err(|fault| self.at.explain(fault))?.leases;
        self.judge.saw(&leases, &workers?, sent, self.now());
        Ok(())
    }

    /// The failover time that silence is judged by.
    pub(crate) fn failover_after(&self) -> Duration {
        self.judge.failover_after
    }

    fn now(&self) -> Moment {
        Moment::ZERO + self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use kinex_core::id::Epoch;
    use kinex_core::lease::Checkpoint;
    use kinex_core::worker::Departure;

    use super::*;

    fn row(name: &str, beat: u64) -> WorkerRow {
        let process = Process {
            worker: name.into(),
            incarnation: "one".into(),
        };
        WorkerRow {
            beat,
            ..WorkerRow::starting(process, None, None, String::new())
        }
    }

    fn lease(key: &str, owner: &str, counter: u64) -> Lease {
        let mut lease = Lease::unowned(key.into(), Checkpoint::TrimHorizon, Epoch(1));
        lease.owner = Some(owner.into());
        lease.counter = counter;
        lease
    }

    /// Plays reads at these milliseconds, with the leases and the workers' rows of each, and names everybody's state.
    fn check(reads: &[(u64, Vec<Lease>, Vec<WorkerRow>)], expected: &str) {
        let mut judge = Judge::new(None);
        for (at, leases, workers) in reads {
            judge.saw(leases, workers, Moment::millis(*at), Moment::millis(*at));
        }
        let states = judge.members().into_iter().map(|member| {
            let seconds = member.silent_for.as_secs();
            format!("{} {} {seconds}", member.row.id, member.state.as_str())
        });
        assert_eq!(states.collect::<Vec<_>>().join(", "), expected);
    }

    #[test]
    fn beats_between_two_reads_tell_the_living_from_the_dead() {
        let at = |millis, a, b| (millis, Vec::new(), vec![row("a", a), row("b", b)]);
        check(&[at(0, 1, 7)], "a unknown 0, b unknown 0");
        check(&[at(0, 1, 7), at(3_500, 2, 7)], "a live 0, b unknown 3");
        check(&[at(0, 1, 7), at(3_500, 2, 7), at(4_100, 2, 7)], "a live 0, b silent 4");
        check(
            &[at(0, 1, 7), at(3_500, 2, 7), at(7_000, 3, 7), at(10_000, 4, 7)],
            "a live 0, b dead 10",
        );
        check(&[at(0, 1, 7), at(9_000, 2, 7), at(9_500, 2, 8)], "a live 0, b live 0");
    }

    #[test]
    fn a_worker_that_beat_once_is_silent_as_soon_as_it_misses_a_beat() {
        let at = |millis, beat| (millis, Vec::new(), vec![row("a", beat)]);
        check(&[at(0, 1), at(1_000, 2), at(4_900, 2)], "a live 3");
        check(&[at(0, 1), at(1_000, 2), at(5_100, 2)], "a silent 4");
    }

    #[test]
    fn the_rows_say_how_long_a_silence_is_death() {
        let at = |millis, beat| {
            let slow = WorkerRow {
                failover_after: Some(Duration::from_secs(30)),
                ..row("a", beat)
            };
            (millis, Vec::new(), vec![slow])
        };
        check(&[at(0, 1), at(10_000, 2), at(19_000, 2)], "a live 9");
        check(&[at(0, 1), at(10_000, 2), at(23_000, 2)], "a silent 13");
    }

    #[test]
    fn a_row_that_is_new_was_written_by_the_living() {
        check(&[(0, vec![], vec![]), (1_000, vec![], vec![row("a", 0)])], "a live 0");
    }

    #[test]
    fn a_row_says_by_itself_who_left_and_who_is_known_to_be_dead() {
        let left = WorkerRow {
            departed: true,
            ..row("left", 3)
        };
        let ended = WorkerRow {
            ended: true,
            ..row("ended", 3)
        };
        let leaving = |beat| WorkerRow {
            departing: Some(Departure::Release),
            ..row("leaving", beat)
        };
        check(
            &[
                (0, vec![], vec![left.clone(), ended.clone(), leaving(1)]),
                (100, vec![], vec![left, ended, leaving(2)]),
            ],
            "leaving leaving 0, ended dead 0, left departed 0",
        );
    }

    #[test]
    fn an_owner_without_a_row_lives_while_a_counter_of_its_leases_moves() {
        let at = |millis, one, two| (millis, vec![lease("s1", "java", one), lease("s2", "java", two)], vec![]);
        check(&[at(0, 5, 9)], "java unknown 0");
        check(&[at(0, 5, 9), at(3_000, 5, 10)], "java live 0");
        check(&[at(0, 5, 9), at(4_200, 5, 9)], "java silent 4");
        check(
            &[
                at(0, 5, 9),
                at(2_400, 5, 9),
                at(4_800, 5, 9),
                at(7_200, 5, 9),
                at(10_000, 5, 9),
            ],
            "java dead 10",
        );
    }

    #[test]
    fn checkpoint_of_a_worker_is_a_sign_of_life() {
        let of = |counter, incarnation: &str| {
            let mut lease = lease("s1", "a", counter);
            lease.incarnation = Some(incarnation.into());
            lease
        };
        let at = |millis, lease| (millis, vec![lease], vec![row("a", 1), row("b", 1)]);
        check(&[at(0, of(5, "one")), at(250, of(6, "one"))], "a live 0, b unknown 0");
        // Whoever asks for the lease writes its row too, and so does the next process of the name.
        let mut asked = of(6, "one");
        (asked.owner, asked.checkpoint_owner) = (Some("b".into()), Some("a".into()));
        check(&[at(0, of(5, "one")), at(250, asked)], "a unknown 0, b unknown 0");
        check(
            &[at(0, of(5, "one")), at(250, of(6, "two"))],
            "a unknown 0, b unknown 0",
        );
    }

    #[test]
    fn worker_that_lost_all_that_it_counts_is_silent_until_it_beats() {
        let counts = |name: &str, beat, leases| WorkerRow {
            leases,
            ..row(name, beat)
        };
        let at = |millis, beat| {
            let leases = vec![lease("s1", "a", 1), lease("s2", "a", 1)];
            (
                millis,
                leases,
                vec![counts("a", 1, 2), counts("b", beat, 2), counts("c", 1, 0)],
            )
        };
        check(&[at(0, 7)], "a unknown 0, c unknown 0, b silent 0");
        check(&[at(0, 7), at(250, 8)], "a unknown 0, b live 0, c unknown 0");
        // One that leaves gives its leases away itself.
        let leaving = WorkerRow {
            departing: Some(Departure::Release),
            ..counts("b", 7, 2)
        };
        check(
            &[(0, vec![lease("s1", "a", 1)], vec![leaving])],
            "a unknown 0, b unknown 0",
        );
    }

    #[test]
    fn a_counter_that_others_moved_is_no_sign_of_life() {
        let mut asked = lease("s1", "new", 6);
        asked.checkpoint_owner = Some("java".into());
        check(
            &[
                (0, vec![lease("s1", "java", 5)], vec![row("new", 1)]),
                (1_000, vec![asked], vec![row("new", 2)]),
            ],
            "java unknown 1, new live 0",
        );
        // The lease that somebody else took says nothing of its former owner.
        check(
            &[
                (
                    0,
                    vec![lease("s1", "java", 5), lease("s2", "java", 1)],
                    vec![row("new", 1)],
                ),
                (
                    1_000,
                    vec![lease("s1", "new", 6), lease("s2", "java", 1)],
                    vec![row("new", 2)],
                ),
            ],
            "java unknown 1, new live 0",
        );
    }
}
