//! One look at stream and tables, and what it says about the distribution of leases.

use std::collections::{BTreeMap, BTreeSet};

use kinex_core::balance::{Candidate, View};
use kinex_core::id::{ShardId, WorkerId};
use kinex_core::lease::Lease;
use kinex_core::shard_map::Shard;
use kinex_core::stats::{Balance, Spread};
use kinex_core::worker::WorkerRow;
use kinex_kcl::ports::{LeaseScan, LeaseStore};
use serde::Serialize;

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
        let (shards, scan, members) =
            Box::pin(async { tokio::join!(at.ask(|| streams.shards(&at.stream)), leases.leases(), leases.members()) })
                .await;
        let explain = |fault| at.explain(fault);
        let (_, workers) = members.map_err(explain)?;
        Ok(Self {
            shards: shards?,
            scan: scan.map_err(explain)?,
            workers,
        })
    }

    /// The leases with records left to read.
    pub(crate) fn runnable(&self) -> impl Iterator<Item = &Lease> {
        self.scan.leases.iter().filter(|lease| !lease.finished())
    }

    /// The workers that share the leases: those with a row that does not say that they left, or are leaving.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let staying = self.workers.iter().filter(|row| !row.gone() && row.departing.is_none());
        staying
            .map(|row| Candidate {
                id: row.id.clone(),
                hard_cap: row.hard_cap,
            })
            .collect()
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

    /// Who has how many leases at this moment. A lease under hand-off counts for the one who still reads it.
    pub(crate) fn distribution(&self, at: &Connected) -> Distribution {
        let present = self.candidates();
        let mut by_worker: BTreeMap<WorkerId, u32> = present.iter().map(|worker| (worker.id.clone(), 0)).collect();
        let mut unassigned = 0;
        for lease in self.runnable() {
            match lease.present_owner().and_then(|owner| by_worker.get_mut(owner)) {
                Some(count) => *count += 1,
                None => unassigned += 1,
            }
        }
        let spread = Spread { by_worker, unassigned };
        let mut workers: Vec<_> = spread
            .by_worker
            .iter()
            .map(|(worker, leases)| {
                let row = self.workers.iter().find(|row| row.id == *worker);
                let keys = self.runnable().filter(|lease| lease.present_owner() == Some(worker));
                WorkerLine {
                    worker: worker.to_string(),
                    leases: *leases,
                    beat: row.map(|row| row.beat),
                    started: row.map(|row| row.started.clone()),
                    lease_keys: keys.map(|lease| lease.key.to_string()).collect(),
                }
            })
            .collect();
        workers.sort_by_key(|line| ordinal_key(&line.worker));
        Distribution {
            stream: at.stream.clone(),
            application: at.application.clone(),
            leases: spread.total(),
            unassigned,
            imbalance: spread.imbalance(),
            ideal: rounded(spread.ideal()),
            gap: rounded(spread.gap()),
            cv: rounded(spread.cv()),
            balanced: spread.verdict() == Balance::Even,
            verdict: verdict(&spread, at),
            shards: self.counts(),
            handing_over: self.runnable().filter(|lease| lease.handoff_pending()).count(),
            unreadable: self
                .scan
                .unreadable
                .iter()
                .map(|(key, why)| format!("{key}: {why}"))
                .collect(),
            workers,
        }
    }
}

/// The verdict as a sentence, with the next step where there is nothing to judge.
fn verdict(spread: &Spread, at: &Connected) -> String {
    let said = spread.verdict_text();
    match spread.verdict() {
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
    /// Each worker.
    pub(crate) workers: Vec<WorkerLine>,
    /// Runnable leases.
    pub(crate) leases: u32,
    /// Those that nobody has.
    pub(crate) unassigned: u32,
    /// The greatest count less the smallest.
    pub(crate) imbalance: u32,
    /// The mean share.
    pub(crate) ideal: f64,
    /// The largest distance from it.
    pub(crate) gap: f64,
    /// Coefficient of variation.
    pub(crate) cv: f64,
    /// Whether every lease has an owner and no worker has more than one above another.
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
    /// How many leases it has.
    pub(crate) leases: u32,
    /// Its heartbeats so far.
    pub(crate) beat: Option<u64>,
    /// When its process started.
    pub(crate) started: Option<String>,
    /// The leases.
    pub(crate) lease_keys: Vec<String>,
}

impl Shown for Distribution {
    fn text(&self, wide: bool) -> String {
        let ideal = self.ideal.max(0.000_1);
        let rows = self.workers.iter().map(|line| {
            let share = f64::from(line.leases) / ideal * 100.0;
            let mut row = vec![line.worker.clone(), line.leases.to_string(), format!("{share:.0} %")];
            row.push("█".repeat(line.leases.min(60) as usize));
            if wide {
                row.push(line.beat.map_or_else(|| "-".to_owned(), |beat| beat.to_string()));
                row.push(line.started.clone().unwrap_or_else(|| "-".to_owned()));
                row.push(
                    line.lease_keys
                        .iter()
                        .map(|key| short(key))
                        .collect::<Vec<_>>()
                        .join(" "),
                );
            }
            row
        });
        let mut header = vec!["worker", "leases", "of ideal", ""];
        if wide {
            header.extend(["beat", "started", "shards"]);
        }
        let mut text = table(header, rows.collect());
        let shards = self.shards;
        text += &format!(
            "\n\nshards: {} total, {} open, {} closed",
            shards.total, shards.open, shards.closed
        );
        text += &format!(
            "\nimbalance: {}  ideal: {}  CV: {}",
            self.imbalance, self.ideal, self.cv
        );
        if self.handing_over > 0 {
            text += &format!("\nhanding over: {}", self.handing_over);
        }
        for row in &self.unreadable {
            text += &format!("\nunreadable row {row}");
        }
        text + "\n" + &self.verdict
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
