//! What is known of an experiment so far. It lives in the custom resource's status, or in a local run's file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::Spec;
use super::timestamp::Timestamp;
use crate::id::{Incarnation, ShardId, WorkerId};

/// Everything that outlives one decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Where the run stands.
    pub phase: Phase,
    /// What has come of it.
    pub verdict: Verdict,
    /// What it waits for, or why it ended, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The nonce of this run; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_nonce: Option<u64>,
    /// The step at work: `3/8 split-ten`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What the run was begun with, and is judged by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Agreed>,
    /// When the run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Since when the run holds; absent while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// How long the run has been held in all, in milliseconds.
    pub paused_millis: u64,
    /// The manifest's generation that this status answers to; kept by the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Selects the workers' pods, for the scale interface; kept by the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Which operator carries out the run: its namespace and the name of its Lease. Others leave the run alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Where the run's report is; kept by the shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// Workers that are there.
    pub replicas: u32,
    /// Workers that are ready and registered.
    pub ready_replicas: u32,
    /// Workers that the run wants at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas_wanted: Option<u32>,
    /// The manifest's `spec.replicas` when it was last looked at: only a change of it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas_spec: Option<u32>,
    /// Whether the wanted number was not seen to be set yet. Once it was, another number is somebody else's.
    pub replicas_pending: bool,
    /// A scaling by somebody else that is to be copied to the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas_mirror: Option<u32>,
    /// The newest generation of the number of workers that was seen.
    pub replicas_generation: u64,
    /// When the newest end of a worker's process was seen that this status accounts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_seen: Option<Timestamp>,
    /// When the stream and the workers were there, and the shards' readers were waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readers_awaited: Option<Timestamp>,
    /// Records per second that the run wants at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer_rate: Option<u32>,
    /// The stream as last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSummary>,
    /// The leases as last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leases: Option<LeaseSummary>,
    /// What this experiment created outside of the cluster, noted when it was created. `deletionPolicy: Delete` deletes
    /// exactly this: what was there before, or was created again by somebody else, stays.
    #[serde(skip_serializing_if = "Created::is_empty")]
    pub created: Created,
    /// How many shards there should be in all, by what the run did; more are somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards_expected: Option<u32>,
    /// How far Setup is, while the stream is being recreated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<Plan>,
    /// One result for each step that has begun, in order; steps behind a failed one are there as Skipped.
    pub steps: Vec<StepResult>,
    /// What happened, newest last, at most 50.
    pub timeline: Vec<TimelineEntry>,
    /// Facts for machines, as Kubernetes writes them.
    pub conditions: Vec<Condition>,
    /// Ended runs, newest last.
    pub history: Vec<RunSummary>,
    /// When UpdateShardCount was asked for within the last day, over all runs: the service allows 10.
    pub reshard_times: Vec<Timestamp>,
}

/// What an experiment created outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Created {
    /// The stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<CreatedStream>,
    /// The lease table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_table: Option<CreatedTable>,
    /// The workers' table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers_table: Option<CreatedTable>,
}

/// A stream, as opposed to others of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedStream {
    /// Its ARN.
    pub arn: String,
    /// Its StreamCreationTimestamp.
    pub created_at: Timestamp,
}

/// A table, as opposed to others of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedTable {
    /// Its name.
    pub name: String,
    /// Its TableId.
    pub id: String,
}

impl Created {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what was created later: of each kind the newest counts.
    pub fn add(&mut self, later: &Self) {
        let Self {
            stream,
            lease_table,
            workers_table,
        } = later.clone();
        self.stream = stream.or(self.stream.take());
        self.lease_table = lease_table.or(self.lease_table.take());
        self.workers_table = workers_table.or(self.workers_table.take());
    }
}

/// What a run was begun with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Agreed {
    /// A fingerprint of spec without `run` and `replicas`. Another one while the run goes on ends it.
    pub spec_hash: String,
    /// The `spec.replicas` that a preset was expanded with. A scaling that is copied there changes no step.
    pub replicas: u32,
    /// The steps, those of a preset included: the name and the kind of each.
    pub steps: Vec<String>,
}

impl Agreed {
    /// What a run of this experiment is begun with.
    pub fn of(spec: &Spec) -> Self {
        let steps = spec.steps.iter();
        Self {
            spec_hash: spec.fingerprint.clone(),
            replicas: spec.replicas,
            steps: steps
                .map(|step| format!("{} {}", step.name, step.action.kind()))
                .collect(),
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Phase {
    /// Accepted and not begun.
    #[default]
    Pending,
    /// The stream and the workers are being made ready.
    Setup,
    /// The steps are carried out.
    Running,
    /// Held.
    Paused,
    /// Ended; the verdict is Pass.
    Succeeded,
    /// Ended; the verdict is Fail or Inconclusive.
    Failed,
    /// Given up by whoever runs it.
    Aborted,
}

impl Phase {
    /// Whether the run has ended.
    pub fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted)
    }
}

/// What has come of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    Awaited,
    /// Every step did what it should.
    Pass,
    /// A step did not.
    Fail,
    /// The run cannot say: somebody interfered, or something outside it never came.
    Inconclusive,
    /// Given up.
    Aborted,
}

