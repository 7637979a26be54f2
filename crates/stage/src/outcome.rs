//! From the last status of a run to what its report says.

use std::collections::BTreeMap;

use kinex_core::audit;
use kinex_core::experiment::{Action, Spec, Status, StepResult, StreamSummary, Timestamp, World};

use crate::observe::Observer;
use crate::report::recording::{Gap, LeaseLine, Move, Recording, Sample};
use crate::report::summary::{Lineage, Phase, Records, Requests, Shards, Step, Summary};

/// Everything that the report is made of, beside the status.
pub struct Facts {
    /// Where it ran.
    pub endpoint: String,
    /// What the audit found in the end.
    pub records: Option<audit::Records>,
    /// Requests by API.
    pub requests: BTreeMap<String, u64>,
    /// The states in the order of time.
    pub samples: Vec<Sample>,
}

/// The report's content.
pub fn recording(spec: &Spec, status: &Status, world: &World, observer: &Observer, facts: Facts) -> Recording {
    let start = status.started_at.unwrap_or_default();
    let end = status.finished_at.or_else(|| facts_end(status)).unwrap_or(start);
    let seconds = end.seconds_after(start).max(0.001);
    let rate = |count: u64| Requests {
        count,
        per_second: (count as f64 / seconds * 1000.0).round() / 1000.0,
    };
    let steps: Vec<_> = status.steps.iter().map(|result| step(result, start)).collect();
    Recording {
        summary: Summary {
            experiment: spec.name.clone(),
            stream: spec.stream.name.clone(),
            endpoint: facts.endpoint,
            strategy: format!("{:?}", spec.consumers.strategy),
            started_at: start.to_string(),
            seconds: round(seconds),
            verdict: format!("{:?}", status.verdict),
            message: status.message.clone(),
            phases: phases(spec, status),
            steps,
            records: facts.records.and_then(audited),
            lineage: lineage(world),
            requests: facts
                .requests
                .into_iter()
                .map(|(api, count)| (api, rate(count)))
                .collect(),
            settings: settings(spec),
            versions: versions(),
        },
        samples: facts.samples,
        moves: observer
            .history
            .moves
            .iter()
            .filter_map(|(change, reason)| {
                Some(Move {
                    seconds: round(change.at.seconds_after(start)),
                    lease: change.lease.to_string(),
                    from: change.from.as_ref().map(ToString::to_string),
                    to: change.to.as_ref()?.to_string(),
                    reason: *reason,
                })
            })
            .collect(),
        gaps: observer
            .unread()
            .iter()
            .map(|unread| Gap {
                lease: unread.gap.shard.to_string(),
                from: round(unread.gap.from.seconds_after(start)),
                until: unread.gap.until.map(|until| round(until.seconds_after(start))),
                why: unread.why.to_string(),
            })
            .collect(),
        leases: world.leases.iter().map(LeaseLine::from).collect(),
    }
}

/// What the audit found, as the report has it; none when there was nothing to audit.
fn audited(found: audit::Records) -> Option<Records> {
    let audit::Records {
        produced,
        delivered,
        missing,
        duplicates,
        reordered,
        dropped,
    } = found;
    Some(Records {
        produced,
        delivered,
        missing,
        duplicates,
        reordered,
        dropped,
    })
    .filter(|found| *found != Records::default())
}

/// How many runnable leases each live worker reads; workers with none are included.
pub fn live_counts(world: &World) -> BTreeMap<String, usize> {
    let live = world.workers.iter().filter(|worker| worker.live);
    let mut counts: BTreeMap<String, usize> = live.map(|worker| (worker.id.to_string(), 0)).collect();
    let runnable = world.leases.iter().filter(|lease| !lease.finished());
    for owner in runnable.filter_map(|lease| lease.present_owner()) {
        if let Some(count) = counts.get_mut(owner.as_str()) {
            *count += 1;
        }
    }
    counts
}

/// The state that a look saw.
pub fn sample(status: &Status, world: &World, now: Timestamp) -> Option<Sample> {
    let start = status.started_at?;
    if world.unseen.is_some() {
        return None;
    }
    let live = live_counts(world);
    let runnable = world.leases.iter().filter(|lease| !lease.finished()).count();
    // A worker counts as live for a while after its end, and reads nothing.
    let unread = world.unread.iter().filter(|gap| gap.until.is_none()).count();
    let most = live.values().max().copied().unwrap_or(0);
    let least = live.values().min().copied().unwrap_or(0);
    let open = world.stream.shards.iter().filter(|shard| shard.open).count();
    let total = world.stream.shards.len();
    Some(Sample {
        seconds: round(now.seconds_after(start)),
        step: status.step.clone(),
        unowned: runnable.saturating_sub(live.values().sum()).max(unread),
        imbalance: most - least,
        leases_per_worker: live,
        stream: Shards {
            total,
            open,
            closed: total - open,
        },
    })
}

fn facts_end(status: &Status) -> Option<Timestamp> {
    status
        .steps
        .iter()
        .filter_map(|step| step.finished_at.or(step.started_at))
        .max()
}

