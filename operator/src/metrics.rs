//! What an operator counts, and what it shows of each experiment. `kinex run` serves the same.
//!
//! No client is needed here: statuses and outcomes come in as values. Whoever owns the registry serves it.

mod experiments;
mod labels;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kinex_aws::Requests;
use kinex_core::experiment::{RecordFacts, Status};
use kinex_telemetry::Counts;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use self::experiments::Experiments;
use self::labels::{Api, Done, Ended, Kind, Outcome};
pub use self::labels::{Failure, Reconcile};

/// The metrics of an operator. Cheap to clone; clones count together.
///
/// An experiment is named by its name, or by `namespace/name` where more than one namespace is looked after. Nothing
/// here grows with records: an experiment has a series for each of its workers and steps, and [`forget`](Self::forget)
/// ends them.
#[derive(Clone, Debug)]
pub struct Meters {
    experiments: Experiments,
    reconciles: Family<Outcome, Counter>,
    reconcile_duration: Histogram,
    step_duration: Family<Ended, Histogram, fn() -> Histogram>,
    convergence_duration: Histogram,
    failures: Family<Kind, Counter>,
    effects: Family<Done, Counter>,
    api_writes: Family<Api, Counter>,
    leader: Gauge,
    requests: Arc<Mutex<Vec<Requests>>>,
}

impl Default for Meters {
    fn default() -> Self {
        let meters = Self {
            experiments: Experiments::default(),
            reconciles: Family::default(),
            // From a look at memory to the time at which a reconcile is given up.
            reconcile_duration: Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
            step_duration: Family::new_with_constructor(spans),
            convergence_duration: spans(),
            failures: Family::default(),
            effects: Family::default(),
            api_writes: Family::default(),
            leader: Gauge::default(),
            requests: Arc::default(),
        };
        // A counter that is there from the start shows its first step to whoever takes a rate.
        for outcome in Reconcile::ALL {
            meters.reconciles.get_or_create_owned(&Outcome::from(outcome));
        }
        for failure in Failure::ALL {
            meters.failures.get_or_create_owned(&Kind::from(failure));
        }
        meters.api_writes.get_or_create_owned(&Api {
            resource: "kinesisexperiments/status",
            verb: "patch",
        });
        meters
    }
}

impl Meters {
    /// Adds every metric to the registry.
    pub fn register(&self, registry: &mut Registry) {
        let Self {
            experiments,
            reconciles,
            reconcile_duration,
            step_duration,
            convergence_duration,
            failures,
            effects,
            api_writes,
            leader,
            requests,
        } = self.clone();
        registry.register_collector(Box::new(experiments));
        registry.register("reconcile", "Looks at an experiment, by how they ended", reconciles);
        registry.register_with_unit(
            "reconcile_duration",
            "How long a look at an experiment took, with everything that was done about it",
            Unit::Seconds,
            reconcile_duration,
        );
        registry.register_with_unit(
            "step_duration",
            "How long steps took that ended, by what they do and how they ended, over all experiments",
            Unit::Seconds,
            step_duration,
        );
        registry.register_with_unit(
            "convergence_duration",
            "How long waits took until balance was reached that then lasted, over all experiments",
            Unit::Seconds,
            convergence_duration,
        );
        registry.register("reconcile_failures", "Failed looks, by the step that failed", failures);
        registry.register(
            "effects",
            "Effects by kind: those that were begun, and of these those that were refused",
            effects,
        );
        registry.register("api_writes", "Writes to the Kubernetes API", api_writes);
        registry.register("leader", "1 while this process decides, 0 while it stands by", leader);
        registry.register_collector(Box::new(Counts::new(
            "aws_requests",
            "Requests to AWS, retries included",
            ["api", "outcome"],
            move || summed(&requests),
        )));
    }

    /// Counts the requests of these clients as well. The counts of all clients are summed.
    pub fn count_requests(&self, of: &Requests) {
        let mut all = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(of.clone());
    }

    /// Shows an experiment as its status has it, in place of what was shown before, and counts the steps that ended
    /// since then. (Those in the first status that a process sees were counted by the one before it.) Outside of a cluster
    /// there is no namespace.
    pub fn observe_status(&self, experiment: &str, namespace: Option<&str>, status: &Status) {
        let Some(before) = self.experiments.status(experiment, namespace, status) else {
            return;
        };
        let same_run = before.run_nonce == status.run_nonce;
        let ended = |at: usize| same_run && before.steps.get(at).is_some_and(|step| step.finished_at.is_some());
        for (at, step) in status.steps.iter().enumerate() {
            let Some(seconds) = step.seconds.filter(|_| step.finished_at.is_some() && !ended(at)) else {
                continue;
            };
            let labels = Ended {
                kind: step.kind.clone(),
                outcome: step.outcome.as_str(),
            };
            self.step_duration.get_or_create(&labels).observe(seconds);
            if let Some(seconds) = step.convergence_seconds {
                self.convergence_duration.observe(seconds);
            }
        }
    }

    /// Shows what the audit says of the experiment's records.
    pub fn observe_records(&self, experiment: &str, records: &RecordFacts) {
        self.experiments.records(experiment, records);
    }

    /// Shows nothing more of an experiment, because it is deleted or somebody else's by now.
    pub fn forget(&self, experiment: &str) {
        self.experiments.forget(experiment);
    }

    /// Counts a look at an experiment, with how long it took.
    pub fn reconciled(&self, outcome: Reconcile, took: Duration) {
        self.reconciles.get_or_create(&outcome.into()).inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// Counts why a look failed; the look itself is counted with [`reconciled`](Self::reconciled).
    pub fn failed(&self, failure: Failure) {
        self.failures.get_or_create(&failure.into()).inc();
    }

    /// Counts an effect by its [`kind`](kinex_core::experiment::Effect::kind): once when it is begun, and once more when
    /// it is refused ([`World::failures`](kinex_core::experiment::World::failures)).
    pub fn effect(&self, effect: &str, begun: bool) {
        let (effect, outcome) = (effect.to_owned(), if begun { "begun" } else { "refused" });
        self.effects.get_or_create(&Done { effect, outcome }).inc();
    }

    /// Counts a write to the Kubernetes API: the plural of the kind, with the subresource if there is one
    /// (`statefulsets/scale`), and the verb of its permission (`patch`).
    pub fn api_write(&self, resource: &'static str, verb: &'static str) {
        self.api_writes.get_or_create(&Api { resource, verb }).inc();
    }

    /// Says whether this process is the one that decides.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

/// From a step that only looks to a wait of half an hour.
fn spans() -> Histogram {
    Histogram::new([
        0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0,
    ])
}

fn summed(all: &Mutex<Vec<Requests>>) -> Vec<([String; 2], u64)> {
    let mut sums: BTreeMap<[String; 2], u64> = BTreeMap::new();
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    for (labels, count) in all.iter().flat_map(Requests::labelled) {
        *sums.entry(labels).or_default() += count;
    }
    sums.into_iter().collect()
}

#[cfg(test)]
mod tests;
