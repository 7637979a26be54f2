//! The SDK clients, each with timeouts, connections and a retry budget of its own.
//!
//! The SDK shares one budget of retries among all clients of a service in a process, and sets no timeout but that of
//! connecting. A scan that is throttled must not use up the retries of a renewal, and a request that hangs must not
//! outlast the window that it was to renew; so every purpose has a client of its own.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb as dynamodb;
use aws_sdk_kinesis as kinesis;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use dynamodb::config::IdentityCache;
use dynamodb::config::retry::{RetryPartition, TokenBucket};

use crate::access::{Place, endpoint_flaw};
use crate::connections::Connections;
use crate::credentials::{Renewed, RetryRefused, Source};
use crate::slots::Slots;
use crate::{Access, Facts, Fault, FaultKind, Leases, Reader, Requests, Sender, StreamAdmin, Tables};

/// Connections to Kinesis and DynamoDB; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clients {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    requests: Requests,
    kinesis_place: Place,
    dynamodb_place: Place,
    kinesis: Wire,
    dynamodb: Wire,
    renewals: Lazy<dynamodb::Client>,
    checkpoints: Lazy<dynamodb::Client>,
    plans: Lazy<dynamodb::Client>,
    records: Lazy<kinesis::Client>,
    reads: Lazy<kinesis::Client>,
    puts: Lazy<kinesis::Client>,
    changes: Lazy<kinesis::Client>,
    looks: Slots,
    reshards: Slots,
}

/// Of the 20 calls of DescribeStreamSummary that an account may make in a second, those that only look take a quarter: others
/// need them as well (<https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>).
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// SplitShard and MergeShards: so many in a second and account each, by the same page.
const RESHARDS_A_SECOND: u32 = 5;

/// Made at its first use: no program uses all the clients, and each of them costs memory.
type Lazy<T> = OnceLock<T>;

impl Clients {
    /// Prepares the clients. Sends nothing to Kinesis or DynamoDB; with real AWS the region is looked up.
    ///
    /// # Errors
    /// `Invalid` when an endpoint is no http(s) URL or no region is configured.
    pub async fn connect(access: &Access) -> Result<Self, Fault> {
        let [kinesis, dynamodb] = access.endpoints(|name| std::env::var(name).ok());
        for url in [&kinesis, &dynamodb].into_iter().flatten() {
            if let Some(flaw) = endpoint_flaw(url) {
                return Err(misconfigured(format!("`{url}` is no endpoint: {flaw}")));
            }
        }
        let plain = |url: &Option<String>| url.as_ref().is_some_and(|url| url.starts_with("http://"));
        let tls = access.send_credentials || ![&kinesis, &dynamodb].into_iter().all(plain);
        let connections = Connections::of(tls, |name| std::env::var(name).ok()).map_err(misconfigured)?;
        let custom = connections.clone().within(access.addresses.clone());
        let all_custom = kinesis.is_some() && dynamodb.is_some();
        let aws = if all_custom && !access.send_credentials {
            None
        } else {
            Some(environment(access.region.clone(), &connections).await)
        };
        let region = match &aws {
            Some(aws) => aws.region().cloned().or_else(|| all_custom.then(default_region)),
            None => Some(custom_region(access)),
        };
        let Some(region) = region else {
            return Err(misconfigured(
                "no AWS region is configured; give --region, set AWS_REGION, or give --endpoint-url for a local endpoint",
            ));
        };
        let requests = Requests::default();
        let wire = |url: Option<String>| {
            let real = aws.as_ref().filter(|_| url.is_none() || access.send_credentials);
            let connections = if url.is_some() { &custom } else { &connections };
            Wire::new(url, &region, real, connections, &requests)
        };
        Ok(Self::on(wire(kinesis), wire(dynamodb), requests))
    }