fn step(result: &StepResult, start: Timestamp) -> Step {
    Step {
        name: result.name.clone(),
        kind: result.kind.clone(),
        outcome: result.outcome.as_str().to_owned(),
        message: result.message.clone(),
        started: result.started_at.map(|at| round(at.seconds_after(start))),
        seconds: result.seconds.map(round),
        convergence_seconds: result.convergence_seconds.map(round),
        leases_per_worker: leases(result),
        imbalance: result.imbalance.unwrap_or(0) as usize,
        moves: result.moves.unwrap_or(0) as usize,
        moves_minimum: result.moves_minimum.unwrap_or(0) as usize,
        unread_seconds_max: round(result.unread_seconds_max.unwrap_or(0.0)),
        stream: shards(result.stream.as_ref()),
    }
}

fn leases(result: &StepResult) -> BTreeMap<String, usize> {
    result
        .leases_per_worker
        .iter()
        .map(|(worker, n)| (worker.to_string(), *n as usize))
        .collect()
}

fn shards(stream: Option<&StreamSummary>) -> Shards {
    stream.map_or_else(Shards::default, |s| Shards {
        total: s.total as usize,
        open: s.open as usize,
        closed: s.closed as usize,
    })
}

fn phases(spec: &Spec, status: &Status) -> Vec<Phase> {
    let mut phases = Vec::new();
    let mut done: Vec<String> = vec!["start".to_owned()];
    let mut replicas = spec.replicas;
    for (step, result) in spec.steps.iter().zip(&status.steps) {
        if let Action::WaitUntilBalanced { .. } = step.action {
            // A wait behind a wait changes nothing: it is a phase of its own all the same, named for what it follows.
            let after = if done.is_empty() {
                "no change".to_owned()
            } else {
                done.join(", ")
            };
            done.clear();
            phases.push(Phase {
                name: result.name.clone(),
                after,
                leases_per_worker: leases(result),
                stream: shards(result.stream.as_ref()),
                imbalance: result.imbalance.unwrap_or(0) as usize,
                convergence_seconds: result.convergence_seconds.map(round),
                moves: result.moves.unwrap_or(0) as usize,
                moves_minimum: result.moves_minimum.unwrap_or(0) as usize,
                unread_seconds_max: round(result.unread_seconds_max.unwrap_or(0.0)),
            });
        } else if let Some(said) = described(&step.action, &mut replicas) {
            done.push(said);
        }
    }
    phases
}

/// What a step did, in a few words; nothing for those that only look.
fn described(action: &Action, replicas: &mut u32) -> Option<String> {
    match action {
        Action::Split { count, .. } => Some(format!("split {count}")),
        Action::Merge { count } => Some(format!("merge {count}")),
        Action::UpdateShardCount { target } => Some(format!("{target} shards")),
        Action::Scale { replicas: to } => Some(format!("scale {} → {to}", std::mem::replace(replicas, *to))),
        Action::KillPod {
            count,
            mode,
            witness,
            restart,
            select: _,
        } => {
            let seen = if *witness { "witnessed" } else { "not witnessed" };
            Some(format!("kill {count} ({mode:?}, {seen}, {})", restart.describe()))
        }
        Action::FreezePod { count, lasting, .. } => Some(format!("freeze {count} for {} s", lasting.as_secs_f64())),
        Action::Producer { records_per_second } => Some(format!("{records_per_second} records/s")),
        Action::Pause { .. } | Action::WaitUntilBalanced { .. } | Action::Assert { .. } => None,
    }
}

fn lineage(world: &World) -> Lineage {
    let children = &world.children;
    let delays = children
        .iter()
        .filter_map(|child| Some(child.started?.seconds_after(child.appeared).max(0.0)));
    Lineage {
        children: children.len(),
        children_started_before_parent_end: children.iter().filter(|child| child.unwaiting()).count(),
        start_delay_seconds_max: delays.max_by(f64::total_cmp).map(round),
    }
}

/// What decides how fast leases move, by the names of the manifest.
fn settings(spec: &Spec) -> BTreeMap<String, String> {
    let consumers = &spec.consumers;
    let seconds = |span: std::time::Duration| format!("{} s", span.as_secs_f64());
    let settings = [
        ("strategy", format!("{:?}", consumers.strategy)),
        ("renewal", format!("{:?}", consumers.renewal)),
        ("failoverAfter", seconds(consumers.failover_after)),
        ("settleFor", seconds(consumers.settle_for)),
        ("initialPosition", format!("{:?}", consumers.initial_position)),
        ("maxLeasesPerWorker", consumers.max_leases_per_worker.to_string()),
        ("capPolicy", format!("{:?}", consumers.cap_policy)),
        ("capRounding", format!("{:?}", consumers.cap_rounding)),
    ];
    settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn versions() -> BTreeMap<String, String> {
    [("kinex".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into()
}

/// Milliseconds are as exact as it gets.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
