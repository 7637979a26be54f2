//! The admin server: `/metrics`, `/livez`, `/readyz`, and nothing else.
//!
//! Whoever can reach it can at most take its few connections for a while: their number, their lifetime and what is
//! read from each are bounded, and a scrape is answered from a body that is made at most four times a second.

mod bounded;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::bounded::BoundedListener;
use crate::{Health, Metrics};

/// What the server's clients may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time; the next one waits.
    pub connections: usize,
    /// How long a connection lives, whatever it does.
    pub lifetime: Duration,
    /// Bytes that are read from one connection, headers and bodies of all of its requests together.
    pub read_bytes: usize,
    /// Scrapes that are answered at the same time; the next one gets 503.
    pub scrapes: usize,
    /// How old the body of a scrape may be.
    pub body_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Two Prometheus servers, the probes, and a person; the rest is for connections that hang.
            connections: 32,
            // More than a slow scrape (10 s by default) and less than anybody has patience for.
            lifetime: Duration::from_secs(30),
            // A scrape's request has some 300 bytes.
            read_bytes: 64 * 1024,
            // A pair of Prometheus servers.
            scrapes: 2,
            body_age: Duration::from_millis(250),
        }
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {source}; give another address, or port 0 for a free one")]
pub struct BindError {
    address: String,
    source: std::io::Error,
}

/// A bound admin server.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    limits: Limits,
}

impl Admin {
    /// Takes the address (`host:port`; port 0 for a free one). Nothing is answered before [`serve`](Self::serve).
    ///
    /// # Errors
    /// When it is in use, or not this machine's.
    pub async fn bind(address: &str) -> Result<Self, BindError> {
        let refused = |source| BindError {
            address: address.to_owned(),
            source,
        };
        Ok(Self {
            listener: TcpListener::bind(address).await.map_err(refused)?,
            limits: Limits::default(),
        })
    }

    /// Other limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }

    /// Serves until it is cancelled.
    pub async fn serve(self, metrics: Metrics, health: Health, stop: CancellationToken) {
        let Self { listener, limits } = self;
        let pages = Pages {
            metrics: Arc::new(metrics),
            health,
            scrapes: Arc::new(Semaphore::new(limits.scrapes)),
            body: Arc::default(),
            body_age: limits.body_age,
        };
        let router = Router::new()
            .route("/metrics", get(scrape))
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .with_state(pages);
        let server = axum::serve(BoundedListener::new(listener, limits), router);
        // It never ends by itself. Whoever scrapes while the process ends has no use for a slow answer.
        let _ = stop.run_until_cancelled(server.into_future()).await;
    }
}

/// What the pages are made of.
#[derive(Clone, Debug)]
struct Pages {
    metrics: Arc<Metrics>,
    health: Health,
    scrapes: Arc<Semaphore>,
    body: Arc<Mutex<Option<Body>>>,
    body_age: Duration,
}

/// The text of a scrape, and when it was made.
type Body = (Instant, Arc<str>);

impl Pages {
    fn body(&self) -> Arc<str> {
        let mut kept = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((made, body)) if made.elapsed() < self.body_age => Arc::clone(body),
            _ => {
                let body: Arc<str> = self.metrics.encode().into();
                *kept = Some((Instant::now(), Arc::clone(&body)));
                body
            }
        }
    }
}

async fn scrape(State(pages): State<Pages>) -> Response {
    let Ok(_one_of_few) = pages.scrapes.try_acquire() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
            "too many scrapes\n",
        )
            .into_response();
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], pages.body().to_string()).into_response()
}

async fn live(State(pages): State<Pages>) -> Response {
    match pages.health.stalled() {
        None => "alive\n".into_response(),
        Some(stalled) => (StatusCode::SERVICE_UNAVAILABLE, format!("standing still: {stalled}\n")).into_response(),
    }
}

async fn ready(State(pages): State<Pages>) -> Response {
    let missing = pages.health.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let body = format!("waiting for: {}\n", missing.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

#[cfg(test)]
mod tests;