    /// Clients with a user's own configuration of each service: region, credentials, endpoint, HTTP client and whatever
    /// else it says, but for timeouts, retries and the identity cache, which belong to what each request is for.
    ///
    /// An HTTP client of the configuration is used as it is, for everything. Without one, each purpose has connections of
    /// its own, which is what keeps leases while other requests hang; so give one only where it must be. The
    /// credentials provider is asked again when its credentials end or the service refuses them.
    ///
    /// # Errors
    /// `Invalid` when a configuration has no region, no credentials provider, or an endpoint that is no http(s) URL.
    pub fn with_config(kinesis: &SdkConfig, dynamodb: &SdkConfig) -> Result<Self, Fault> {
        let connections = Connections::of(true, |name| std::env::var(name).ok()).map_err(misconfigured)?;
        let requests = Requests::default();
        let wire = |service, config| Wire::of_user(service, config, &connections, &requests);
        Ok(Self::on(
            wire("Kinesis", kinesis)?,
            wire("DynamoDB", dynamodb)?,
            requests,
        ))
    }

    fn on(kinesis: Wire, dynamodb: Wire, requests: Requests) -> Self {
        let inner = Inner {
            requests,
            kinesis_place: kinesis.place(),
            dynamodb_place: dynamodb.place(),
            kinesis,
            dynamodb,
            renewals: Lazy::new(),
            checkpoints: Lazy::new(),
            plans: Lazy::new(),
            records: Lazy::new(),
            reads: Lazy::new(),
            puts: Lazy::new(),
            changes: Lazy::new(),
            looks: Slots::new(LOOK_EVERY, 1),
            reshards: Slots::new(Duration::from_secs(1) / RESHARDS_A_SECOND, RESHARDS_A_SECOND),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The counts of all requests that go through these clients.
    pub fn requests(&self) -> &Requests {
        &self.inner.requests
    }

    /// The lease store of an application.
    pub fn leases(&self, application: &str) -> Leases {
        Leases::new(self, application)
    }

    /// The tables of an application.
    pub fn tables(&self, application: &str) -> Tables {
        Tables::new(self, application)
    }

    /// The facts of an application.
    pub fn facts(&self, application: &str) -> Facts {
        Facts::new(self, application)
    }

    /// A stream, for reading.
    pub fn reader(&self, stream: &str) -> Reader {
        Reader::new(self, stream)
    }

    /// A stream, for writing.
    pub fn sender(&self, stream: &str) -> Sender {
        Sender::new(self, stream)
    }

    /// All streams, for creating, splitting and so on.
    pub fn streams(&self) -> StreamAdmin {
        StreamAdmin::new(self)
    }

    /// When a stream may be described again only to know how it is. Whoever asks of one account shares these times.
    pub fn next_look(&self) -> Instant {
        self.inner.looks.take(Instant::now())
    }

    /// Waits until a shard may be split or merged.
    pub(crate) async fn reshard_slot(&self) {
        let slot = self.inner.reshards.take(Instant::now());
        tokio::time::sleep_until(slot.into()).await;
    }

    pub(crate) fn kinesis_place(&self) -> &Place {
        &self.inner.kinesis_place
    }

    pub(crate) fn dynamodb_place(&self) -> &Place {
        &self.inner.dynamodb_place
    }

    /// For what keeps a window open.
    pub(crate) fn renewals(&self) -> &dynamodb::Client {
        self.inner
            .renewals
            .get_or_init(|| self.inner.dynamodb.dynamodb(&RENEWALS))
    }

    /// For progress, and for handing leases over with it.
    pub(crate) fn checkpoints(&self) -> &dynamodb::Client {
        self.inner
            .checkpoints
            .get_or_init(|| self.inner.dynamodb.dynamodb(&CHECKPOINTS))
    }

    /// For looking at the tables and for getting leases.
    pub(crate) fn plans(&self) -> &dynamodb::Client {
        self.inner.plans.get_or_init(|| self.inner.dynamodb.dynamodb(&PLANS))
    }

    /// For reading records.
    pub(crate) fn reads(&self) -> &kinesis::Client {
        self.inner.reads.get_or_init(|| self.inner.kinesis.kinesis(&READS))
    }

    /// For places in shards, and for looking at streams.
    pub(crate) fn records(&self) -> &kinesis::Client {
        self.inner.records.get_or_init(|| self.inner.kinesis.kinesis(&RECORDS))
    }

    /// For writing records.
    pub(crate) fn puts(&self) -> &kinesis::Client {
        self.inner.puts.get_or_init(|| self.inner.kinesis.kinesis(&PUTS))
    }

    /// For changing streams.
    pub(crate) fn changes(&self) -> &kinesis::Client {
        self.inner.changes.get_or_init(|| self.inner.kinesis.kinesis(&CHANGES))
    }
}

/// What a client is for, in limits.
struct Purpose {
    /// Names the retry budget.
    name: &'static str,
    /// One HTTP request.
    attempt: Duration,
    /// All attempts and the pauses between them.
    operation: Duration,
    /// At most this many attempts.
    attempts: u32,
}

/// A connection inside a region takes milliseconds; a host that drops packets must not eat a renewal's time.
const CONNECT: Duration = Duration::from_secs(1);

/// A renewal is sent every third of the failover time (3.3 s by default) and must be over before the next one.
const RENEWALS: Purpose = Purpose {
    name: "kinex-renewals",
    attempt: Duration::from_millis(1500),
    operation: Duration::from_millis(3200),
    attempts: 3,
};

/// A checkpoint may take longer, but an answer after the failover time (10 s by default) is of no use.
const CHECKPOINTS: Purpose = Purpose {
    name: "kinex-checkpoints",
    attempt: Duration::from_secs(2),
    operation: Duration::from_secs(8),
    attempts: 4,
};

/// A page of a scan is 1 MB. A view older than the failover time is of no use.
const PLANS: Purpose = Purpose {
    name: "kinex-plans",
    attempt: Duration::from_secs(3),
    operation: Duration::from_secs(8),
    attempts: 3,
};

/// A response holds up to 10 MiB, which a slow link needs its time for. The caller bounds each read by its own
/// `read_timeout`; after five minutes the iterator is worth nothing. Never retried here: after a response that broke off,
/// the caller asks for less.
const READS: Purpose = Purpose {
    name: "kinex-reads",
    attempt: Duration::from_secs(300),
    operation: Duration::from_secs(300),
    attempts: 1,
};

/// The shard consumer has its own pauses, so one retry is enough.
const RECORDS: Purpose = Purpose {
    name: "kinex-records",
    attempt: Duration::from_secs(10),
    operation: Duration::from_secs(15),
    attempts: 2,
};

/// A request holds up to 10 MiB. Never retried here: whoever sends decides, and knows what may be there twice.
const PUTS: Purpose = Purpose {
    name: "kinex-puts",
    attempt: Duration::from_secs(10),
    operation: Duration::from_secs(10),
    attempts: 1,
};

/// Changes of streams are slow and seldom. Never retried here: whether a change whose answer was lost was made is seen
/// by looking at the stream, and a second one would split a shard that is none of its business.
const CHANGES: Purpose = Purpose {
    name: "kinex-changes",
    attempt: Duration::from_secs(10),
    operation: Duration::from_secs(10),
    attempts: 1,
};

impl Purpose {
    fn timeouts(&self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.operation)
            .build()
    }

    fn retries(&self) -> RetryConfig {
        // The pause before a retry is drawn between nothing and the backoff.
        RetryConfig::standard()
            .with_max_attempts(self.attempts)
            .with_initial_backoff(Duration::from_millis(100))
            .with_max_backoff(Duration::from_secs(1))
    }

    fn budget(&self) -> RetryPartition {
        RetryPartition::custom(self.name)
            .token_bucket(TokenBucket::default())
            .build()
    }
}

/// How to get to one service.
#[derive(Debug)]
struct Wire {
    /// Everything but what depends on the purpose of a client.
    base: SdkConfig,
    credentials: Source,
    place: Place,
    /// The URL, as far as it decides about the connection.
    url: String,
    connections: Connections,
    requests: Requests,
}

impl Wire {
    /// `real` is the configuration of the environment where its credentials are sent: to the real service, and elsewhere
    /// only when the caller says so.
    fn new(
        url: Option<String>,
        region: &Region,
        real: Option<&SdkConfig>,
        connections: &Connections,
        requests: &Requests,
    ) -> Self {
        let mut base = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(region.clone());
        base.set_endpoint_url(url.clone());
        base.set_use_fips(real.and_then(SdkConfig::use_fips));
        base.set_use_dual_stack(real.and_then(SdkConfig::use_dual_stack));
        let credentials = match real {
            Some(_) => Source::Environment {
                region: Some(region.clone()),
                connections: connections.clone(),
            },
            None => Source::Given(SharedCredentialsProvider::new(dummy())),
        };
        Self::on(base.build(), credentials, connections, requests)
    }

