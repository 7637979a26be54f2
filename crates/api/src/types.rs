//! The manifest: wire types of `KinesisExperiment`, their bounds, their defaults and their rules.
//!
//! The doc comments are what `kubectl explain` shows. Meaning is given to these types in `convert`; nothing else reads
//! them.

#![allow(unreachable_pub, reason = "the derive makes a hidden copy of each type")]

use kinex_core::experiment::Status;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::DurationText;
use crate::name;
use crate::scheduling::Scheduling;

/// What an experiment is: a stream, a fleet of consumers, a load, and the steps to carry out and judge.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "kinex.dev",
    version = "v1alpha1",
    kind = "KinesisExperiment",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    shortname = "kex",
    category = "kinex",
    category = "streaming",
    doc = "A rebalancing experiment on a fleet of Kinesis consumers: a stream, the consumers, a load, and steps that are carried out and judged.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    selectable = ".status.phase",
    selectable = ".spec.stream.name",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Where the run stands."),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step", description = "The step at work."),
    printcolumn(name = "Open", type_ = "integer", json_path = ".status.stream.openShards", description = "Open shards of the stream."),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.readyReplicas", description = "Workers that are ready and registered."),
    printcolumn(name = "Leases", type_ = "integer", json_path = ".status.leases.assigned", description = "Runnable leases with a live owner."),
    printcolumn(name = "Imbalance", type_ = "integer", json_path = ".status.leases.imbalance", description = "Leases of the fullest worker less those of the emptiest."),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict", description = "What came of the run."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the experiment was created."),
    printcolumn(name = "Run", type_ = "integer", json_path = ".status.runNonce", priority = 1, description = "The run's nonce."),
    printcolumn(name = "CV", type_ = "string", json_path = ".status.leases.cv", priority = 1, description = "Coefficient of variation of leases over workers."),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1, description = "What the run waits for, or why it ended."),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Setup', 'Running', 'Paused']) || self.spec.run.nonce > oldSelf.spec.run.nonce || (self.spec.steps == oldSelf.spec.steps && has(self.spec.preset) == has(oldSelf.spec.preset) && (!has(self.spec.preset) || self.spec.preset == oldSelf.spec.preset))").message("spec.steps and spec.preset are frozen while a run is in progress; raise spec.run.nonce to start a new run").field_path(".spec.steps"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.phase) || !(oldSelf.status.phase in ['Setup', 'Running', 'Paused']) || self.spec.run.nonce > oldSelf.spec.run.nonce || (self.spec.stream == oldSelf.spec.stream && self.spec.consumers == oldSelf.spec.consumers && self.spec.producer == oldSelf.spec.producer && self.spec.balance == oldSelf.spec.balance && self.spec.report == oldSelf.spec.report)").message("while a run is in progress, all of spec but run, replicas and ttlSecondsAfterFinished is frozen: the verdict rests on it; raise spec.run.nonce to start a new run").field_path(".spec"),
    validation = Rule::new(name::RULE).message(name::MESSAGE)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.operatorClass) == has(oldSelf.operatorClass) && (!has(self.operatorClass) || self.operatorClass == oldSelf.operatorClass)").message("operatorClass is immutable"))]
#[x_kube(validation = Rule::new("has(self.preset) != (size(self.steps) > 0)").message("give exactly one of preset and steps"))]
#[x_kube(validation = Rule::new("self.steps.all(step, !has(step.waitUntilBalanced) || duration(has(step.timeout) ? step.timeout : has(self.balance.timeout) ? self.balance.timeout : '5m') >= duration(has(step.waitUntilBalanced.stableFor) ? step.waitUntilBalanced.stableFor : has(self.balance.stableFor) ? self.balance.stableFor : '10s'))").message("a wait needs a timeout (its own, or balance.timeout, or 5m) that is not less than its stableFor (its own, or balance.stableFor, or 10s)").field_path(".steps"))]
pub struct KinesisExperimentSpec {
    /// A list of steps by its name: `split-then-scale` is 20 shards on 3 workers, split 10, scale to 5, verify. Not together with `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Which operator looks after the experiment: the one with this `--operator-class`; without it, the one that has none. It cannot be changed later. `kinex run` takes no notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub operator_class: Option<String>,
    /// The stream that is read.
    pub stream: Stream,
    /// Workers wanted; `kubectl scale kex/NAME --replicas=5` and an autoscaler write here.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 500))]
    pub replicas: i32,
    /// How the workers behave.
    #[serde(default)]
    pub consumers: Consumers,
    /// The load on the stream.
    #[serde(default)]
    pub producer: Producer,
    /// What counts as balanced, for `waitUntilBalanced` steps that do not say.
    #[serde(default)]
    pub balance: Balance,
    /// The run: its number, whether it goes on, and its limits.
    #[serde(default)]
    pub run: Run,
    /// What is kept of runs that ended.
    #[serde(default)]
    pub report: Report,
    /// Seconds after the end of a run after which the experiment is deleted, with what its policies say; without it, it stays. `kinex run` takes no notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// What is done, one after the other; before the first, the stream is ACTIVE and the workers are ready.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub steps: Vec<Step>,
}

