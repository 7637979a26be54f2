//! One look at stream and tables, and what it says about the distribution of leases.

use std::collections::{BTreeMap, BTreeSet};

use kinex_core::balance::{Candidate, View};
use kinex_core::id::{ShardId, WorkerId};
use kinex_core::lease::Lease;
use kinex_core::shard_map::Shard;
use kinex_core::stats::{Balance, Spread};
use kinex_core::worker::WorkerRow;
use kinex_kcl::ports::{FaultKind, LeaseScan, LeaseStore};
use serde::Serialize;

use super::fleet::{Member, State};
use crate::endpoint::Connected;
use crate::output::{Shown, table};
use kinex_stage::report::recording::ordinal_key;
use kinex_stage::report::summary::Shards;

/// What was read.
pub(crate) struct Snapshot {
    /// Every shard that the stream still knows.
    pub(crate) shards: Vec<Shard>,
    /// The lease table.
    pub(crate) scan: LeaseScan,
    /// The workers' rows.
    pub(crate) workers: Vec<WorkerRow>,
}

impl Snapshot {
    /// Reads stream, leases and workers at once.
    ///
    /// # Errors
    /// When any of them cannot be read, with what to do about it.
    pub(crate) async fn read(at: &Connected) -> anyhow::Result<Self> {
        let (streams, leases) = (at.clients.streams(), at.clients.leases(&at.application));
        let (shards, scan, workers) = Box::pin(async {
            tokio::join!(
                at.ask(|| streams.shards(&at.stream)),
                leases.leases(),
                Self::workers(at)
            )
        })
        .await;
        Ok(Self {
            shards: shards?,
            scan: scan.map_err(|fault| at.explain(fault))?,
            workers: workers?,
        })
    }

    /// Reads the workers' rows. An application of the Java library has no table for them.
    ///
    /// # Errors
    /// When they cannot be read, with what to do about it.
    pub(crate) async fn workers(at: &Connected) -> anyhow::Result<Vec<WorkerRow>> {
        match at.clients.leases(&at.application).members().await {
            Ok((_, workers)) => Ok(workers),
            Err(fault) if fault.kind == FaultKind::Missing => Ok(Vec::new()),
            Err(fault) => Err(at.explain(fault)),
        }
    }

    /// The leases with records left to read.
    pub(crate) fn runnable(&self) -> impl Iterator<Item = &Lease> {
        self.scan.leases.iter().filter(|lease| !lease.finished())
    }

    /// The leases as a plan sees them, shared by `workers`.
    pub(crate) fn view(&self, workers: Vec<Candidate>) -> View {
        let runnable: BTreeSet<ShardId> = self.runnable().map(|lease| lease.key.clone()).collect();
        View::of(&self.scan.leases, &runnable, workers)
    }

    /// How many shards there are.
    pub(crate) fn counts(&self) -> Shards {
        let open = self.shards.iter().filter(|shard| shard.open).count();
        Shards {
            total: self.shards.len(),
            open,
            closed: self.shards.len() - open,
        }
    }
}

/// What was read, and who lives.
pub(crate) struct Observed {
    /// What was read.
    pub(crate) snapshot: Snapshot,
    /// Everybody, the living first.
    pub(crate) members: Vec<Member>,
}

impl Observed {
    /// How many workers were not watched for long enough to tell whether they live.
    pub(crate) fn unknown(&self) -> usize {
        self.members
            .iter()
            .filter(|member| member.state == State::Unknown)
            .count()
    }

    /// What is known of a worker's life.
    pub(crate) fn state(&self, worker: &WorkerId) -> Option<State> {
        let member = self.members.iter().find(|member| member.row.id == *worker)?;
        Some(member.state)
    }