    fn of_user(
        service: &str,
        config: &SdkConfig,
        connections: &Connections,
        requests: &Requests,
    ) -> Result<Self, Fault> {
        let lacks = |what: &str| misconfigured(format!("the configuration for {service} has no {what}"));
        if config.region().is_none() {
            return Err(lacks("region"));
        }
        if let Some(url) = config.endpoint_url()
            && let Some(flaw) = endpoint_flaw(url)
        {
            return Err(misconfigured(format!("`{url}` is no endpoint: {flaw}")));
        }
        let credentials = config
            .credentials_provider()
            .ok_or_else(|| lacks("credentials provider"))?;
        Ok(Self::on(
            config.clone(),
            Source::Given(credentials),
            connections,
            requests,
        ))
    }

    fn on(base: SdkConfig, credentials: Source, connections: &Connections, requests: &Requests) -> Self {
        let region = base.region().map(ToString::to_string).unwrap_or_default();
        let (place, url) = match base.endpoint_url() {
            Some(url) => (Place::custom(url), url.to_owned()),
            None => (Place::aws(&region), format!("https://{region}.amazonaws.com")),
        };
        let proxy = connections.shown_for(&url).filter(|_| base.http_client().is_none());
        Self {
            place: place.through(proxy),
            base,
            credentials,
            url,
            connections: connections.clone(),
            requests: requests.clone(),
        }
    }

