//! Counts of the requests that were sent, by API and outcome.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

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
pub struct Requests(Arc<Mutex<BTreeMap<(String, &'static str), u64>>>);

impl Requests {
    /// The counts so far, by API and outcome in the order of their names.
    pub fn snapshot(&self) -> Vec<RequestCount> {
        let counts = self.0.lock().expect("no code panics while it holds the counts");
        let count = |((api, outcome), count): (&(String, &'static str), &u64)| RequestCount {
            api: api.clone(),
            outcome,
            count: *count,
        };
        counts.iter().map(count).collect()
    }

    pub(crate) fn add(&self, api: &str, outcome: &'static str) {
        let mut counts = self.0.lock().expect("no code panics while it holds the counts");
        *counts.entry((api.to_owned(), outcome)).or_default() += 1;
    }
}
