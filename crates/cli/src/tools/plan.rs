//! `kinex plan`: what would happen to the leases of a real table with other workers or shards. Changes nothing.

use std::collections::BTreeSet;

use kinex_core::balance::{Candidate, Placed, Policy, View, plan};
use kinex_core::id::{ShardId, WorkerId};
use kinex_core::split::{Select, splits};
use kinex_core::stats::Spread;
use kinex_stage::report::recording::ordinal_key;
use kinex_stage::text::slashed;
use serde::Serialize;

use super::snapshot::Snapshot;
use crate::endpoint::Target;
use crate::exit::{Code, Stop};
use crate::output::{Format, Shown, show, table};

/// What to suppose.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Suppose so many workers [default: those there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    workers: Option<u32>,
    /// Suppose that so many of the widest shards were split
    #[arg(long, value_name = "N", default_value_t = 0)]
    split: usize,
    /// Suppose that no worker may have more leases
    #[arg(long, value_name = "N")]
    max_leases: Option<u32>,
    /// Seconds that a worker needs to hand one lease on
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    handoff_seconds: f64,
}

/// Workers ask for so many leases at once.
const IN_FLIGHT: u64 = 8;
/// Poll and settle delay with the defaults, before the first lease moves.
const NOTICE_SECONDS: f64 = 2.2;

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
    requests: u64,
    /// From the change to balance, with the default settings.
    seconds: f64,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Change {
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
            row("leases taken by somebody", self.orphans_taken.to_string()),
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
    let at = args.target.connect().await?;
    let snapshot = Snapshot::read(&at).await?;
    let present = snapshot.candidates();
    let before = Spread::of(&snapshot.view(present.clone()));
    let workers = supposed(present, args.workers, &at.application);
    if workers.is_empty() {
        let next = "start one, or suppose some with --workers N";
        return Err(Stop::usage(format!("{} has no worker", at.application))
            .next(next)
            .into());
    }
    let mut view = snapshot.view(workers);
    if args.split > 0 {
        suppose_splits(&mut view, &snapshot, args.split)?;
    }
    let policy = Policy {
        hard_cap: args.max_leases,
        ..Policy::default()
    };
    let planned = plan(&view, &policy);
    let mut after = view.clone();
    for lease in &mut after.leases {
        lease.owner = planned.target.get(&lease.key).cloned().flatten();
    }
    let left_unowned = planned.spilled().count();
    let moves = planned.moves_of_live();
    let orphans_taken = planned
        .moves
        .iter()
        .filter(|m| m.from.is_none() && m.to.is_some())
        .count();
    // A move is an ask, its notice, one look, the yield and the first renewal; a take is one write.
    let requests = 5 * moves as u64 + orphans_taken as u64;
    let receivers: BTreeSet<&WorkerId> = planned.moves.iter().filter_map(|m| m.to.as_ref()).collect();
    let busiest = receivers
        .iter()
        .map(|worker| planned.coming_to(worker).count() as u64)
        .max()
        .unwrap_or(0);
    let seconds = if planned.moves.is_empty() {
        0.0
    } else {
        NOTICE_SECONDS + busiest.div_ceil(IN_FLIGHT) as f64 * args.handoff_seconds
    };
    let name = |worker: &Option<WorkerId>| worker.as_ref().map(ToString::to_string);
    let changes = planned.moves.iter().map(|m| Change {
        lease: m.key.to_string(),
        from: name(&m.from),
        to: name(&m.to),
    });
    let answer = Planned {
        before,
        after: Spread::of(&after),
        moves,
        orphans_taken,
        left_unowned,
        requests,
        seconds,
        changes: changes.collect(),
    };
    show(output, &answer)?;
    Ok(Code::Done)
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

/// Replaces the widest shards' leases by those of their children: the state when the parents are read to their end.
fn suppose_splits(view: &mut View, snapshot: &Snapshot, count: usize) -> anyhow::Result<()> {
    let planned = splits(
        &snapshot.shards,
        count,
        Select::Widest,
        &std::collections::BTreeMap::new(),
        &[],
    )
    .map_err(|error| Stop::usage("--split").source(error))?;
    for split in planned {
        view.leases.retain(|lease| lease.key != split.shard);
        for (side, start) in [("a", split.range.start), ("b", split.at)] {
            let key = ShardId::from(format!("{}/{side}", split.shard));
            view.leases.push(Placed {
                key,
                owner: None,
                pending: false,
                hash_start: start,
                closing: false,
            });
        }
    }
    Ok(())
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
