//! The settings: the command line, checked as a whole.

mod endpoint;
mod pod;

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kinex_api::DurationText;
use kinex_aws::{Access, AddressRule};
use kinex_core::experiment::Spec;

use self::endpoint::forbidden_address;
pub use self::endpoint::{Allowed, Endpoint};
pub use self::pod::PodExtras;
use crate::args::Args;

/// What the operator runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which namespaces are looked after.
    pub scope: Scope,
    /// Where experiments are that name no endpoint.
    pub place: Option<Place>,
    /// The AWS region, where one was given.
    pub region: Option<String>,
    /// The endpoints that an experiment may name.
    pub allowed: Vec<Allowed>,
    /// The host of the cluster's API server, which is no endpoint for experiments.
    pub api_server: Option<String>,
    /// What the pods are made of.
    pub pods: Pods,
    /// What experiments may ask for.
    pub limits: Limits,
    /// What the names of lease tables begin with; the experiment's name follows.
    pub table_prefix: String,
    /// How long a deleted experiment waits for its stream to be deleted.
    pub cleanup_timeout: Duration,
    /// The `spec.operatorClass` of the experiments that are looked after.
    pub class: Option<String>,
    /// Which operator this is, the same for all of its replicas: its namespace and the name of its Lease.
    pub identity: String,
    /// The Lease without which nothing is done; `None`: there is no election.
    pub lease: Option<String>,
    /// Where metrics and probes are served.
    pub metrics_addr: SocketAddr,
}

/// Which namespaces are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// These, sorted.
    Namespaces(Vec<String>),
    /// The one that the client is configured for.
    Own,
}

/// Where a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Real AWS.
    Aws,
    /// An endpoint that speaks its protocols; it never gets credentials.
    Custom(Endpoint),
}

/// What the pods of experiments are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Pods {
    /// The image of both programs.
    pub image: String,
    /// When the kubelet pulls it; `None`: as the cluster does by itself.
    pub pull_policy: Option<String>,
    /// The secrets for pulling it.
    pub pull_secrets: Vec<String>,
    /// The consumers' service account; `None`: the namespace's.
    pub consumer_account: Option<String>,
    /// The producers' service account; `None`: the namespace's.
    pub producer_account: Option<String>,
    /// A consumer's resources.
    pub consumer_resources: ResourceRequirements,
    /// A producer's resources.
    pub producer_resources: ResourceRequirements,
    /// What is added to a consumer's pod.
    pub consumer_extras: PodExtras,
    /// What is added to a producer's pod.
    pub producer_extras: PodExtras,
    /// The priority class.
    pub priority_class: Option<String>,
    /// ConfigMap and key with certificates to trust.
    pub ca_bundle: Option<(String, String)>,
    /// Whether consumers obey orders to crash and to freeze.
    pub allow_chaos: bool,
}

/// What experiments may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How the names of streams must begin; empty: any name.
    pub stream_prefixes: Vec<String>,
    /// Open shards at any time of a run.
    pub shards_max: u32,
    /// Workers.
    pub replicas_max: u32,
    /// Experiments of a namespace that run at the same time.
    pub running_max: u32,
    /// Records per second.
    pub records_per_second_max: u32,
    /// Label and taint keys of nodes; `*`: every key.
    pub node_keys: Vec<String>,
    /// Priority classes.
    pub priority_classes: Vec<String>,
}

/// The settings contradict each other or cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

/// Enough for the batches in memory (64 MiB), and a CPU limit far above what a consumer needs: one that is throttled
/// looks like one that hangs.
const CONSUMER_RESOURCES: &str = r#"{"requests":{"cpu":"50m","memory":"64Mi"},"limits":{"cpu":"1","memory":"256Mi"}}"#;
const PRODUCER_RESOURCES: &str = r#"{"requests":{"cpu":"50m","memory":"32Mi"},"limits":{"cpu":"1","memory":"128Mi"}}"#;

