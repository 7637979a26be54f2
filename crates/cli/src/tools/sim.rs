//! `kinex sim`: seeded simulations of a fleet under faults, in virtual time.

use std::collections::BTreeMap;
use std::time::Instant;

use kinex_core::worker::RenewalMode;
use kinex_sim::{Scenario, run as play};
use serde::Serialize;

use crate::exit::{Code, Stop};
use crate::output::{Format, Shown, line, show, table};

/// What to play.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// Workers
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,
    /// Shards
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    shards: u16,
    /// How leases are renewed
    #[arg(long, value_enum, default_value_t)]
    renewal: Renewal,
    /// Nothing goes wrong
    #[arg(long)]
    calm: bool,
    /// Print the history of the first seed instead of a summary
    #[arg(long)]
    history: bool,
}

/// The names of the renewal modes on the command line.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Renewal {
    /// One heartbeat for all leases of a worker
    #[default]
    PerWorker,
    /// One write for each lease
    PerLease,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Simulated {
    scenario: &'static str,
    renewal: &'static str,
    workers: u16,
    shards: u16,
    seeds: u64,
    failed: BTreeMap<u64, String>,
    moves_median: usize,
    settled_seconds_median: f64,
    settled_seconds_max: f64,
    requests_per_second_median: f64,
    delivered: u64,
    duplicates: u64,
    seconds: f64,
}

impl Shown for Simulated {
    fn text(&self, _wide: bool) -> String {
        let row = |what: &str, value: String| vec![what.to_owned(), value];
        let rows = vec![
            row(
                "scenario",
                format!(
                    "{}, {} workers, {} shards, {}",
                    self.scenario, self.workers, self.shards, self.renewal
                ),
            ),
            row("seeds", format!("{} in {:.1} s", self.seeds, self.seconds)),
            row("failed", self.failed.len().to_string()),
            row("moves", format!("{} (median)", self.moves_median)),
            row(
                "settled",
                format!(
                    "{:.1} s (median), {:.1} s (worst)",
                    self.settled_seconds_median, self.settled_seconds_max
                ),
            ),
            row(
                "requests per second",
                format!("{:.1} (median)", self.requests_per_second_median),
            ),
            row(
                "records",
                format!("{} delivered, {} more than once", self.delivered, self.duplicates),
            ),
        ];
        let mut text = table(["simulation", ""], rows);
        for (seed, violation) in &self.failed {
            text += &format!("\nseed {seed}: {violation}");
        }
        text
    }
}

/// Plays the seeds; exit code 1 when a check fails in any.
pub(crate) fn run(args: &Args, output: Format) -> anyhow::Result<Code> {
    let Some(until) = args.from.checked_add(args.seeds).filter(|_| args.seeds > 0) else {
        return Err(Stop::usage("no seed to play").next("give --seeds 1 or more").into());
    };
    let renewal = match args.renewal {
        Renewal::PerWorker => RenewalMode::PerWorker,
        Renewal::PerLease => RenewalMode::PerLease,
    };
    let fleet = if args.calm { Scenario::calm } else { Scenario::storm };
    let scenario = fleet(usize::from(args.workers), usize::from(args.shards), renewal);
    if args.history {
        let outcome = play(&scenario, args.from);
        for entry in outcome.history.lines() {
            line(&entry)?;
        }
        return Ok(if outcome.violations.is_empty() {
            Code::Done
        } else {
            Code::VerdictFailed
        });
    }
    let started = Instant::now();
    let mut failed = BTreeMap::new();
    let (mut moves, mut settled, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut delivered, mut duplicates) = (0, 0);
    for seed in args.from..until {
        let outcome = play(&scenario, seed);
        if let Some(violation) = outcome.violations.first() {
            failed.insert(seed, violation.to_string());
        }
        moves.push(outcome.stats.moves as f64);
        settled.push(outcome.stats.settled_after.as_secs_f64());
        rates.push(outcome.stats.requests_per_second);
        delivered += outcome.stats.delivered;
        duplicates += outcome.stats.duplicates;
    }
    let sound = failed.is_empty();
    show(
        output,
        &Simulated {
            scenario: scenario.name,
            renewal: renewal.as_str(),
            workers: args.workers,
            shards: args.shards,
            seeds: args.seeds,
            failed,
            moves_median: median(&mut moves) as usize,
            settled_seconds_max: settled.iter().copied().fold(0.0, f64::max),
            settled_seconds_median: median(&mut settled),
            requests_per_second_median: median(&mut rates),
            delivered,
            duplicates,
            seconds: started.elapsed().as_secs_f64(),
        },
    )?;
    Ok(if sound { Code::Done } else { Code::VerdictFailed })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
