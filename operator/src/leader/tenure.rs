//! Until when this process is sure to lead, and that nothing has an effect after that.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::{Either, MapErr, Ready, TryFutureExt, ready};
use http::{Method, Request};
use kube::client::Body;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

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

/// Wraps what sends requests to the API server: writes are refused while the tenure does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Gate(pub(crate) Tenure);

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated {
            inner,
            tenure: self.0.clone(),
        }
    }
}

/// A service behind the gate.
#[derive(Clone, Debug)]
pub(crate) struct Gated<S> {
    inner: S,
    tenure: Tenure,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<MapErr<S::Future, fn(S::Error) -> BoxError>, Ready<Result<S::Response, BoxError>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == Method::GET || self.tenure.holds() {
            Either::Left(self.inner.call(request).map_err(Into::into))
        } else {
            Either::Right(ready(Err(NotLeading.into())))
        }
    }
}