impl Settings {
    /// The settings of a command line; `env` looks up what the cluster puts into a pod's environment.
    ///
    /// # Errors
    /// The first setting that is wrong, by its flag, and what to give instead.
    pub fn resolve(args: Args, env: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        // Destructured whole, so that a new flag cannot be forgotten.
        let Args {
            namespaces,
            all_namespaces,
            endpoint_url,
            aws,
            region,
            allow_endpoints,
            image,
            image_pull_policy,
            image_pull_secrets,
            consumer_service_account,
            producer_service_account,
            consumer_resources,
            producer_resources,
            consumer_pod,
            producer_pod,
            worker_priority_class,
            ca_bundle,
            allow_chaos,
            stream_prefixes,
            table_prefix,
            max_shards,
            max_replicas,
            max_running,
            max_records_per_second,
            allow_node_keys,
            allow_priority_classes,
            cleanup_timeout,
            operator_class,
            leader_election,
            lease,
            metrics_addr,
        } = args;
        let lease = name("--lease", lease)?.unwrap_or_else(|| "kinex-operator".to_owned());
        let env = |name: &str| given(env(name));
        let pods = Pods {
            image: given(image).ok_or_else(|| {
                wrong(
                    "--image",
                    "is missing: name the image of consumers and producers, normally the operator's own",
                )
            })?,
            pull_policy: pull_policy(given(image_pull_policy))?,
            pull_secrets: names("--image-pull-secret", image_pull_secrets)?,
            consumer_account: name("--consumer-service-account", consumer_service_account)?,
            producer_account: name("--producer-service-account", producer_service_account)?,
            consumer_resources: resources("--consumer-resources", consumer_resources, CONSUMER_RESOURCES)?,
            producer_resources: resources("--producer-resources", producer_resources, PRODUCER_RESOURCES)?,
            consumer_extras: PodExtras::parse("--consumer-pod", given(consumer_pod))?,
            producer_extras: PodExtras::parse("--producer-pod", given(producer_pod))?,
            priority_class: name("--worker-priority-class", worker_priority_class)?,
            ca_bundle: ca_bundle_of(given(ca_bundle))?,
            allow_chaos,
        };
        // A run of 20 shards and 5 workers is the usual one; these are ten times as much and more.
        let limits = Limits {
            stream_prefixes: stream_prefixes
                .into_iter()
                .filter(|prefix| !prefix.is_empty())
                .collect(),
            shards_max: positive("--max-shards", max_shards, 200)?,
            replicas_max: positive("--max-replicas", max_replicas, 100)?,
            running_max: positive("--max-running", max_running, 10)?,
            records_per_second_max: max_records_per_second.unwrap_or(10_000),
            node_keys: allow_node_keys.into_iter().filter(|key| !key.is_empty()).collect(),
            priority_classes: names("--allow-priority-class", allow_priority_classes)?,
        };
        Ok(Self {
            scope: scope(namespaces, all_namespaces, env("POD_NAMESPACE"))?,
            place: place(given(endpoint_url), aws)?,
            region: given(region),
            allowed: allowed(&allow_endpoints)?,
            api_server: env("KUBERNETES_SERVICE_HOST"),
            pods,
            limits,
            table_prefix: prefix("--table-prefix", given(table_prefix))?,
            cleanup_timeout: span("--cleanup-timeout", given(cleanup_timeout), "2m")?,
            class: name("--operator-class", operator_class)?,
            identity: format!(
                "{}/{lease}",
                env("POD_NAMESPACE").unwrap_or_else(|| "default".to_owned())
            ),
            lease: leader_election.then_some(lease),
            metrics_addr: address(given(metrics_addr))?,
        })
    }

    /// Where an experiment's stream is; `None`: neither the experiment nor the operator names an endpoint.
    ///
    /// An endpoint that the experiment names has passed [`refuse`](crate::limits::refuse).
    pub fn place_of(&self, spec: &Spec) -> Option<Place> {
        match &spec.stream.endpoint {
            Some(url) => Endpoint::parse(url).ok().map(Place::Custom),
            None => self.place.clone(),
        }
    }

    /// The application of an experiment: the name of its lease table.
    pub fn application(&self, spec: &Spec) -> String {
        format!("{}{}", self.table_prefix, spec.name)
    }

    /// How the operator itself gets to an experiment's stream and tables.
    pub fn access(&self, place: &Place) -> Access {
        let region = self.region.clone();
        match place {
            Place::Aws => Access {
                region,
                ..Access::default()
            },
            Place::Custom(endpoint) => Access {
                region,
                addresses: self.addresses(endpoint),
                ..Access::endpoint(endpoint.to_string())
            },
        }
    }

    /// An endpoint that nobody named in full may not lead to where no experiment has any business, whatever its name
    /// resolves to by the time of the connection.
    fn addresses(&self, endpoint: &Endpoint) -> Option<AddressRule> {
        let own = self.place == Some(Place::Custom(endpoint.clone()));
        let exactly = Allowed::Exactly(endpoint.clone());
        if own || self.allowed.contains(&exactly) {
            return None;
        }
        let api_server = self.api_server.clone();
        let forbidden = move |address| forbidden_address(address, api_server.as_deref());
        Some(AddressRule::new(forbidden))
    }
}

fn wrong(flag: &str, reason: impl AsRef<str>) -> SettingsError {
    SettingsError(format!("{flag} {}", reason.as_ref()))
}

/// The ConfigMap and its key.
fn ca_bundle_of(text: Option<String>) -> Result<Option<(String, String)>, SettingsError> {
    let Some(text) = text else { return Ok(None) };
    let flaw = || {
        wrong(
            "--ca-bundle",
            format!("is `{text}`: give a ConfigMap and its key, as trust/ca.crt"),
        )
    };
    let (map, key) = text.split_once('/').ok_or_else(flaw)?;
    // It becomes a path in the pod.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if key.is_empty() || key.starts_with("..") || !key.chars().all(plain) {
        return Err(flaw());
    }
    let map = name("--ca-bundle", Some(map.to_owned()))?.ok_or_else(flaw)?;
    Ok(Some((map, key.to_owned())))
}