fn default_replicas() -> i32 {
    3
}

/// A list of steps by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "the names are the documentation; docs/experiments.md describes each"
)]
pub enum Preset {
    SplitThenScale,
    ScaleOnly,
    SplitOnly,
    MergeBack,
    PodLoss,
}

/// The stream of an experiment.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.name == oldSelf.name").message("stream.name is immutable"))]
#[x_kube(validation = Rule::new("self.creationPolicy != 'MustExist' || self.deletionPolicy != 'Delete'").message("creationPolicy: MustExist and deletionPolicy: Delete contradict each other: a stream that must exist is not this experiment's to delete"))]
#[x_kube(validation = Rule::new("has(self.endpointUrl) == has(oldSelf.endpointUrl) && (!has(self.endpointUrl) || self.endpointUrl == oldSelf.endpointUrl)").message("stream.endpointUrl is immutable"))]
pub struct Stream {
    /// The stream's name. It cannot be changed later.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z0-9_.-]+$"))]
    pub name: String,
    /// The endpoint of Kinesis and DynamoDB, `http://HOST:PORT`; without it, the one that the operator or `kinex run` was given. The operator takes those on its allow-list only, and never sends credentials there. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 256), regex(pattern = r"^https?://[A-Za-z0-9.:\[\]_-]+/?$"))]
    pub endpoint_url: Option<String>,
    /// Open shards when the stream is created.
    #[serde(default = "default_initial_shards")]
    #[schemars(range(min = 1, max = 500))]
    pub initial_shards: i32,
    /// What Setup does about the stream: `CreateIfMissing`, `MustExist` (fail unless it is there) or `Recreate` (delete it and its leases, then create it).
    #[serde(default)]
    pub creation_policy: CreationPolicy,
    /// What becomes of the stream and the tables when the experiment is deleted: `Retain`, or `Delete`, which deletes those that the experiment created itself and nothing else. Not together with `creationPolicy: MustExist`.
    #[serde(default)]
    pub deletion_policy: Retention,
}

fn default_initial_shards() -> i32 {
    20
}

/// How the workers behave.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.settleFor) < duration(self.failoverAfter)").message("settleFor must be less than failoverAfter: leases would move only after a silent worker is given up").field_path(".settleFor"))]
#[x_kube(validation = Rule::new("duration(self.leaseStealingInterval) > duration('0s')").message("leaseStealingInterval must be more than 0s").field_path(".leaseStealingInterval"))]
#[x_kube(validation = Rule::new("has(self.statefulSetName) == has(oldSelf.statefulSetName) && (!has(self.statefulSetName) || self.statefulSetName == oldSelf.statefulSetName)").message("consumers.statefulSetName is immutable"))]
pub struct Consumers {
    /// What an outside change of the number of workers means: `Mirror` lets it stand and copies it to spec.replicas, `Follow` lets it stand, `Enforce` undoes it.
    #[serde(default)]
    pub scale_policy: ScalePolicy,
    /// The name of the StatefulSet and its Service; without it, the experiment's name followed by `-consumer`. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 52), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub stateful_set_name: Option<String>,
    /// The most leases that one worker may have. The share of a worker is the smaller of this and the even share.
    #[serde(default = "default_leases_max")]
    #[schemars(range(min = 1, max = 500))]
    pub max_leases_per_worker: i32,
    /// Whether a child shard waits until its parents are read to their end. `false` reads parent and child side by side.
    #[serde(default)]
    pub process_parent_shard_before_children: bool,
    /// How leases are dealt out: `Balanced` (exact, in one round, fewest moves) or `Stealing` (one lease per worker and interval).
    #[serde(default)]
    pub strategy: Strategy,
    /// How often a worker steals one lease; only with `strategy: Stealing`.
    #[serde(default = "default_stealing_interval")]
    pub lease_stealing_interval: DurationText,
    /// What happens when all caps together are smaller than the number of leases: `Cover` exceeds them evenly, `Strict` leaves the rest without an owner.
    #[serde(default)]
    pub cap_policy: CapPolicy,
    /// How a share that is no whole number becomes a cap: `Ceil`, or `Floor`, which leaves leases without an owner.
    #[serde(default)]
    pub cap_rounding: CapRounding,
    /// How leases are renewed: `PerWorker` (one heartbeat row) or `PerLease` (as the Java library; needed to share its table).
    #[serde(default)]
    pub renewal: Renewal,
    /// How long a silent worker counts as alive.
    #[serde(default = "default_failover_after")]
    pub failover_after: DurationText,
    /// How long the set of workers must stand still before leases move.
    #[serde(default = "default_settle_for")]
    pub settle_for: DurationText,
    /// Where a shard without a checkpoint is read from: `TrimHorizon` (the oldest record) or `Latest`. Children are always read from their beginning.
    #[serde(default)]
    pub initial_position: InitialPosition,
    /// Where their pods run.
    #[serde(default)]
    pub scheduling: Scheduling,
}

