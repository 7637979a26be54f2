//! The experiments as series: written from the last status at the moment of a scrape, so that nothing stale is left.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kinex_core::experiment::{Condition, Outcome, RecordFacts, Status, StepResult};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// What was last seen of every experiment.
#[derive(Clone, Debug, Default)]
pub(super) struct Experiments(Arc<Mutex<BTreeMap<String, Seen>>>);

#[derive(Debug, Default)]
struct Seen {
    namespace: Option<String>,
    status: Status,
    records: Option<RecordFacts>,
}

/// A series without the experiment: its other labels, and its value.
type Series = (Vec<(&'static str, String)>, f64);

/// A metric: name, meaning, unit, and the series of one experiment.
struct Metric {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    series: fn(&Seen) -> Vec<Series>,
}

impl Experiments {
    /// Shows this status from now on, and gives the one before it, when there was one.
    pub(super) fn status(&self, experiment: &str, namespace: Option<&str>, status: &Status) -> Option<Status> {
        let mut all = self.all();
        let known = all.contains_key(experiment);
        let seen = all.entry(experiment.to_owned()).or_default();
        seen.namespace = namespace.map(str::to_owned);
        let before = std::mem::replace(&mut seen.status, status.clone());
        known.then_some(before)
    }

    pub(super) fn records(&self, experiment: &str, records: &RecordFacts) {
        let mut all = self.all();
        all.entry(experiment.to_owned()).or_default().records = Some(records.clone());
    }

    pub(super) fn forget(&self, experiment: &str) {
        self.all().remove(experiment);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Experiments {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.all();
        for metric in METRICS {
            let series: Vec<(Vec<(&str, String)>, f64)> = all
                .iter()
                .flat_map(|(experiment, seen)| {
                    (metric.series)(seen).into_iter().map(move |(mut labels, value)| {
                        labels.insert(0, ("experiment", experiment.clone()));
                        if let Some(namespace) = &seen.namespace {
                            labels.insert(1, ("namespace", namespace.clone()));
                        }
                        (labels, value)
                    })
                })
                .collect();
            if series.is_empty() {
                continue;
            }
            let kind = ConstGauge::new(0.0).metric_type();
            let mut family = encoder.encode_descriptor(metric.name, metric.help, metric.unit.as_ref(), kind)?;
            for (labels, value) in series {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

const METRICS: &[Metric] = &[
    Metric {
        name: "experiment_phase_info",
        help: "1 for the phase that the experiment is in, with what has come of it",
        unit: None,
        series: |seen| {
            let phase = format!("{:?}", seen.status.phase);
            let verdict = format!("{:?}", seen.status.verdict);
            vec![(vec![("phase", phase), ("verdict", verdict)], 1.0)]
        },
    },
    Metric {
        name: "experiment_condition",
        help: "1 for a condition of the experiment that is true, 0 for one that is not, with its reason",
        unit: None,
        series: |seen| {
            let conditions = seen.status.conditions.iter();
            let series = |one: &Condition| {
                let labels = vec![("type", one.kind.clone()), ("reason", one.reason.clone())];
                (labels, if one.status == "True" { 1.0 } else { 0.0 })
            };
            conditions.map(series).collect()
        },
    },
    Metric {
        name: "experiment_step_info",
        help: "1 for the step at work, with its place in the list, from 1",
        unit: None,
        series: |seen| {
            let step = present_step(&seen.status);
            step.map_or_else(Vec::new, |(index, step)| {
                let labels = vec![("step", step.name.clone()), ("index", (index + 1).to_string())];
                vec![(labels, 1.0)]
            })
        },
    },
    Metric {
        name: "experiment_step_start_time",
        help: "When the run last began or ended a step, in seconds since 1970; nothing once the run has ended",
        unit: Some(Unit::Seconds),
        series: |seen| {
            let last = seen.status.steps.last();
            let step = last.and_then(|step| step.finished_at.or(step.started_at));
            let began = step.or(seen.status.started_at).filter(|_| !seen.status.phase.ended());
            one(began.map(|at| at.0 as f64 / 1_000.0))
        },
    },
    Metric {
        name: "worker_leases",
        help: "Runnable leases of each live worker, by the lease table",
        unit: None,
        series: |seen| {
            let leases = seen.status.leases.iter().flat_map(|leases| &leases.by_worker);
            let series = |(worker, count): (&kinex_core::id::WorkerId, &u32)| {
                (vec![("worker", worker.to_string())], f64::from(*count))
            };
            leases.map(series).collect()
        },
    },
    Metric {
        name: "lease_imbalance",
        help: "Runnable leases of the fullest live worker less those of the emptiest",
        unit: None,
        series: |seen| one(seen.status.leases.as_ref().map(|leases| leases.imbalance.into())),
    },
    Metric {
        name: "leases_unassigned",
        help: "Runnable leases without a live owner: nobody reads their shards",
        unit: None,
        series: |seen| one(seen.status.leases.as_ref().map(|leases| leases.unassigned.into())),
    },
    Metric {
        name: "stream_shards",
        help: "Shards of the stream, open and closed",
        unit: None,
        series: |seen| {
            let stream = seen.status.stream.iter();
            let both = stream.flat_map(|stream| [("open", stream.open), ("closed", stream.closed)]);
            both.map(|(state, count)| (vec![("state", state.to_owned())], f64::from(count)))
                .collect()
        },
    },
    Metric {
        name: "workers_ready",
        help: "Workers that are ready and have registered",
        unit: None,
        series: |seen| one(seen.status.started_at.map(|_| seen.status.ready_replicas.into())),
    },
    Metric {
        name: "workers_wanted",
        help: "Workers that the run wants at present",
        unit: None,
        series: |seen| one(seen.status.replicas_wanted.map(f64::from)),
    },
    Metric {
        name: "convergence",
        help: "How long a wait took until balance was reached that then lasted",
        unit: Some(Unit::Seconds),
        series: |seen| by_step(seen, |step| step.convergence_seconds),
    },
    Metric {
        name: "step_moves",
        help: "Leases that changed hands for a step",
        unit: None,
        series: |seen| by_step(seen, |step| step.moves.map(f64::from)),
    },
    Metric {
        name: "step_moves_minimum",
        help: "The fewest moves that could have led to an even dealing out",
        unit: None,
        series: |seen| by_step(seen, |step| step.moves_minimum.map(f64::from)),
    },
    Metric {
        name: "step_unread_max",
        help: "The longest time that any runnable shard was read by nobody for a step",
        unit: Some(Unit::Seconds),
        series: |seen| by_step(seen, |step| step.unread_seconds_max),
    },
    Metric {
        name: "records_produced",
        help: "Records that the producers say they sent, by the audit",
        unit: None,
        series: |seen| one(seen.records.as_ref().map(|records| records.produced as f64)),
    },
    Metric {
        name: "records_delivered",
        help: "Records that were delivered at least once, by the audit",
        unit: None,
        series: |seen| one(seen.records.as_ref().map(|records| records.delivered as f64)),
    },
    Metric {
        name: "records_missing",
        help: "Records that were sent and not delivered in time, by the audit",
        unit: None,
        series: |seen| one(seen.records.as_ref().map(|records| records.missing as f64)),
    },
    Metric {
        name: "records_repeated",
        help: "Deliveries beyond the first of each record, by the audit",
        unit: None,
        series: |seen| one(seen.records.as_ref().map(|records| records.duplicates as f64)),
    },
];

fn one(value: Option<f64>) -> Vec<Series> {
    value.map_or_else(Vec::new, |value| vec![(Vec::new(), value)])
}

/// The values of steps, each name once: of two steps of one name the later counts.
fn by_step(seen: &Seen, value: fn(&StepResult) -> Option<f64>) -> Vec<Series> {
    let steps = seen.status.steps.iter();
    let values: BTreeMap<&str, f64> = steps
        .filter_map(|step| Some((step.name.as_str(), value(step)?)))
        .collect();
    let series = |(name, value): (&str, f64)| (vec![("step", name.to_owned())], value);
    values.into_iter().map(series).collect()
}

fn present_step(status: &Status) -> Option<(usize, &StepResult)> {
    let (index, step) = status.steps.iter().enumerate().next_back()?;
    let at_work = step.outcome == Outcome::Running && !status.phase.ended();
    at_work.then_some((index, step))
}
