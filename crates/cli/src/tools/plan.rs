//! `kinex plan`: what would happen to the leases of a real table with other workers or shards. Changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use kinex_core::balance::{Candidate, Change, Placed, Policy, WhatIf, what_if};
use kinex_core::id::{ShardId, WorkerId};
use kinex_core::member::Config;
use kinex_core::split::{Select, splits};
use kinex_core::stats::Spread;
use kinex_stage::report::recording::ordinal_key;
use kinex_stage::text::slashed;
use serde::Serialize;

use super::fleet::{Fleet, FleetArgs};
use super::snapshot::Snapshot;
use crate::exit::{Code, Stop};
use crate::output::{Format, Shown, show, table};

/// What to suppose.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Suppose so many workers [default: those there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    workers: Option<u32>,
    /// Suppose that so many of the widest shards were split
    #[arg(long, value_name = "N", default_value_t = 0)]
    split: usize,
    /// Suppose that no worker may have more leases
    #[arg(long, value_name = "N")]
    max_leases: Option<u32>,
    /// Seconds that a processor needs to finish the batch that it has begun, when its lease is asked for
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = drain)]
    drain_seconds: f64,
}

fn drain(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds between 0 and 3600".to_owned()),
    }
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    before: Spread,
    after: Spread,
    moves: usize,
    orphans_taken: usize,
    left_unowned: usize,
    /// DynamoDB requests of the change itself.
    requests: usize,
    /// From the change to balance, with each wait at its longest.
    seconds: f64,
    changes: Vec<Moved>,
}

#[derive(Debug, Serialize)]
struct Moved {
    lease: String,
    from: Option<String>,
    to: Option<String>,
}

impl Shown for Planned {
    fn text(&self, wide: bool) -> String {
        let counts = |spread: &Spread| {
            let mut workers: Vec<_> = spread
                .by_worker
                .iter()
                .map(|(id, n)| (id.to_string(), *n as usize))
                .collect();
            workers.sort_by_key(|(name, _)| ordinal_key(name));
            slashed(workers.into_iter().map(|(_, n)| n))
        };
        let row = |what: &str, value: String| vec![what.to_owned(), value];
        let mut rows = vec![
            row("leases per worker now", counts(&self.before)),
            row("leases per worker then", counts(&self.after)),
            row("leases that move", self.moves.to_string()),
            row("leases without an owner that are taken", self.orphans_taken.to_string()),
            row("DynamoDB requests", self.requests.to_string()),
            row("time until balance", format!("about {:.1} s", self.seconds)),
        ];
        if self.left_unowned > 0 {
            rows.push(row("leases left without owner", self.left_unowned.to_string()));
        }
        let mut text = table(["what if", ""], rows);
        if wide {
            let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
            let rows = self
                .changes
                .iter()
                .map(|c| vec![c.lease.clone(), name(&c.from), name(&c.to)]);
            text += "\n\n";
            text += &table(["lease", "from", "to"], rows.collect());
        }
        text
    }
}

/// Prints the answer.
pub(crate) async fn run(args: &Args, output: Format) -> anyhow::Result<Code> {
    let at = args.fleet.target.connect().await?;
    let mut fleet = Fleet::new(&at, &args.fleet);
    let observed = fleet.judged().await?;
    let present = observed.candidates();
    let workers = supposed(present.clone(), args.workers, &at.application);
    if workers.is_empty() {
        let next = "start one, or suppose some with --workers N";
        return Err(Stop::usage(format!("{} has no live worker", at.application))
            .next(next)
            .into());
    }
    let change = Change {
        leave: present
            .iter()
            .filter(|worker| !workers.contains(worker))
            .map(|worker| worker.id.clone())
            .collect(),
        join: workers,
        reshard: suppose_splits(&observed.snapshot, args.split)?,
        ..Change::default()
    };
    let policy = Policy {
        hard_cap: args.max_leases,
        ..Policy::default()
    };
    // What the rows do not say is as the library has it by default.
    let config = Config {
        failover_after: fleet.failover_after(),
        ..Config::default()
    };
    let view = observed.snapshot.view(present);
    let answer = what_if(&view, &change, &policy, &config);
    let owners: BTreeMap<&ShardId, &WorkerId> = view
        .leases
        .iter()
        .filter_map(|lease| Some((&lease.key, lease.owner.as_ref()?)))
        .collect();
    show(
        output,
        &planned(answer, &owners, Duration::from_secs_f64(args.drain_seconds), &config),
    )?;
    Ok(Code::Done)
}