/// A text that is there and not empty: an empty environment variable is none.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

fn scope(namespaces: Vec<String>, all: bool, own: Option<String>) -> Result<Scope, SettingsError> {
    let mut named = names("--namespace", namespaces)?;
    named.sort();
    named.dedup();
    match (all, named.is_empty(), own) {
        (true, false, _) => Err(wrong(
            "--all-namespaces",
            format!("and --namespace {} contradict each other: give one of them", named[0]),
        )),
        (true, true, _) => Ok(Scope::All),
        (false, false, _) => Ok(Scope::Namespaces(named)),
        (false, true, Some(own)) => Ok(Scope::Namespaces(vec![own])),
        (false, true, None) => Ok(Scope::Own),
    }
}

fn place(endpoint: Option<String>, aws: bool) -> Result<Option<Place>, SettingsError> {
    match (endpoint, aws) {
        (Some(url), true) => Err(wrong(
            "--aws",
            format!("and --endpoint-url {url} contradict each other: give one of them"),
        )),
        (Some(url), false) => {
            let endpoint = Endpoint::parse(&url).map_err(|flaw| wrong("--endpoint-url", flaw))?;
            Ok(Some(Place::Custom(endpoint)))
        }
        (None, true) => Ok(Some(Place::Aws)),
        (None, false) => Ok(None),
    }
}

fn allowed(urls: &[String]) -> Result<Vec<Allowed>, SettingsError> {
    let urls = urls.iter().filter(|url| !url.trim().is_empty());
    urls.map(|url| Allowed::parse(url).map_err(|flaw| wrong("--allow-endpoint", flaw)))
        .collect()
}

fn pull_policy(policy: Option<String>) -> Result<Option<String>, SettingsError> {
    match policy.as_deref() {
        None | Some("Always" | "IfNotPresent" | "Never") => Ok(policy),
        Some(other) => Err(wrong(
            "--image-pull-policy",
            format!("is `{other}`: expected Always, IfNotPresent or Never"),
        )),
    }
}

fn name(flag: &str, name: Option<String>) -> Result<Option<String>, SettingsError> {
    Ok(names(flag, name.into_iter().collect())?.pop())
}

/// Names of Kubernetes objects.
fn names(flag: &str, names: Vec<String>) -> Result<Vec<String>, SettingsError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
    match names.iter().find(|name| name.len() > 253 || !name.chars().all(plain)) {
        Some(bad) => Err(wrong(
            flag,
            format!(
                "is `{}`: expected a name of lower-case letters, digits, `-` and `.`",
                bad.escape_debug()
            ),
        )),
        None => Ok(names),
    }
}

/// The beginning of a table's name, which is 255 characters at most with the experiment's name and `-workers`:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>.
fn prefix(flag: &str, text: Option<String>) -> Result<String, SettingsError> {
    let text = text.unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.len() <= 200 && text.chars().all(plain) {
        return Ok(text);
    }
    Err(wrong(
        flag,
        format!(
            "is `{}`: expected at most 200 letters, digits, `-`, `_` and `.`",
            text.escape_debug()
        ),
    ))
}

fn resources(flag: &str, json: Option<String>, usual: &str) -> Result<ResourceRequirements, SettingsError> {
    let json = given(json);
    let text = json.as_deref().unwrap_or(usual);
    let resources: ResourceRequirements =
        serde_json::from_str(text).map_err(|error| wrong(flag, format!("is no JSON of resources: {error}")))?;
    let sized = |sizes: &Option<std::collections::BTreeMap<_, _>>| {
        sizes
            .as_ref()
            .is_some_and(|sizes| ["cpu", "memory"].iter().all(|of| sizes.contains_key(*of)))
    };
    // A quota of the namespace would refuse pods without them, long after this.
    if sized(&resources.requests) && sized(&resources.limits) {
        Ok(resources)
    } else {
        Err(wrong(
            flag,
            format!("must give cpu and memory under both requests and limits, as {usual}"),
        ))
    }
}

fn positive(flag: &str, number: Option<u32>, usual: u32) -> Result<u32, SettingsError> {
    match number {
        Some(0) => Err(wrong(flag, "is 0, which no experiment keeps: give 1 or more")),
        number => Ok(number.unwrap_or(usual)),
    }
}

fn span(flag: &str, text: Option<String>, usual: &str) -> Result<Duration, SettingsError> {
    let text = text.unwrap_or_else(|| usual.to_owned());
    let read = DurationText::new(text.as_str()).get();
    read.map_err(|error| wrong(flag, format!("is `{text}`: {error}; write it as 30s or 2m")))
}

fn address(text: Option<String>) -> Result<SocketAddr, SettingsError> {
    let text = text.unwrap_or_else(|| "0.0.0.0:9090".to_owned());
    text.parse().map_err(|_| {
        wrong(
            "--metrics-addr",
            format!("is `{text}`: expected IP:PORT, as 0.0.0.0:9090"),
        )
    })
}