    /// The workers that share the leases: those that live and are not leaving.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let sharing = self.members.iter().filter(|member| member.state.shares());
        sharing
            .map(|member| Candidate {
                id: member.row.id.clone(),
                hard_cap: member.row.hard_cap,
            })
            .collect()
    }

    /// Who has how many leases at this moment. A lease under hand-off counts for the one who still reads it.
    pub(crate) fn distribution(&self, at: &Connected) -> Distribution {
        let snapshot = &self.snapshot;
        let mut keys: BTreeMap<&WorkerId, Vec<String>> = BTreeMap::new();
        let (mut unassigned, mut leaving) = (0, 0);
        for lease in snapshot.runnable() {
            let owner = lease.present_owner();
            match owner.and_then(|owner| self.state(owner)) {
                Some(State::Leaving) => leaving += 1,
                Some(state) if state.shares() => {}
                _ => unassigned += 1,
            }
            if let Some(owner) = owner {
                keys.entry(owner).or_default().push(lease.key.to_string());
            }
        }
        let mut workers = Vec::new();
        let mut absent = Vec::new();
        let mut spread = Spread {
            by_worker: BTreeMap::new(),
            // A lease that is about to be given away is not where it stays.
            unassigned: unassigned + leaving,
        };
        for member in &self.members {
            let lease_keys = keys.remove(&member.row.id).unwrap_or_default();
            let line = WorkerLine::of(member, lease_keys);
            if member.state.shares() {
                spread.by_worker.insert(member.row.id.clone(), line.leases);
            }
            if member.state.reads() {
                workers.push(line);
            } else {
                absent.push(line);
            }
        }
        workers.sort_by_key(|line| ordinal_key(&line.worker));
        absent.sort_by_key(|line| (line.state, ordinal_key(&line.worker)));
        Distribution {
            stream: at.stream.clone(),
            application: at.application.clone(),
            leases: spread.total(),
            unassigned,
            leaving,
            unknown: self.unknown(),
            imbalance: spread.imbalance(),
            ideal: rounded(spread.ideal()),
            gap: rounded(spread.gap()),
            cv: rounded(spread.cv()),
            balanced: spread.verdict() == Balance::Even,
            verdict: verdict(&spread, leaving, at),
            shards: snapshot.counts(),
            handing_over: snapshot.runnable().filter(|lease| lease.handoff_pending()).count(),
            unreadable: snapshot
                .scan
                .unreadable
                .iter()
                .map(|(key, why)| format!("{key}: {why}"))
                .collect(),
            workers,
            absent,
        }
    }
}

/// The verdict as a sentence, with the next step where there is nothing to judge.
fn verdict(spread: &Spread, leaving: u32, at: &Connected) -> String {
    let said = spread.verdict_text();
    match spread.verdict() {
        Balance::Unassigned if leaving == spread.unassigned => format!(
            "not balanced: {leaving} of {} leases with workers that leave",
            spread.total()
        ),
        Balance::NoLeases if spread.by_worker.is_empty() => format!(
            "{said}: start a consumer, which makes them: `kinex consumer --stream {} --application {}`",
            at.stream, at.application
        ),
        Balance::NoLeases => format!("{said}: they make the leases in a moment, look again"),
        _ => said,
    }
}

/// Who has how many leases.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Distribution {
    /// The stream.
    pub(crate) stream: String,
    /// The application.
    pub(crate) application: String,
    /// Each worker that lives, as far as is known.
    pub(crate) workers: Vec<WorkerLine>,
    /// Those that are silent, dead, or have left. They count in no figure.
    pub(crate) absent: Vec<WorkerLine>,
    /// Runnable leases.
    pub(crate) leases: u32,
    /// Those that nobody has who lives.
    pub(crate) unassigned: u32,
    /// Those of workers that are leaving.
    pub(crate) leaving: u32,
    /// How many workers were not watched for long enough to tell whether they live.
    pub(crate) unknown: usize,
    /// The greatest count less the smallest.
    pub(crate) imbalance: u32,
    /// The mean share.
    pub(crate) ideal: f64,
    /// The largest distance from it.
    pub(crate) gap: f64,
    /// Coefficient of variation.
    pub(crate) cv: f64,
    /// Whether every lease has an owner that lives and stays, and no worker has more than one above another.
    pub(crate) balanced: bool,
    /// The same as a sentence.
    pub(crate) verdict: String,
    /// The shards.
    pub(crate) shards: Shards,
    /// Leases that somebody has asked for and not got yet.
    pub(crate) handing_over: usize,
    /// Rows of the lease table that cannot be read, and why.
    pub(crate) unreadable: Vec<String>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkerLine {
    /// Its name.
    pub(crate) worker: String,
    /// What is known of its life.
    pub(crate) state: State,
    /// How many leases it has.
    pub(crate) leases: u32,
    /// For how long its newest beat has been seen.
    pub(crate) silent_seconds: f64,
    /// Its heartbeats so far; absent for an owner without a worker row, such as one of the Java library.
    pub(crate) beat: Option<u64>,
    /// When its process started.
    pub(crate) started: Option<String>,
    /// Where a person finds it.
    pub(crate) address: Option<String>,
    /// The leases.
    pub(crate) lease_keys: Vec<String>,
}

