//! Counts of requests per service and API, as a whole and per second.
//!
//! A retry of the caller is a request of its own, as it is on a bill.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Seconds of history that are kept.
const SECONDS_MAX: usize = 900;
/// Different API names that are counted; a caller who makes up more of them is counted as `Other`.
const APIS_MAX: usize = 256;

/// One of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Kinesis Data Streams.
    Kinesis,
    /// DynamoDB.
    DynamoDb,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kinesis => "kinesis",
            Self::DynamoDb => "dynamodb",
        })
    }
}

/// An API of a service; written `service.Name`, such as `dynamodb.UpdateItem`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Api {
    /// Whose API it is.
    pub service: Service,
    /// Its name, as in `X-Amz-Target`.
    pub name: String,
}

impl From<Api> for String {
    fn from(api: Api) -> Self {
        format!("{}.{}", api.service, api.name)
    }
}

impl TryFrom<String> for Api {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (service, name) = match text.split_once('.') {
            Some(("kinesis", name)) => (Service::Kinesis, name),
            Some(("dynamodb", name)) => (Service::DynamoDb, name),
            _ => return Err(format!("`{text}` is not `kinesis.NAME` or `dynamodb.NAME`")),
        };
        Ok(Self {
            service,
            name: name.to_owned(),
        })
    }
}

/// What is counted of one API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that arrived.
    pub count: u64,
    /// Answers that were errors, by the error's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// Requests that a rule of the fault plan touched.
    #[serde(default)]
    pub faulted: u64,
}

/// The requests that arrived within one second of the wall clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the Unix epoch.
    pub at: u64,
    /// Requests by API.
    pub counts: BTreeMap<Api, u64>,
}

/// A snapshot of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Everything since the start, by API.
    pub total: BTreeMap<Api, Counts>,
    /// The last 15 minutes; seconds without a request are left out. The last one may still grow.
    pub seconds: Vec<Second>,
}

impl Requests {
    /// Requests to one API since the start.
    pub fn count(&self, service: Service, name: &str) -> u64 {
        self.total
            .get(&Api {
                service,
                name: name.to_owned(),
            })
            .map_or(0, |counts| counts.count)
    }

    /// Requests to all APIs of a service since the start.
    pub fn sum(&self, service: Service) -> u64 {
        self.total
            .iter()
            .filter(|(api, _)| api.service == service)
            .map(|(_, counts)| counts.count)
            .sum()
    }

    /// Requests by API from second `from` on and before second `until` (Unix time).
    pub fn between(&self, from: u64, until: u64) -> BTreeMap<Api, u64> {
        let mut sums = BTreeMap::new();
        for second in self.seconds.iter().filter(|second| (from..until).contains(&second.at)) {
            for (api, count) in &second.counts {
                *sums.entry(api.clone()).or_default() += count;
            }
        }
        sums
    }
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Counter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    total: BTreeMap<Api, Counts>,
    seconds: VecDeque<Second>,
}

impl Counter {
    /// Counts a request that arrived in second `at` (Unix time). Returns the name that it was counted under.
    pub(crate) fn arrived(&self, api: &Api, at: u64) -> Api {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let api = if state.total.len() < APIS_MAX || state.total.contains_key(api) {
            api.clone()
        } else {
            Api {
                service: api.service,
                name: "Other".to_owned(),
            }
        };
        state.total.entry(api.clone()).or_default().count += 1;
        if state.seconds.back().is_none_or(|last| last.at < at) {
            state.seconds.push_back(Second {
                at,
                counts: BTreeMap::new(),
            });
            if state.seconds.len() > SECONDS_MAX {
                state.seconds.pop_front();
            }
        }
        if let Some(second) = state.seconds.back_mut() {
            *second.counts.entry(api.clone()).or_default() += 1;
        }
        api
    }

    /// Counts that a rule of the fault plan touched a request.
    pub(crate) fn faulted(&self, api: &Api) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.total.entry(api.clone()).or_default().faulted += 1;
    }

    /// Counts that the answer was an error.
    pub(crate) fn failed(&self, api: &Api, error: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state
            .total
            .entry(api.clone())
            .or_default()
            .errors
            .entry(error.to_owned())
            .or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> Requests {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Requests {
            total: state.total.clone(),
            seconds: state.seconds.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(name: &str) -> Api {
        Api {
            service: Service::Kinesis,
            name: name.to_owned(),
        }
    }

    #[test]
    fn requests_are_counted_as_a_whole_and_per_second() {
        let counter = Counter::default();
        for (name, at) in [
            ("PutRecord", 10),
            ("PutRecord", 10),
            ("GetRecords", 12),
            ("PutRecord", 12),
        ] {
            counter.arrived(&api(name), at);
        }
        let requests = counter.snapshot();
        assert_eq!(requests.count(Service::Kinesis, "PutRecord"), 3);
        assert_eq!(requests.sum(Service::Kinesis), 4);
        assert_eq!(requests.sum(Service::DynamoDb), 0);
        assert_eq!(requests.between(10, 12), BTreeMap::from([(api("PutRecord"), 2)]));
        let text = serde_json::to_string(&requests).unwrap();
        assert!(
            text.contains(r#""kinesis.PutRecord":{"count":3,"faulted":0}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Requests>(&text).unwrap(), requests);
    }

    #[test]
    fn a_clock_that_steps_back_loses_no_request() {
        let counter = Counter::default();
        counter.arrived(&api("PutRecord"), 10);
        counter.arrived(&api("PutRecord"), 9);
        assert_eq!(
            counter.snapshot().between(10, 11),
            BTreeMap::from([(api("PutRecord"), 2)])
        );
    }

    #[test]
    fn made_up_names_and_old_seconds_do_not_pile_up() {
        let counter = Counter::default();
        for n in 0..2_000 {
            counter.arrived(&api(&format!("Made{n}")), n);
        }
        let requests = counter.snapshot();
        assert_eq!(requests.total.len(), APIS_MAX + 1);
        assert_eq!(requests.seconds.len(), SECONDS_MAX);
        assert_eq!(requests.sum(Service::Kinesis), 2_000);
    }
}
