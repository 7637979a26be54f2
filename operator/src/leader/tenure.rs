//! Until when this process is sure to lead, and that nothing has an effect after that.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;
use tower::BoxError;

/// Whether this process may act. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Tenure(Arc<Mutex<Term>>);

#[derive(Clone, Copy, Debug)]
enum Term {
    /// There is no election.
    Always,
    /// Until then, unless it is renewed.
    Until(Instant),
    /// Not, or not any more.
    Never,
}

/// A write was not sent, because another operator may lead by now.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not sent: this operator is not sure to lead any more")]
struct NotLeading;

impl Tenure {
    /// Of a process without an election.
    pub(crate) fn always() -> Self {
        Self(Arc::new(Mutex::new(Term::Always)))
    }

    /// Of a process that leads when it is elected.
    pub(crate) fn none() -> Self {
        Self(Arc::new(Mutex::new(Term::Never)))
    }

    pub(crate) fn renew(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Term::Until(until);
    }

    pub(crate) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Term::Never;
    }

    /// Whether this process is sure to lead at this moment.
    pub(crate) fn holds(&self) -> bool {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Term::Always => true,
            Term::Until(until) => Instant::now() < until,
            Term::Never => false,
        }
    }
}

/// A client whose writes are refused while the tenure does not hold.
pub(crate) fn gated(client: &Client, tenure: &Tenure) -> Client {
    let (inner, tenure) = (client.clone(), tenure.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let allowed = request.method() == Method::GET || tenure.holds();
        let inner = inner.clone();
        async move {
            if allowed {
                Ok::<_, BoxError>(inner.send(request).await?)
            } else {
                Err(NotLeading.into())
            }
        }
    });
    Client::new(service, client.default_namespace())
}
