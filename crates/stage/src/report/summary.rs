//! `summary.json`: what a run came to, as an interface for programs. Its schema is published in `docs/`.
//!
//! Fields are only ever added. Times are seconds since the start of the run, unless the name says otherwise.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The name of the experiment.
    pub experiment: String,
    /// The stream.
    pub stream: String,
    /// Where it ran: `embedded`, `aws` or the URL of the endpoint.
    pub endpoint: String,
    /// How leases are spread: `Balanced` or `Stealing`.
    pub strategy: String,
    /// When the run started, RFC 3339.
    pub started_at: String,
    /// How long it took.
    pub seconds: f64,
    /// `Awaited`, `Pass`, `Fail`, `Inconclusive` or `Aborted`.
    pub verdict: String,
    /// Why the verdict is not Pass.
    pub message: Option<String>,
    /// The steps in the order of the manifest, the set-up before them.
    pub steps: Vec<Step>,
    /// The stretches between two states of balance: each ends with a `waitUntilBalanced`.
    pub phases: Vec<Phase>,
    /// What the audit of the delivery found; absent when nothing was audited.
    pub records: Option<Records>,
    /// The children of the reshards: how many, and how many were read before their parents ended.
    pub lineage: Lineage,
    /// Requests by API, the consumers', the producer's and the run's own.
    pub requests: BTreeMap<String, Requests>,
    /// The settings that decide how fast leases move, by their names in the manifest.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Versions of what took part.
    pub versions: BTreeMap<String, String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its name in the manifest.
    pub name: String,
    /// `split`, `scale`, `waitUntilBalanced` ...
    pub kind: String,
    /// `Pass`, `Fail`, `Inconclusive`, `Skipped`, `Aborted` or `Running`.
    pub outcome: String,
    /// Why, where there is something to say.
    pub message: Option<String>,
    /// When it started.
    pub started: Option<f64>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// From the first change of shards or workers since the wait before it to balance; only of `waitUntilBalanced`.
    pub convergence_seconds: Option<f64>,
    /// Runnable leases of each live worker when it ended.
    pub leases_per_worker: BTreeMap<String, usize>,
    /// The greatest count less the smallest when it ended.
    pub imbalance: usize,
    /// Leases that changed from one owner to another in it.
    pub moves: usize,
    /// The fewest moves that balance needed.
    pub moves_minimum: usize,
    /// The longest time that a lease stood without a living owner in it.
    pub unread_seconds_max: f64,
    /// The shards when it ended.
    pub stream: Shards,
}

/// How many shards the stream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shards {
    /// All that the stream still knows.
    pub total: usize,
    /// Those that take records.
    pub open: usize,
    /// Those that were split or merged.
    pub closed: usize,
}

/// What happened between two states of balance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// The name of the step that ended it.
    pub name: String,
    /// What was done in it: `start`, `split 10`, `scale 3 -> 5`.
    pub after: String,
    /// Runnable leases of each live worker at its end.
    pub leases_per_worker: BTreeMap<String, usize>,
    /// The shards at its end.
    pub stream: Shards,
    /// The greatest count less the smallest at its end.
    pub imbalance: usize,
    /// From the first change in it to balance; absent when balance was never reached.
    pub convergence_seconds: Option<f64>,
    /// Leases that changed from one owner to another.
    pub moves: usize,
    /// The fewest moves that balance needed.
    pub moves_minimum: usize,
    /// The longest time that a lease stood without a living owner.
    pub unread_seconds_max: f64,
}

/// The audit of the delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    /// Accepted by the stream.
    pub produced: u64,
    /// Different ones delivered to a processor.
    pub delivered: u64,
    /// Produced and never delivered.
    pub missing: u64,
    /// Delivered once more.
    pub duplicates: u64,
    /// Delivered after a later one of the same lane.
    pub reordered: u64,
    /// Read and given to no processor, by the reason: `out-of-range`, `poison`, `dead-letter`.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
}

/// The children of the reshards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lineage {
    /// Shards that were made by a split or a merge in the run.
    pub children: usize,
    /// Those that had a reader before all their parents had ended, or within five seconds of their appearance: a parent
    /// with little left to read can end sooner than anybody can start.
    pub children_started_before_parent_end: usize,
    /// The longest time from a child's appearance in the stream to its first reader.
    pub start_delay_seconds_max: Option<f64>,
}

/// Requests of one API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// All of them.
    pub count: u64,
    /// By the length of the run.
    pub per_second: f64,
}
