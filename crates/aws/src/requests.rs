//! Counts of the requests that were sent, by API and outcome.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use crate::service_clock::ServiceClock;

/// How often one API was asked with one outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestCount {
    /// `GetRecords`, `UpdateItem`, ...
    pub api: String,
    /// `ok`, `conflict` (a condition did not hold), `throttled`, `refused`, `failed` (5xx) or `unreachable`.
    pub outcome: &'static str,
    /// How many HTTP requests, retries included.
    pub count: u64,
}

/// The counts of all requests of one [`Clients`](crate::Clients); a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    counts: Arc<Mutex<BTreeMap<(String, &'static str), u64>>>,
    kinesis: ServiceClock,
    permit: Arc<OnceLock<Permit>>,
}

/// Whether requests may have effects at this moment.
struct Permit(Box<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", (self.0)())
    }
}

impl Requests {
    /// The counts so far, by API and outcome in the order of their names.
    pub fn snapshot(&self) -> Vec<RequestCount> {
        let counts = self.counts.lock().expect("no code panics while it holds the counts");
        let count = |((api, outcome), count): (&(String, &'static str), &u64)| RequestCount {
            api: api.clone(),
            outcome,
            count: *count,
        };
        counts.iter().map(count).collect()
    }

    /// The same as label values, for a metric with the labels `api` and `outcome`.
    pub fn labelled(&self) -> Vec<([String; 2], u64)> {
        let counts = self.snapshot().into_iter();
        counts
            .map(|count| ([count.api, count.outcome.to_owned()], count.count))
            .collect()
    }

    /// Sends requests that have an effect (whatever is no Get, List, Describe, Query or Scan) only while this is true; the
    /// others fail before they are sent, retries included. Only the first call counts.
    pub fn write_only_while(&self, permitted: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.permit.set(Permit(Box::new(permitted)));
    }

    /// What the clock of Kinesis shows.
    pub(crate) fn kinesis_clock(&self) -> &ServiceClock {
        &self.kinesis
    }

    fn permitted(&self, config: &ConfigBag) -> Result<(), BoxError> {
        let name = config.load::<Metadata>().map_or("unknown", Metadata::name);
        match self.permit.get() {
            Some(permit) if !reads(name) && !(permit.0)() => {
                Err("not sent: this process may have no effect any more".into())
            }
            _ => Ok(()),
        }
    }

    fn add(&self, api: &str, outcome: &'static str) {
        let mut counts = self.counts.lock().expect("no code panics while it holds the counts");
        *counts.entry((api.to_owned(), outcome)).or_default() += 1;
    }
}

#[dyn_dispatch_hint]
impl Intercept for Requests {
    fn name(&self) -> &'static str {
        "Requests"
    }

    /// Before anything is done about a request: what is refused here counts as never sent, and is not tried again.
    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.permitted(config)
    }

    /// Before every attempt.
    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.permitted(config)
    }

    /// The SDK calls this once for every attempt, one that was cancelled by a timeout too.
    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let metadata = config.load::<Metadata>();
        self.add(metadata.map_or("unknown", Metadata::name), outcome(context.response()));
        if let Some(response) = context.response()
            && metadata.is_some_and(|metadata| metadata.service() == "Kinesis")
        {
            self.kinesis.note(response.headers().get("date"));
        }
        Ok(())
    }
}

/// Whether an API has no effect.
fn reads(api: &str) -> bool {
    ["Get", "List", "Describe", "BatchGet", "Query", "Scan"]
        .iter()
        .any(|prefix| api.starts_with(prefix))
}

fn outcome(response: Option<&HttpResponse>) -> &'static str {
    let Some(response) = response else {
        return "unreachable";
    };
    match response.status().as_u16() {
        200..=299 => "ok",
        500.. => "failed",
        429 => "throttled",
        _ => refusal(response),
    }
}

/// The kind of a 400: the name of the error stands in the body, and with some services in a header.
fn refusal(response: &HttpResponse) -> &'static str {
    let header = response.headers().get("x-amzn-errortype").unwrap_or_default();
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    let names = |name: &str| header.contains(name) || body.contains(name);
    if names("ConditionalCheckFailedException") {
        "conflict"
    } else if ["ThroughputExceeded", "Throttling", "LimitExceeded", "ResourceInUse"]
        .iter()
        .any(|name| names(name))
    {
        "throttled"
    } else {
        "refused"
    }
}
