//! What an experiment may ask for: whoever writes one is not trusted with more than the operator was told to allow.

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Action, KillMode, Phase, Restart, Spec, Step};
use kube::ResourceExt;

use crate::settings::{Endpoint, Limits, Place, Settings};

/// Why an experiment is not carried out: for its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In one word.
    pub reason: &'static str,
    /// The limit, what was asked for, and the next step.
    pub message: String,
}

/// The first limit that an experiment goes beyond; `None`: it may be carried out.
pub fn refuse(experiment: &KinesisExperiment, spec: &Spec, settings: &Settings) -> Option<Refusal> {
    let limits = &settings.limits;
    let checks = [
        stream(experiment, spec, settings),
        endpoint(spec, settings),
        replicas(spec, limits),
        rate(spec, limits),
        shards(spec, limits),
        chaos(spec, settings),
        restart(spec),
        scheduling(experiment, limits),
    ];
    checks.into_iter().flatten().next()
}

/// The reason of an experiment that waits for others to end.
pub const AT_CAPACITY: &str = "TooManyRunning";

/// Why an experiment has to wait, where `first` others of its namespace run or come before it.
pub fn at_capacity(first: usize, limits: &Limits) -> Option<Refusal> {
    let most = limits.running_max;
    // The same words for as long as it waits: a queue that moves on is nothing to write down for each who stands in it.
    (first >= most as usize).then(|| Refusal {
        reason: AT_CAPACITY,
        message: format!(
            "the operator runs {most} experiments of a namespace at a time (--max-running), the oldest first: this one \
             begins when those before it have ended"
        ),
    })
}

/// Whether another experiment comes before one that wants to begin: it runs, or it has waited for its turn for longer.
pub fn comes_first(other: &KinesisExperiment, one: &KinesisExperiment) -> bool {
    let Some(status) = &other.status else { return false };
    if matches!(status.phase, Phase::Setup | Phase::Running | Phase::Paused) {
        return true;
    }
    let waits = status
        .conditions
        .iter()
        .any(|condition| condition.kind == "Stalled" && condition.status == "True" && condition.reason == AT_CAPACITY);
    let made = |experiment: &KinesisExperiment| {
        let time = experiment.creation_timestamp();
        (time.map(|time| time.0), experiment.name_any())
    };
    waits && other.metadata.deletion_timestamp.is_none() && made(other) < made(one)
}

fn stream(experiment: &KinesisExperiment, spec: &Spec, settings: &Settings) -> Option<Refusal> {
    let prefixes = &settings.limits.stream_prefixes;
    let begins = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
    let known = prefixes.join("`, `");
    let refusal = |message: String| Refusal {
        reason: "StreamNotAllowed",
        message,
    };
    if prefixes.is_empty() {
        return None;
    }
    // The tables are named after the experiment: they are somebody's as much as the stream is. With a prefix of their own
    // they cannot be.
    let name = experiment.metadata.name.as_deref().unwrap_or(&spec.name);
    let table = ("metadata.name, which names the lease table,", name);
    [
        Some(("spec.stream.name", spec.stream.name.as_str())),
        settings.table_prefix.is_empty().then_some(table),
    ]
    .into_iter()
    .flatten()
    .find(|(_, name)| !begins(name))
    .map(|(field, name)| {
        refusal(format!(
            "{field} is `{name}`, and the operator allows names that begin with `{known}` (--stream-prefix): choose \
                 such a name"
        ))
    })
}

fn endpoint(spec: &Spec, settings: &Settings) -> Option<Refusal> {
    let Some(url) = &spec.stream.endpoint else {
        return settings.place.is_none().then(|| Refusal {
            reason: "NoEndpoint",
            message:
                "neither the experiment nor the operator names an endpoint: set spec.stream.endpointUrl, or start \
                      the operator with --endpoint-url or --aws"
                    .to_owned(),
        });
    };
    let endpoint = match Endpoint::parse(url) {
        Ok(endpoint) => endpoint,
        Err(flaw) => {
            return Some(Refusal {
                reason: "EndpointInvalid",
                message: format!("spec.stream.endpointUrl {flaw}"),
            });
        }
    };
    let api_server = settings.api_server.as_deref();
    let own = settings.place == Some(Place::Custom(endpoint.clone()));
    if own
        || settings
            .allowed
            .iter()
            .any(|allowed| allowed.covers(&endpoint, api_server))
    {
        return None;
    }
    if let Some(what) = endpoint.forbidden(api_server) {
        return Some(Refusal {
            reason: "EndpointForbidden",
            message: format!(
                "spec.stream.endpointUrl is `{endpoint}`, which is {what}: experiments have no business there; name the \
                 endpoint of a stream"
            ),
        });
    }
    let known: Vec<String> = settings.allowed.iter().map(ToString::to_string).collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    Some(Refusal {
        reason: "EndpointNotAllowed",
        message: format!(
            "spec.stream.endpointUrl is `{endpoint}`, and the operator allows {known} (--allow-endpoint): leave the field \
             out to use the operator's own endpoint, or have this one allowed"
        ),
    })
}