fn default_leases_max() -> i32 {
    10
}

fn default_stealing_interval() -> DurationText {
    DurationText::new("10s")
}

fn default_failover_after() -> DurationText {
    DurationText::new("10s")
}

fn default_settle_for() -> DurationText {
    DurationText::new("1200ms")
}

impl Default for Consumers {
    fn default() -> Self {
        Self {
            scale_policy: ScalePolicy::default(),
            stateful_set_name: None,
            max_leases_per_worker: default_leases_max(),
            process_parent_shard_before_children: false,
            strategy: Strategy::default(),
            lease_stealing_interval: default_stealing_interval(),
            cap_policy: CapPolicy::default(),
            cap_rounding: CapRounding::default(),
            renewal: Renewal::default(),
            failover_after: default_failover_after(),
            settle_for: default_settle_for(),
            initial_position: InitialPosition::default(),
            scheduling: Scheduling::default(),
        }
    }
}

/// The load on the stream.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Producer {
    /// Records per second, all partition keys together; 0 sends none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub records_per_second: i32,
    /// Bytes of each record; 0 makes them as small as the delivery audit allows.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_048_576))]
    pub record_bytes: i32,
    /// How many partition keys records are numbered in; without it, the producer chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_096))]
    pub lanes: Option<i32>,
    /// Where its pod runs.
    #[serde(default)]
    pub scheduling: Scheduling,
}

/// What counts as balanced.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// The largest allowed difference between the fullest and the emptiest live worker.
    #[serde(default = "default_imbalance_max")]
    #[schemars(range(min = 0, max = 500))]
    pub max_imbalance: i32,
    /// How long balance must last before it counts; without it 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_for: Option<DurationText>,
    /// How long a wait may take; without it 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
}

fn default_imbalance_max() -> i32 {
    1
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            max_imbalance: default_imbalance_max(),
            stable_for: None,
            timeout: None,
        }
    }
}

/// The run.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.deadline) || duration(self.deadline) > duration('0s')").message("run.deadline must be more than 0s").field_path(".deadline"))]
#[x_kube(validation = Rule::new("oldSelf.state != 'Aborted' || self.state == 'Aborted' || self.nonce > oldSelf.nonce").message("an aborted run cannot be resumed; raise run.nonce to run again"))]
pub struct Run {
    /// The run's number. A larger one starts a new run.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    #[x_kube(validation = Rule::new("self >= oldSelf").message("run.nonce can only grow"))]
    pub nonce: i64,
    /// `Running`, `Paused` (no step begins or ends) or `Aborted` (for good).
    #[serde(default)]
    pub state: RunState,
    /// How long the whole run may take; without it, as long as its steps may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DurationText>,
    /// What a failed step does to those behind it, unless it says so itself: `Stop` skips them, `Continue` carries them out.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What becomes of the consumers and the producer when the run has ended: `Keep`, or `StopPods`, which stops them when the report is written. `kinex run` always stops them.
    #[serde(default)]
    pub afterwards: Afterwards,
}

