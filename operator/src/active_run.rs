//! What is cached of one experiment between two reconciles. No client.
//!
//! A run does not depend on it: a restarted operator rebuilds it from the status, the cluster, the tables and the run's
//! ConfigMap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinex_api::KinesisExperiment;
use kinex_core::audit::Records;
use kinex_core::experiment::{Failure, Spec, Status, Timestamp, World};
use kinex_core::id::{Incarnation, WorkerId};
use kinex_stage::report::recording::Sample;
use kinex_stage::{Actor, Ends, Ledger, Observer, Subject, Witness};
use kube::ResourceExt;

use crate::effects::Refused;
use crate::memory::{self, Kept};
use crate::pacing::Pacing;
use crate::pods::ProcessRow;
use crate::status::Stall;

/// What is kept of an experiment.
#[derive(Default)]
pub(crate) struct CachedState {
    /// The experiment as it was after our last write; the watch may still show an older one.
    pub(crate) latest: Option<Arc<KinesisExperiment>>,
    /// When it was looked at last.
    pub(crate) looked: Option<Instant>,
    /// Looks that failed, or were decided on something old, one after the other.
    failed: Option<Failed>,
    /// The run, and the way to its stream.
    pub(crate) active_run: Option<ActiveRun>,
    /// The other operator that carries out the run, as it was told in an event.
    pub(crate) other: Option<String>,
}

/// Looks that came to nothing.
struct Failed {
    /// Which version of the experiment the watch showed.
    version: Option<String>,
    /// How many.
    times: u32,
    /// When the next look may come, unless the watch shows another version.
    until: Instant,
}

impl CachedState {
    /// How long it is too early to look at this version again.
    pub(crate) fn too_early(&self, version: Option<&str>) -> Option<Duration> {
        let failed = self
            .failed
            .as_ref()
            .filter(|failed| failed.version.as_deref() == version)?;
        let left = failed.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// A look at this version has ended; one that failed, or came upon what somebody else wrote, is not taken again at once.
    /// Gives the pause before the next.
    pub(crate) fn ended(&mut self, version: Option<String>, clean: bool, first: Duration, most: Duration) -> Duration {
        if clean {
            self.failed = None;
            return Duration::ZERO;
        }
        let before = self.failed.take().filter(|failed| failed.version == version);
        let times = before.map_or(0, |failed| failed.times + 1);
        let pause = (first * 2_u32.pow(times.min(8))).min(most);
        self.failed = Some(Failed {
            version,
            times,
            until: Instant::now() + pause,
        });
        pause
    }

    /// The newer one of what the watch shows and what was written.
    pub(crate) fn newest(&mut self, watched: Arc<KinesisExperiment>) -> Arc<KinesisExperiment> {
        let version = |object: &KinesisExperiment| object.resource_version().and_then(|text| text.parse::<u64>().ok());
        match self.latest.take() {
            Some(latest) if latest.uid() == watched.uid() && version(&latest) > version(&watched) => {
                self.latest = Some(Arc::clone(&latest));
                latest
            }
            _ => watched,
        }
    }
}

/// What a run is about; another one needs another observer and actor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    /// The run's name, by which its records are told from those of other runs.
    pub(crate) run: String,
    /// The endpoint, for people and for the report.
    pub(crate) endpoint: String,
    /// The failover time in milliseconds.
    pub(crate) failover_millis: u128,
}

impl Key {
    /// The key of an experiment's run. It depends on the manifest alone: every operator comes to the same.
    pub(crate) fn of(experiment: &KinesisExperiment, spec: &Spec, endpoint: String) -> Self {
        Self {
            run: run_name(experiment, spec),
            endpoint,
            failover_millis: spec.consumers.failover_after.as_millis(),
        }
    }
}

/// The run's name: the experiment, which one of that name, and which run of it.
pub(crate) fn run_name(experiment: &KinesisExperiment, spec: &Spec) -> String {
    let uid = experiment.uid().unwrap_or_default();
    let first = uid.split('-').next().unwrap_or_default();
    format!("{}-{first}-{}", spec.name, spec.run.nonce)
}