fn replicas(spec: &Spec, limits: &Limits) -> Option<Refusal> {
    let most = limits.replicas_max;
    let (step, replicas) = spec.fleet_sizes().find(|(_, replicas)| *replicas > most)?;
    let who = step.map_or("spec.replicas".to_owned(), |step| format!("step `{step}`"));
    Some(Refusal {
        reason: "TooManyReplicas",
        message: format!(
            "{who} asks for {replicas} workers, and the operator allows {most} (--max-replicas): ask for fewer, or have \
             the limit raised"
        ),
    })
}

fn rate(spec: &Spec, limits: &Limits) -> Option<Refusal> {
    let set = spec.steps.iter().filter_map(|step| match step.action {
        Action::Producer { records_per_second } => Some((format!("step `{}`", step.name), records_per_second)),
        _ => None,
    });
    let first = (
        "spec.producer.recordsPerSecond".to_owned(),
        spec.producer.records_per_second,
    );
    let most = limits.records_per_second_max;
    std::iter::once(first).chain(set).find(|(_, rate)| *rate > most).map(|(who, rate)| Refusal {
        reason: "TooManyRecords",
        message: format!(
            "{who} asks for {rate} records per second, and the operator allows {most} (--max-records-per-second): ask for \
             fewer, or have the limit raised"
        ),
    })
}

/// Nodes may be set apart for others, and a high priority evicts their pods.
fn scheduling(experiment: &KinesisExperiment, limits: &Limits) -> Option<Refusal> {
    let refusal = |message: String| Refusal {
        reason: "SchedulingNotAllowed",
        message,
    };
    let known = |allowed: &[String]| match allowed {
        [] => "none".to_owned(),
        some => format!("`{}`", some.join("`, `")),
    };
    let allows = |allowed: &[String], name: Option<&str>| {
        allowed
            .iter()
            .any(|allowed| allowed == "*" || Some(allowed.as_str()) == name)
    };
    let (consumers, producer) = (
        &experiment.spec.consumers.scheduling,
        &experiment.spec.producer.scheduling,
    );
    [("consumers", consumers), ("producer", producer)].into_iter().find_map(|(part, asked)| {
        let key = asked.keys().find(|key| !allows(&limits.node_keys, *key)).map(|key| {
            let named = key.map_or("every taint".to_owned(), |key| format!("the node key `{key}`"));
            let known = known(&limits.node_keys);
            refusal(format!(
                "spec.{part}.scheduling names {named}, and the operator allows {known} (--allow-node-key): leave it out, or \
                 have it allowed"
            ))
        });
        key.or_else(|| {
            let class = asked.priority_class_name.as_deref()?;
            let known = known(&limits.priority_classes);
            (!allows(&limits.priority_classes, Some(class))).then(|| {
                refusal(format!(
                    "spec.{part}.scheduling.priorityClassName is `{class}`, and the operator allows {known} \
                     (--allow-priority-class): leave it out, or have it allowed"
                ))
            })
        })
    })
}

/// Counted from the shards that the stream is created with; a stream that is there with more is refused by its own steps.
fn shards(spec: &Spec, limits: &Limits) -> Option<Refusal> {
    let mut open = spec.stream.initial_shards;
    let mut asked = vec![("spec.stream.initialShards".to_owned(), open)];
    for Step { name, action, .. } in &spec.steps {
        open = match action {
            Action::Split { count, .. } => open.saturating_add(*count),
            Action::Merge { count } => open.saturating_sub(*count),
            Action::UpdateShardCount { target } => *target,
            _ => continue,
        };
        asked.push((format!("step `{name}`"), open));
    }
    let most = limits.shards_max;
    asked.into_iter().find(|(_, open)| *open > most).map(|(who, open)| Refusal {
        reason: "TooManyShards",
        message: format!(
            "{who} comes to {open} open shards, and the operator allows {most} (--max-shards): ask for fewer, or have the \
             limit raised"
        ),
    })
}

/// A StatefulSet starts its pods again by itself, at once.
fn restart(spec: &Spec) -> Option<Refusal> {
    let waits =
        |step: &&Step| matches!(step.action, Action::KillPod { restart, .. } if restart != Restart::Immediately);
    let step = spec.steps.iter().find(waits)?;
    Some(Refusal {
        reason: "RestartNotPossible",
        message: format!(
            "step `{}` (killPod) asks for another restart than Immediately, and a StatefulSet starts its pods again at \
             once: leave it out and scale in for a loss that lasts, or play the experiment with `kinex run`",
            step.name
        ),
    })
}

fn chaos(spec: &Spec, settings: &Settings) -> Option<Refusal> {
    let needs = |step: &&Step| {
        matches!(
            step.action,
            Action::FreezePod { .. }
                | Action::KillPod {
                    mode: KillMode::Crash,
                    ..
                }
        )
    };
    let step = spec.steps.iter().find(needs).filter(|_| !settings.pods.allow_chaos)?;
    Some(Refusal {
        reason: "ChaosNotAllowed",
        message: format!(
            "step `{}` ({}) acts on a consumer from within, and the operator was started without --allow-chaos: have it \
             started with it, or end pods with killPod mode Delete or Force",
            step.name,
            step.action.kind()
        ),
    })
}