/// What is kept of runs that ended.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How many ended runs are kept in the status.
    #[serde(default = "default_history")]
    #[schemars(range(min = 0, max = 20))]
    pub history: i32,
    /// What becomes of the reports when the experiment is deleted: `Retain` or `Delete`.
    #[serde(default)]
    pub retention: Retention,
}

fn default_history() -> i32 {
    5
}

impl Default for Report {
    fn default() -> Self {
        Self {
            history: default_history(),
            retention: Retention::default(),
        }
    }
}

/// One step: a name and exactly one action.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.split), has(self.merge), has(self.updateShardCount), has(self.scale), has(self.killPod), has(self.freezePod), has(self.pause), has(self.producer), has(self.waitUntilBalanced), has(self.assert)].exists_one(x, x)").message("a step has exactly one of split, merge, updateShardCount, scale, killPod, freezePod, pause, producer, waitUntilBalanced, assert"))]
#[x_kube(validation = Rule::new("!has(self.timeout) || !has(self.pause) || duration(self.timeout) >= duration(self.pause.__for__)").message("the timeout of a pause must not be less than pause.for").field_path(".timeout"))]
#[x_kube(validation = Rule::new("!has(self.timeout) || !has(self.freezePod) || duration(self.timeout) >= duration(self.freezePod.__for__)").message("the timeout of a freeze must not be less than freezePod.for").field_path(".timeout"))]
pub struct Step {
    /// The step's name: unique, and how assertions refer to it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// How long the step may take; without it balance.timeout for a wait, what a pause or a freeze needs, 10s for an assert, and 10m for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// What follows when this step fails; without it run.onFailure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Splits shards, each in the middle of its hash keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Merges pairs of adjacent shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// Reshards to a number of open shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_shard_count: Option<UpdateShardCount>,
    /// Wants another number of workers, and waits until they are ready (or gone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Ends workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_pod: Option<KillPod>,
    /// Stops the whole process of workers and lets it go on later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_pod: Option<FreezePod>,
    /// Lets time pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Sends records at another rate from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<SetProducer>,
    /// Waits until every runnable lease has an owner and all are evenly dealt out, for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_until_balanced: Option<WaitUntilBalanced>,
    /// Judges by expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assert: Option<Assert>,
}

/// Splits shards.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.select == 'ShardIds') == (size(self.shardIds) > 0)").message("shardIds goes with select: ShardIds, and only with it"))]
#[x_kube(validation = Rule::new("self.select != 'ShardIds' || size(self.shardIds) == self.count").message("count must be the number of shardIds"))]
pub struct Split {
    /// How many shards.
    #[schemars(range(min = 1, max = 500))]
    pub count: i32,
    /// Which: `Widest` (most hash keys), `Hottest` (most records), `Oldest`, or `ShardIds` (those named).
    #[serde(default)]
    pub select: ShardSelect,
    /// The shards to split, with `select: ShardIds`; at most 100.
    #[serde(default)]
    #[schemars(
        length(max = 100),
        inner(length(min = 1, max = 32), regex(pattern = r"^shardId-[0-9]+$"))
    )]
    pub shard_ids: Vec<String>,
}

/// Merges pairs of adjacent shards.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Merge {
    /// How many pairs; the narrowest come first.
    #[schemars(range(min = 1, max = 250))]
    pub count: i32,
}

/// Reshards to a number of open shards.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateShardCount {
    /// Open shards wanted: at least half and at most twice as many as there are.
    #[schemars(range(min = 1, max = 1_000))]
    pub target: i32,
}

/// Wants another number of workers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    /// Workers wanted.
    #[schemars(range(min = 1, max = 500))]
    pub replicas: i32,
}

/// Ends workers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.restart == 'After') == has(self.restartAfter)").message("restartAfter goes with restart: After, and only with it"))]
pub struct KillPod {
    /// How many.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub count: i32,
    /// Which: `MostLeases`, `Random` (the same ones for the same run and step), or `HighestOrdinal`.
    #[serde(default)]
    pub select: PodSelect,
    /// How: `Delete` (asked to leave in good order), `Force` (ended at once) or `Crash` (ends itself; the same pod starts again).
    #[serde(default)]
    pub mode: KillMode,
    /// Whether whoever runs the workers proves to the others that they ended. Without that proof they wait for failoverAfter, as after the loss of a machine that nobody sees.
    #[serde(default = "yes")]
    pub witness: bool,
    /// When a process takes the place of one that was ended: `Immediately`, `After` (with restartAfter), or `Never` (not before a scale step; fewer workers are waited for until then). On a cluster only `Immediately` is possible: a StatefulSet starts its pods again by itself.
    #[serde(default)]
    pub restart: Restart,
    /// How long after its end a worker is started again, with `restart: After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_after: Option<DurationText>,
}

