//! A validated experiment: presets spelled out, defaults filled in, every reference known to hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What shall happen. `kinex-api` makes it from a manifest; nothing behind it checks again.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The experiment's name; worker names begin with it.
    pub name: String,
    /// The stream.
    pub stream: Stream,
    /// Workers wanted at the start of a run, and whenever this number changes.
    pub replicas: u32,
    /// How the workers behave.
    pub consumers: Consumers,
    /// The load.
    pub producer: Producer,
    /// What counts as balanced, for waits that do not say.
    pub balance: Balance,
    /// The run.
    pub run: Run,
    /// The steps, in order; names are unique.
    pub steps: Vec<Step>,
    /// How many ended runs are kept in the status.
    pub history: u32,
    /// What becomes of the reports with the experiment.
    pub reports: DeletionPolicy,
    /// How long an experiment whose run has ended is kept; `None`: for good.
    pub kept_for: Option<Duration>,
    /// A fingerprint of everything that a verdict rests on: all of the manifest but `run` and `replicas`. Equal ones mean
    /// the same to every version.
    pub fingerprint: String,
}

impl Spec {
    /// The numbers of workers that the manifest asks for: its own, without a step, and those of its scale steps by their names.
    pub fn fleet_sizes(&self) -> impl Iterator<Item = (Option<&str>, u32)> {
        let scaled = self.steps.iter().filter_map(|step| match step.action {
            Action::Scale { replicas } => Some((Some(step.name.as_str()), replicas)),
            _ => None,
        });
        std::iter::once((None, self.replicas)).chain(scaled)
    }
}

/// The stream of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// The endpoint that it is at, where the experiment says so.
    pub endpoint: Option<String>,
    /// Open shards when it is created.
    pub initial_shards: u32,
    /// What to do when it is not there, or is.
    pub creation: CreationPolicy,
    /// What becomes of it with the experiment.
    pub deletion: DeletionPolicy,
}

/// How the workers behave.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumers {
    /// What an outside change of the number of workers means.
    pub scale_policy: ScalePolicy,
    /// The StatefulSet's name, where it is not the experiment's name with `-consumer`.
    pub stateful_set_name: Option<String>,
    /// The most leases that one worker may have.
    pub max_leases_per_worker: u32,
    /// Whether a child shard waits until its parents are read to their end.
    pub process_parent_shard_before_children: bool,
    /// How leases are dealt out.
    pub strategy: Strategy,
    /// How often a worker steals one lease, with [`Strategy::Stealing`].
    pub lease_stealing_interval: Duration,
    /// What happens when all caps together are too small.
    pub cap_policy: CapPolicy,
    /// How a share that is no whole number becomes a cap.
    pub cap_rounding: CapRounding,
    /// How windows are renewed.
    pub renewal: Renewal,
    /// How long a silent worker counts as alive.
    pub failover_after: Duration,
    /// How long the set of workers must stand still before leases move.
    pub settle_for: Duration,
    /// Where a shard without a checkpoint is read from.
    pub initial_position: InitialPosition,
}

/// The load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Records per second, all lanes together; 0: none.
    pub records_per_second: u32,
    /// Bytes of each record; 0: as small as the audit allows.
    pub record_bytes: u32,
    /// Partition keys that records are numbered in; `None`: the producer chooses.
    pub lanes: Option<u32>,
}

/// What counts as balanced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The largest difference between two workers' numbers of leases.
    pub max_imbalance: u32,
    /// How long balance must last before it counts.
    pub stable_for: Duration,
    /// How long a wait may take.
    pub timeout: Duration,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// A larger number starts a new run.
    pub nonce: u64,
    /// Go on, hold, or give up.
    pub state: RunState,
    /// How long a run may take.
    pub deadline: Option<Duration>,
    /// What a failed step does, for steps that do not say.
    pub on_failure: OnFailure,
    /// What becomes of the fleet when the run has ended.
    pub afterwards: Afterwards,
}

/// What becomes of the fleet of a run that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// It stays, and its leases can be looked at.
    #[default]
    Keep,
    /// It is stopped when the report is written.
    StopPods,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name, by which assertions know it.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// How long it may take.
    pub timeout: Duration,
    /// What follows when it fails.
    pub on_failure: OnFailure,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Splits shards, each in the middle.
    Split {
        /// How many.
        count: u32,
        /// Which.
        select: ShardSelect,
    },
    /// Merges pairs of adjacent shards.
    Merge {
        /// How many pairs.
        count: u32,
    },
    /// Reshards to this many open shards.
    UpdateShardCount {
        /// Open shards wanted.
        target: u32,
    },
    /// Wants another number of workers, and waits until they are ready and registered (or gone).
    Scale {
        /// Workers wanted.
        replicas: u32,
    },
    /// Ends the processes of workers.
    KillPod {
        /// How many.
        count: u32,
        /// Which.
        select: PodSelect,
        /// How.
        mode: KillMode,
        /// Whether whoever runs the workers proves that they ended; without it the others wait for their silence.
        witness: bool,
        /// When a process takes their place.
        restart: Restart,
    },
    /// Stops whole processes of workers and lets them go on.
    FreezePod {
        /// How many.
        count: u32,
        /// Which.
        select: PodSelect,
        /// How long.
        lasting: Duration,
    },
    /// Lets time pass.
    Pause {
        /// How long.
        lasting: Duration,
    },
    /// Sends records at another rate.
    Producer {
        /// Records per second; 0 stops.
        records_per_second: u32,
    },
    /// Waits until all runnable leases are owned and evenly dealt out.
    WaitUntilBalanced {
        /// The largest difference between two workers.
        max_imbalance: u32,
        /// The most leases of one worker.
        max_per_worker: Option<u32>,
        /// How long balance must last.
        stable_for: Duration,
    },
    /// Judges.
    Assert {
        /// All must hold.
        all: Vec<Assertion>,
    },
}

