//! The way to the API server: no request is without an end, and whether a watch is open shows here. Client required.
//!
//! A watch that failed is opened again without an event that says so, and in a quiet namespace none may come for hours.
//! What tells that it is open again is the answer to its request, which passes through here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::runtime::utils::Backoff;
use tower::BoxError;

use crate::watchdog::{Part, Watchdog};

/// A request with its whole answer may take this long; of a watch, the beginning of the answer. A slow API server answers
/// within a few seconds, and whoever asks begins anew.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);
/// The API server ends a watch after this many seconds, and a watch that stays silent for 5 s more is taken for dead: the
/// API server may have gone without a word.
pub(crate) const WATCH_SECONDS: u32 = 30;
/// From one try to open a watch to the next, at first.
const PAUSE: Duration = Duration::from_millis(500);
/// At most: what an outage has stopped goes on soon after its end.
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// A client whose requests end within this time.
pub(crate) fn bounded(client: &Client, within: Duration) -> Client {
    through(client, within, None)
}

/// What is known of one watch. Clones share it.
#[derive(Clone)]
pub(crate) struct Pulse {
    what: Arc<str>,
    state: Arc<Mutex<Option<Flaw>>>,
    part: Arc<Part>,
}

/// Why what a watch shows cannot be trusted.
#[derive(Clone, Debug)]
pub(crate) struct Flaw {
    /// In words.
    pub(crate) why: String,
    /// Since when.
    pub(crate) since: Instant,
}

impl Pulse {
    /// A watch that has not begun.
    pub(crate) fn new(what: &str, watchdog: &Watchdog) -> Self {
        Self {
            what: what.into(),
            state: Arc::new(Mutex::new(Some(Flaw {
                why: format!("the {what} has not begun"),
                since: Instant::now(),
            }))),
            part: Arc::new(watchdog.part(what)),
        }
    }

    /// A client for this watch alone: it notes when the watch is opened.
    pub(crate) fn client(&self, client: &Client) -> Client {
        through(client, ANSWER, Some(self.clone()))
    }

    /// Something was heard of the watch.
    pub(crate) fn heard(&self) {
        self.part.turns();
    }

    /// The watch is open: what it showed so far is complete, and what comes will be shown.
    pub(crate) fn open(&self) {
        self.heard();
        *self.state() = None;
    }

    /// The watch failed. The first reason stands until it is open again.
    pub(crate) fn failed(&self, error: &dyn std::error::Error) {
        self.heard();
        let what = &self.what;
        self.state().get_or_insert_with(|| Flaw {
            why: format!("the {what} failed: {error}"),
            since: Instant::now(),
        });
    }

    /// Why the watch is not to be trusted.
    pub(crate) fn flaw(&self) -> Option<Flaw> {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, Option<Flaw>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watches of the process, for its readiness.
#[derive(Clone, Default)]
pub(crate) struct Pulses(Arc<Mutex<Vec<Pulse>>>);

impl Pulses {
    /// Counts one more.
    pub(crate) fn add(&self, pulse: &Pulse) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pulse.clone());
    }

    /// The first flaw of any.
    pub(crate) fn flaw(&self) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find_map(Pulse::flaw).map(|flaw| flaw.why)
    }
}

fn through(client: &Client, within: Duration, pulse: Option<Pulse>) -> Client {
    let inner = client.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, pulse) = (inner.clone(), pulse.clone());
        async move {
            let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let answer = tokio::time::timeout(within, answer(&inner, request, watch)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", within.as_secs()).into()));
            if let Some(pulse) = pulse {
                match &answer {
                    Ok(answer) if watch && answer.status().is_success() => pulse.open(),
                    _ => pulse.heard(),
                }
            }
            answer
        }
    });
    Client::new(service, client.default_namespace())
}

/// The answer as a whole, but that of a watch, which goes on.
async fn answer(client: &Client, request: Request<Body>, watch: bool) -> Result<Response<Body>, BoxError> {
    let answer = client.send(request).await?;
    if watch {
        return Ok(answer);
    }
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// The pauses between tries to open a watch: longer each time, and never so long that the end of an outage goes unseen.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSE)
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = PAUSE;
    }
}