/// Stops whole processes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FreezePod {
    /// How many.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub count: i32,
    /// Which: `MostLeases`, `Random` (the same ones for the same run and step), or `HighestOrdinal`.
    #[serde(default)]
    pub select: PodSelect,
    /// How long they stand still.
    #[serde(rename = "for")]
    pub lasting: DurationText,
}

fn one() -> i32 {
    1
}

fn yes() -> bool {
    true
}

/// Lets time pass.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// How long.
    #[serde(rename = "for")]
    pub lasting: DurationText,
}

/// Sends records at another rate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetProducer {
    /// Records per second; 0 stops.
    #[schemars(range(min = 0, max = 100_000))]
    pub records_per_second: i32,
}

/// Waits for balance.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitUntilBalanced {
    /// The largest allowed difference between two workers; without it balance.maxImbalance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 500))]
    pub max_imbalance: Option<i32>,
    /// The most leases that any worker may have then; without it, no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_per_worker: Option<i32>,
    /// How long balance must last; without it balance.stableFor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_for: Option<DurationText>,
}

/// Judges by expressions.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assert {
    /// What must hold, all of it; at most 16 expressions.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub all: Vec<Assertion>,
}

/// Something that must hold.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assertion {
    /// The assertion's name, unique within the step.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A CEL expression over leases, stream, workers, lineage, records and steps; true is good.
    #[schemars(length(min = 1, max = 512))]
    pub expr: String,
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident = $core:ident { $first:ident $(, $variant:ident)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[allow(missing_docs, reason = "the field that has the type describes its values")]
        pub enum $name {
            #[default]
            $first,
            $($variant),*
        }

        impl From<$name> for kinex_core::experiment::$core {
            fn from(value: $name) -> Self {
                match value {
                    $name::$first => Self::$first,
                    $($name::$variant => Self::$variant),*
                }
            }
        }
    };
}

choice! {
    /// What Setup does about the stream.
    CreationPolicy = CreationPolicy { CreateIfMissing, MustExist, Recreate }
}
choice! {
    /// What becomes of a thing when the experiment is deleted.
    Retention = DeletionPolicy { Retain, Delete }
}
choice! {
    /// What an outside change of the number of workers means.
    ScalePolicy = ScalePolicy { Mirror, Follow, Enforce }
}
choice! {
    /// How leases are dealt out.
    Strategy = Strategy { Balanced, Stealing }
}
choice! {
    /// What happens to leases above all caps together.
    CapPolicy = CapPolicy { Cover, Strict }
}
choice! {
    /// How a share that is no whole number becomes a cap.
    CapRounding = CapRounding { Ceil, Floor }
}
choice! {
    /// How leases are renewed.
    Renewal = Renewal { PerWorker, PerLease }
}
choice! {
    /// Where a shard without a checkpoint is read from.
    InitialPosition = InitialPosition { TrimHorizon, Latest }
}
choice! {
    /// Whether the run goes on.
    RunState = RunState { Running, Paused, Aborted }
}
choice! {
    /// What a failed step does to those behind it.
    OnFailure = OnFailure { Stop, Continue }
}
choice! {
    /// What becomes of the fleet of a run that has ended.
    Afterwards = Afterwards { Keep, StopPods }
}
choice! {
    /// Which workers a step takes.
    PodSelect = PodSelect { MostLeases, Random, HighestOrdinal }
}
choice! {
    /// How a worker is ended.
    KillMode = KillMode { Delete, Force, Crash }
}

/// When a worker is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the field that has the type describes its values")]
pub enum Restart {
    #[default]
    Immediately,
    After,
    Never,
}

/// Which shards a split takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the field that has the type describes its values")]
pub enum ShardSelect {
    #[default]
    Widest,
    Hottest,
    Oldest,
    ShardIds,
}