impl Action {
    /// The action's name in a manifest.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Split { .. } => "split",
            Self::Merge { .. } => "merge",
            Self::UpdateShardCount { .. } => "updateShardCount",
            Self::Scale { .. } => "scale",
            Self::KillPod { .. } => "killPod",
            Self::FreezePod { .. } => "freezePod",
            Self::Pause { .. } => "pause",
            Self::Producer { .. } => "producer",
            Self::WaitUntilBalanced { .. } => "waitUntilBalanced",
            Self::Assert { .. } => "assert",
        }
    }
}

/// Something that must hold, in CEL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// Its name in messages.
    pub name: String,
    /// The expression; true is good.
    pub expr: String,
}

/// Which shards a split takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardSelect {
    /// Those with the most hash keys.
    Widest,
    /// Those with the most records per second.
    Hottest,
    /// Those that have been there longest.
    Oldest,
    /// These.
    Ids(Vec<crate::id::ShardId>),
}

/// Which workers a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodSelect {
    /// Those with the most leases.
    MostLeases,
    /// Some, chosen by the run's nonce and the step's name.
    Random,
    /// Those with the highest ordinal.
    HighestOrdinal,
}

/// When a worker whose process was ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Restart {
    /// As soon as its end is seen.
    #[default]
    Immediately,
    /// So long after its end.
    After(Duration),
    /// Not before the number of workers is changed: it counts as wanted no more.
    Never,
}

impl Restart {
    /// In a few words, for reports.
    pub fn describe(self) -> String {
        match self {
            Self::Immediately => "restarted at once".to_owned(),
            Self::After(wait) => format!("restarted after {} s", wait.as_secs_f64()),
            Self::Never => "not restarted".to_owned(),
        }
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }
    };
}

choice! {
    /// How a process is ended.
    KillMode {
        /// Asked to leave in good order (SIGTERM, pod deleted).
        #[default]
        Delete,
        /// Ended at once (SIGKILL, pod deleted with no grace).
        Force,
        /// Ends itself as a crash would; the same pod starts again.
        Crash,
    }
}
choice! {
    /// Whether the run holds, goes on or ends.
    RunState {
        /// Goes on.
        #[default]
        Running,
        /// Holds: no step begins or ends.
        Paused,
        /// Ends for good.
        Aborted,
    }
}
choice! {
    /// What a failed step does to the steps behind it.
    OnFailure {
        /// They are skipped.
        #[default]
        Stop,
        /// They are carried out; the verdict is still Fail.
        Continue,
    }
}
choice! {
    /// What Setup does about the stream.
    CreationPolicy {
        /// Creates it unless it is there.
        #[default]
        CreateIfMissing,
        /// Fails unless it is there.
        MustExist,
        /// Deletes one that is there, and creates it.
        Recreate,
    }
}
choice! {
    /// What becomes of the stream when the experiment is removed.
    DeletionPolicy {
        /// It stays.
        #[default]
        Retain,
        /// It is deleted.
        Delete,
    }
}
choice! {
    /// What happens when somebody else changes the number of workers.
    ScalePolicy {
        /// It stands, and is copied to the manifest.
        #[default]
        Mirror,
        /// It stands.
        Follow,
        /// It is undone.
        Enforce,
    }
}
choice! {
    /// How leases are dealt out.
    Strategy {
        /// Exact quotas, in one round, with the fewest moves.
        #[default]
        Balanced,
        /// Each worker steals one lease at a time from the fullest.
        Stealing,
    }
}
choice! {
    /// What happens to leases above all caps together.
    CapPolicy {
        /// They are dealt out evenly all the same.
        #[default]
        Cover,
        /// They stay without an owner.
        Strict,
    }
}
choice! {
    /// How a share that is no whole number becomes a cap.
    CapRounding {
        /// Up.
        #[default]
        Ceil,
        /// Down, which leaves leases without an owner.
        Floor,
    }
}
choice! {
    /// How the windows of leases are renewed.
    Renewal {
        /// One heartbeat for all leases of a worker.
        #[default]
        PerWorker,
        /// One write for each lease, as the Java library does it.
        PerLease,
    }
}
choice! {
    /// Where a shard without a checkpoint is read from. (Children are always read from their beginning.)
    InitialPosition {
        /// Behind the newest record.
        Latest,
        /// At the oldest record.
        #[default]
        TrimHorizon,
    }
}