/// One run at work.
pub(crate) struct ActiveRun {
    pub(crate) key: Key,
    pub(crate) subject: Subject,
    pub(crate) observer: Observer,
    pub(crate) actor: Actor,
    pub(crate) witness: Witness,
    /// The states that were seen, for the report.
    pub(crate) samples: Vec<Sample>,
    /// The leases of each worker at the end of each step, for the report: a large status leaves them out.
    details: BTreeMap<usize, BTreeMap<WorkerId, u32>>,
    /// What was seen last, when everything could be seen.
    pub(crate) seen: Option<World>,
    /// Since when something cannot be seen.
    pub(crate) unseen_since: Option<Timestamp>,
    /// Since when some pod does not come up.
    pub(crate) down_since: Option<Timestamp>,
    /// The newest process of each worker, by its own row.
    pub(crate) processes: BTreeMap<WorkerId, ProcessRow>,
    /// The workers' processes that ended, or are being ended.
    pub(crate) ends: Ends,
    /// Effects on pods and scale that were refused since the last look.
    pub(crate) failures: Vec<Failure>,
    /// Orders that were written.
    pub(crate) ordered: BTreeSet<(Incarnation, String)>,
    /// The rate that the producer was told, and when.
    pub(crate) rate: Option<(u32, Instant)>,
    /// The number of workers that was told to the workers.
    pub(crate) told: Option<u32>,
    /// Whether the tables are there, and ours.
    pub(crate) prepared: bool,
    /// When the workload was applied, for which generation of the experiment.
    pub(crate) applied: Option<(Option<i64>, Instant)>,
    /// Why the workload could not be applied.
    pub(crate) applying: Pacing<Stall>,
    /// Why what is kept of the run, or its report, could not be written.
    pub(crate) keeping: Pacing<Stall>,
    /// Why effects on pods and scale were refused.
    pub(crate) acting: BTreeMap<String, Pacing<Refused>>,
    /// What went wrong in the last look.
    pub(crate) stall: Option<Stall>,
    /// The run's ConfigMap.
    pub(crate) report: memory::Place,
    /// What was written for the time after a restart, and when.
    pub(crate) kept: Option<(Kept, Instant)>,
    /// What the audit said at the end of the run, once every record was delivered or given up.
    pub(crate) last_audit: Option<Records>,
    /// Whether the run's report is written.
    pub(crate) reported: bool,
    /// Whether the reports of old runs are deleted since.
    pub(crate) pruned: bool,
}

impl ActiveRun {
    /// A run that was not looked at yet, of an experiment that created what is in the ledger.
    pub(crate) fn new(key: Key, spec: &Spec, subject: Subject, ledger: Ledger) -> Self {
        let observer = Observer::new(subject.clone(), spec.consumers.failover_after, key.run.clone(), true);
        Self {
            key,
            observer,
            actor: Actor::new(subject.clone(), ledger),
            subject,
            witness: Witness::default(),
            samples: Vec::new(),
            details: BTreeMap::new(),
            seen: None,
            unseen_since: None,
            down_since: None,
            processes: BTreeMap::new(),
            ends: Ends::default(),
            failures: Vec::new(),
            ordered: BTreeSet::new(),
            rate: None,
            told: None,
            prepared: false,
            applied: None,
            applying: Pacing::default(),
            keeping: Pacing::default(),
            acting: BTreeMap::new(),
            stall: None,
            report: memory::Place::default(),
            kept: None,
            last_audit: None,
            reported: false,
            pruned: false,
        }
    }

    /// Keeps of a status what it may have to leave out.
    pub(crate) fn keep_details(&mut self, status: &Status) {
        for (at, step) in status.steps.iter().enumerate() {
            if step.finished_at.is_some() && !step.leases_per_worker.is_empty() {
                let details = self.details.entry(at);
                details.or_insert_with(|| step.leases_per_worker.clone());
            }
        }
    }

    /// A status with what it had to leave out.
    pub(crate) fn whole(&self, status: &Status) -> Status {
        let mut whole = status.clone();
        for (at, step) in whole.steps.iter_mut().enumerate() {
            if let Some(leases) = self.details.get(&at).filter(|_| step.leases_per_worker.is_empty()) {
                step.leases_per_worker.clone_from(leases);
            }
        }
        whole
    }
}
