//! The admin server: `/metrics`, `/livez`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Health, Metrics};

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
    metrics: Arc<Metrics>,
    health: Health,
}

impl Admin {
    /// Takes the address (`host:port`; port 0 for a free one).
    ///
    /// # Errors
    /// When it is in use, or not this machine's.
    pub async fn bind(address: &str, metrics: Arc<Metrics>, health: Health) -> Result<Self, BindError> {
        let refused = |source| BindError {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        Ok(Self {
            listener,
            metrics,
            health,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }

    /// Serves until it is cancelled.
    pub async fn serve(self, stop: CancellationToken) {
        let Self {
            listener,
            metrics,
            health,
        } = self;
        let scrape = move || {
            let body = metrics.encode();
            async move {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, kind)], body)
            }
        };
        let ready = move || {
            let missing = health.missing();
            async move {
                if missing.is_empty() {
                    (StatusCode::OK, "ready\n".to_owned()).into_response()
                } else {
                    let body = format!("waiting for: {}\n", missing.join(", "));
                    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
                }
            }
        };
        let router = Router::new()
            .route("/metrics", get(scrape))
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(ready));
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "admin server ended");
        }
    }
}