/// The answer for people. A worker that leaves hands its leases over: they move as those of one that stays.
fn planned(answer: WhatIf, owners: &BTreeMap<&ShardId, &WorkerId>, drain: Duration, config: &Config) -> Planned {
    let name = |worker: &WorkerId| worker.to_string();
    let moves = answer.plan.moves.iter();
    let changes: Vec<Moved> = moves
        .map(|a_move| Moved {
            lease: a_move.key.to_string(),
            from: owners.get(&a_move.key).map(|owner| name(owner)),
            to: a_move.to.as_ref().map(name),
        })
        .collect();
    let handed = |moved: &&Moved| moved.from.is_some() && moved.to.is_some();
    let taken = |moved: &&Moved| moved.from.is_none() && moved.to.is_some();
    let busiest = answer
        .plan
        .quota
        .keys()
        .map(|worker| answer.plan.coming_to(worker).count());
    let batches = busiest.max().unwrap_or(0).div_ceil(config.moves_in_flight.max(1));
    let moves = changes.iter().filter(handed).count();
    let drains = if moves > 0 {
        drain * batches as u32
    } else {
        Duration::ZERO
    };
    Planned {
        moves,
        orphans_taken: changes.iter().filter(taken).count(),
        left_unowned: answer.plan.spilled().count(),
        requests: answer.requests.scans + answer.requests.reads + answer.requests.writes,
        seconds: ((answer.converges_in + drains).as_secs_f64() * 100.0).round() / 100.0,
        before: answer.before,
        after: answer.after,
        changes,
    }
}

/// The workers there are, with new ones added or the highest ordinals taken away.
fn supposed(mut present: Vec<Candidate>, wanted: Option<u32>, application: &str) -> Vec<Candidate> {
    present.sort_by_key(|worker| ordinal_key(worker.id.as_str()));
    let Some(wanted) = wanted.map(|n| n as usize) else {
        return present;
    };
    present.truncate(wanted);
    let stem = present
        .last()
        .map_or_else(|| format!("{application}-consumer-"), |w| ordinal_key(w.id.as_str()).0);
    let hard_cap = present.last().and_then(|worker| worker.hard_cap);
    let mut ordinal = 0;
    while present.len() < wanted {
        let id = WorkerId::from(format!("{stem}{ordinal}"));
        if !present.iter().any(|worker| worker.id == id) {
            present.push(Candidate { id, hard_cap });
        }
        ordinal += 1;
    }
    present
}

/// The widest shards, each with the leases of its children: the state when the parents are read to their end.
fn suppose_splits(snapshot: &Snapshot, count: usize) -> anyhow::Result<BTreeMap<ShardId, Vec<Placed>>> {
    if count == 0 {
        return Ok(BTreeMap::new());
    }
    let planned = splits(&snapshot.shards, count, Select::Widest, &BTreeMap::new(), &[])
        .map_err(|error| Stop::usage("--split").source(error))?;
    let children = planned.into_iter().map(|split| {
        let sides = [("a", split.range.start), ("b", split.at)];
        let child = |(side, hash_start)| Placed {
            key: ShardId::from(format!("{}/{side}", split.shard)),
            owner: None,
            pending: false,
            hash_start,
            closing: false,
        };
        (split.shard.clone(), sides.map(child).to_vec())
    });
    Ok(children.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(present: &[&str], wanted: Option<u32>, expected: &[&str]) {
        let present = present
            .iter()
            .map(|id| Candidate {
                id: (*id).into(),
                hard_cap: None,
            })
            .collect();
        let names: Vec<_> = supposed(present, wanted, "app")
            .into_iter()
            .map(|worker| worker.id.to_string())
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn new_workers_go_on_with_the_names_and_the_highest_leave_first() {
        check(&["pod-1", "pod-2"], None, &["pod-1", "pod-2"]);
        check(&["pod-10", "pod-2", "pod-1"], Some(2), &["pod-1", "pod-2"]);
        check(&["pod-1"], Some(3), &["pod-1", "pod-0", "pod-2"]);
        check(&[], Some(2), &["app-consumer-0", "app-consumer-1"]);
    }
}