impl WorkerLine {
    fn of(member: &Member, lease_keys: Vec<String>) -> Self {
        let row = &member.row;
        Self {
            worker: row.id.to_string(),
            state: member.state,
            leases: u32::try_from(lease_keys.len()).unwrap_or(u32::MAX),
            silent_seconds: (member.silent_for.as_secs_f64() * 10.0).round() / 10.0,
            beat: member.registered.then_some(row.beat),
            started: Some(row.started.clone()).filter(|started| !started.is_empty()),
            address: row.address.clone(),
            lease_keys,
        }
    }

    /// When the last beat was, as far as anybody saw.
    fn last_beat(&self) -> String {
        let seconds = self.silent_seconds.floor();
        match self.state {
            State::Departed => "-".to_owned(),
            State::Unknown => "not seen yet".to_owned(),
            State::Live | State::Leaving => format!("{seconds} s ago"),
            State::Silent | State::Dead => format!("over {seconds} s ago"),
        }
    }
}

/// Whether there is balance, and who lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    balanced: bool,
    states: Vec<(String, State)>,
}

/// The most workers that have left, or are dead without a lease, that a table lists.
const ABSENT_MAX: usize = 10;

impl Distribution {
    /// What somebody who watches wants to know at once.
    pub(crate) fn news(&self) -> News {
        let lines = self.workers.iter().chain(&self.absent);
        let present = lines.filter(|line| line.state != State::Departed);
        News {
            balanced: self.balanced,
            states: present.map(|line| (line.worker.clone(), line.state)).collect(),
        }
    }

    /// The table: its header, its lines, and what stands below it.
    pub(crate) fn parts(&self, wide: bool) -> (String, Vec<String>, Vec<String>) {
        let ideal = self.ideal.max(0.000_1);
        let (holding, without): (Vec<&WorkerLine>, Vec<&WorkerLine>) =
            self.absent.iter().partition(|line| line.leases > 0);
        let more = without.len().saturating_sub(ABSENT_MAX);
        let shown = self
            .workers
            .iter()
            .chain(holding)
            .chain(without.into_iter().take(ABSENT_MAX));
        let rows = shown.map(|line| {
            let share = f64::from(line.leases) / ideal * 100.0;
            let share = if line.state.shares() {
                format!("{share:.0} %")
            } else {
                "-".to_owned()
            };
            let mut row = vec![line.worker.clone(), line.state.as_str().to_owned(), line.last_beat()];
            row.extend([line.leases.to_string(), share]);
            row.push("█".repeat(line.leases.min(60) as usize));
            if wide {
                row.push(line.beat.map_or_else(|| "-".to_owned(), |beat| beat.to_string()));
                row.push(line.started.clone().unwrap_or_else(|| "-".to_owned()));
                row.push(line.address.clone().unwrap_or_else(|| "-".to_owned()));
                let keys: Vec<String> = line.lease_keys.iter().map(|key| short(key)).collect();
                row.push(keys.join(" "));
            }
            row
        });
        let mut header = vec!["worker", "state", "last beat", "leases", "of ideal", ""];
        if wide {
            header.extend(["beats", "started", "address", "shards"]);
        }
        let table = table(header, rows.collect());
        let mut lines = table.lines().map(str::to_owned);
        let header = lines.next().unwrap_or_default();
        let mut body: Vec<String> = lines.collect();
        if more > 0 {
            body.push(format!("and {more} more that left or are dead"));
        }
        (header, body, self.figures())
    }

    fn figures(&self) -> Vec<String> {
        let shards = self.shards;
        let mut lines = vec![
            format!(
                "shards: {} total, {} open, {} closed",
                shards.total, shards.open, shards.closed
            ),
            format!("imbalance: {}  ideal: {}  CV: {}", self.imbalance, self.ideal, self.cv),
        ];
        if self.handing_over > 0 {
            lines.push(format!("handing over: {}", self.handing_over));
        }
        lines.extend(self.unreadable.iter().map(|row| format!("unreadable row {row}")));
        if self.unknown > 0 {
            lines.push(format!("not known yet whether they live: {}", self.unknown));
        }
        lines.push(self.verdict.clone());
        lines
    }
}

impl Shown for Distribution {
    fn text(&self, wide: bool) -> String {
        let (header, body, figures) = self.parts(wide);
        let table = [vec![header], body, vec![String::new()], figures].concat();
        table.join("\n")
    }
}

/// `shardId-000000000007` as a person says it: `7`.
pub(crate) fn short(key: &str) -> String {
    let number = key
        .strip_prefix("shardId-")
        .and_then(|digits| digits.parse::<u64>().ok());
    number.map_or_else(|| key.to_owned(), |number| number.to_string())
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