    fn place(&self) -> Place {
        self.place.clone()
    }

    /// Connections of its own for each client: those of the renewals must live on the renewals' runtime.
    fn http(&self) -> SharedHttpClient {
        self.base
            .http_client()
            .unwrap_or_else(|| self.connections.client(&self.url))
    }

    /// What the clients of both services have in common. The credentials keep themselves.
    fn settings(&self, purpose: &Purpose, credentials: &Renewed) -> SdkConfig {
        let mut config = self.base.clone().into_builder();
        if self.base.behavior_version().is_none() {
            config.set_behavior_version(Some(BehaviorVersion::v2026_01_12()));
        }
        config
            .http_client(self.http())
            .timeout_config(purpose.timeouts())
            .retry_config(purpose.retries())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .identity_cache(IdentityCache::no_cache())
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .build()
    }

    fn dynamodb(&self, purpose: &Purpose) -> dynamodb::Client {
        let credentials = Renewed::new(self.credentials.clone());
        let config = dynamodb::config::Builder::from(&self.settings(purpose, &credentials))
            .retry_partition(purpose.budget())
            .retry_classifier(RetryRefused)
            .interceptor(credentials)
            .interceptor(self.requests.clone());
        dynamodb::Client::from_conf(config.build())
    }

    fn kinesis(&self, purpose: &Purpose) -> kinesis::Client {
        let credentials = Renewed::new(self.credentials.clone());
        let config = kinesis::config::Builder::from(&self.settings(purpose, &credentials))
            .retry_partition(purpose.budget())
            .retry_classifier(RetryRefused)
            .interceptor(credentials)
            .interceptor(self.requests.clone());
        kinesis::Client::from_conf(config.build())
    }
}

/// The region and the credentials of the environment. Its endpoints are not taken from here: see [`Access`].
async fn environment(region: Option<String>, connections: &Connections) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(connections.https());
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    loader.load().await
}

fn custom_region(access: &Access) -> Region {
    let env = || {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
    };
    let given = access.region.clone().or_else(env).filter(|region| !region.is_empty());
    given.map_or_else(default_region, Region::new)
}

fn default_region() -> Region {
    Region::from_static("us-east-1")
}

/// For endpoints that check no signature. Nobody's keys.
fn dummy() -> Credentials {
    Credentials::new("kinex", "not-a-secret", None, None, "kinex-dummy")
}

fn misconfigured(message: impl Into<String>) -> Fault {
    Fault {
        kind: FaultKind::Invalid,
        request: "AWS configuration".into(),
        message: message.into(),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_endpoint_is_refused_before_anything_is_sent() {
        let fault = Clients::connect(&Access::endpoint("localhost:4566"))
            .await
            .expect_err("no scheme");
        assert_eq!(
            fault.to_string(),
            "AWS configuration: `localhost:4566` is no endpoint: it must start with http:// or https://"
        );
    }
}