/// How one step went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct StepResult {
    /// The step's name.
    pub name: String,
    /// The kind of its action.
    pub kind: String,
    /// How it stands or ended.
    pub outcome: Outcome,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How long it took, in seconds, times on hold taken off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Seconds from the first action since the wait before to balance that then lasted; waits only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convergence_seconds: Option<f64>,
    /// Runnable leases of each worker when the step ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub leases_per_worker: BTreeMap<WorkerId, u32>,
    /// The difference between the fullest and the emptiest worker when the step ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imbalance: Option<u32>,
    /// From when moves and unread times are counted for this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_from: Option<Timestamp>,
    /// Leases that changed from one owner to another since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moves: Option<u32>,
    /// The fewest moves that could have led to an even dealing out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moves_minimum: Option<u32>,
    /// The longest time that any runnable shard was read by nobody since then, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_seconds_max: Option<f64>,
    /// The stream when the step ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSummary>,
    /// What the step does, written down before it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Since when the wait sees balance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balanced_since: Option<Timestamp>,
    /// When the step first did something to the world; none for those that only look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acted_at: Option<Timestamp>,
    /// Since when an assertion sees all records that it is about: those sent before it, delivered or overdue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_since: Option<Timestamp>,
    /// Records that were missing when the step ended; assertions about records only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// How long the run had been held when the step began, in milliseconds.
    pub paused_millis_before: u64,
    /// What somebody else did meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interference: Option<String>,
    /// What it waits for, or why it ended so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a step stands or ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Outcome {
    /// At work.
    #[default]
    Running,
    /// Did what it should.
    Pass,
    /// Did not.
    Fail,
    /// Cannot say.
    Inconclusive,
    /// Never begun, because of a step before it.
    Skipped,
    /// Given up with the run.
    Aborted,
}

impl Outcome {
    /// The text as it is in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Pass => "Pass",
            Self::Fail => "Fail",
            Self::Inconclusive => "Inconclusive",
            Self::Skipped => "Skipped",
            Self::Aborted => "Aborted",
        }
    }
}

/// What a step does, written down before it is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    /// Shards to split, each at which hash key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<PlannedSplit>,
    /// Pairs to merge.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merges: Vec<PlannedMerge>,
    /// Open shards to reshard to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
    /// Workers to scale to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Records per second to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<u32>,
    /// Processes to end or to stop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PlannedPod>,
    /// Since when all of them were seen to stand still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_at: Option<Timestamp>,
    /// The stream to delete: its creation time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_created: Option<Timestamp>,
}

impl Plan {
    /// Nothing to do.
    pub const NONE: Self = Self {
        splits: Vec::new(),
        merges: Vec::new(),
        target: None,
        replicas: None,
        records_per_second: None,
        pods: Vec::new(),
        frozen_at: None,
        delete_created: None,
    };
}

/// A split that is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlannedSplit {
    /// The shard.
    pub shard: ShardId,
    /// `NewStartingHashKey`, as decimal text: 128 bits fit no JSON number.
    pub at: String,
    /// Whether the stream was seen to show it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// A merge that is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlannedMerge {
    /// The shard with the lower hash keys.
    pub shard: ShardId,
    /// The one next to it.
    pub adjacent: ShardId,
    /// Whether the stream was seen to show it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// A process that a step is about: a worker's name, and which start of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlannedPod {
    /// The worker: the pod's name.
    pub worker: WorkerId,
    /// The process start.
    pub incarnation: Incarnation,
}

/// The stream in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StreamSummary {
    /// Its state, as the API writes it.
    pub status: String,
    /// All shards.
    #[serde(rename = "totalShards")]
    pub total: u32,
    /// Those that take records.
    #[serde(rename = "openShards")]
    pub open: u32,
    /// Those that do not.
    #[serde(rename = "closedShards")]
    pub closed: u32,
    /// The newest shard; a listing that ends before it is an old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_shard: Option<ShardId>,
}

/// The leases in numbers. All but `total` count runnable leases only: those whose shard has records left to read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LeaseSummary {
    /// Rows of the table, finished leases included.
    pub total: u32,
    /// Runnable leases.
    pub active: u32,
    /// Those with an owner that lives.
    pub assigned: u32,
    /// Those without.
    pub unassigned: u32,
    /// The difference between the fullest and the emptiest live worker.
    pub imbalance: u32,
    /// Coefficient of variation over live workers, three decimals. Text, as the API server wants it.
    pub cv: String,
    /// Leases of each worker; live workers without one are included.
    pub by_worker: BTreeMap<WorkerId, u32>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What, in a sentence.
    pub what: String,
    /// Somebody other than this run did it, and no step asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interference: bool,
    /// Open shards then.
    pub open_shards: u32,
    /// Live workers then.
    pub workers: u32,
    /// Imbalance then.
    pub imbalance: u32,
}

/// One aspect of the state, as Kubernetes writes it (metav1.Condition).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The aspect: StreamReady, WorkersReady, Balanced, Interference, Complete.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word in CamelCase.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// The manifest's generation that the condition answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// Its nonce.
    pub nonce: u64,
    /// What came of it.
    pub verdict: Verdict,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Steps that did what they should.
    pub steps_passed: u32,
    /// Steps there were.
    pub steps_total: u32,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Where its report is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}
