//! What goes back to a client, and how fast and how much of it.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::connection::Cutter;
use crate::faults::{InjectedError, Line};

/// The most that goes out at once: small enough that a slow line is a steady trickle.
const CHUNK_MAX: usize = 16 << 10;
/// Chunks per second on a slow line.
const CHUNKS_PER_SECOND: u64 = 20;
/// How long a cut waits between two looks at whether everything before it went out.
const FLUSH_POLL: Duration = Duration::from_millis(1);

/// What a service answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The error's name, when it is one.
    pub(crate) error: Option<String>,
    /// When the body is not in the service's own format.
    pub(crate) content_type: Option<String>,
    /// Whether the body goes out as it is, also to a client that speaks CBOR.
    pub(crate) as_is: bool,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            error: None,
            content_type: None,
            as_is: false,
        }
    }

    pub(crate) fn error(status: u16, name: &str, message: &str) -> Self {
        let body = json!({ "__type": name, "message": message }).to_string();
        Self {
            status,
            body: body.into(),
            error: Some(name.to_owned()),
            content_type: None,
            as_is: false,
        }
    }

    /// An error of the fault plan.
    pub(crate) fn injected(error: InjectedError) -> Self {
        let message = error.message.as_deref().unwrap_or("injected by the fault plan");
        let answer = Self::error(error.status(), &error.name, message);
        Self {
            error: Some(error.counted_as()),
            as_is: error.body.is_some(),
            body: error.body.map_or(answer.body, Into::into),
            content_type: error.content_type,
            ..answer
        }
    }
}

/// How an answer gets to its client.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// What the body goes through.
    pub(crate) lines: Vec<Line>,
    pub(crate) cut: Option<Cut>,
    /// The connection, when the fault plan touched the request.
    pub(crate) cutter: Option<Cutter>,
}

/// Where a body ends before its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) after: usize,
    pub(crate) reset: bool,
}

impl Delivery {
    /// The body as it goes out. It breaks off when `stopping` says so.
    pub(crate) fn body(self, whole: Bytes, stopping: CancellationToken) -> Body {
        let Self { lines, cut, cutter } = self;
        let cut = cut.filter(|cut| cut.after < whole.len()).zip(cutter);
        if lines.is_empty() && cut.is_none() {
            return Body::from(whole);
        }
        let chunk = lines
            .iter()
            .map(|line| usize::try_from(line.bps() / CHUNKS_PER_SECOND).unwrap_or(CHUNK_MAX))
            .fold(CHUNK_MAX, usize::min)
            .max(1);
        let left = match &cut {
            Some((cut, _)) => whole.slice(..cut.after),
            None => whole,
        };
        let sending = Sending {
            left,
            chunk,
            lines,
            cut,
            stopping,
        };
        Body::from_stream(stream::unfold(sending, Sending::next))
    }
}

/// A body on its way.
struct Sending {
    left: Bytes,
    chunk: usize,
    lines: Vec<Line>,
    cut: Option<(Cut, Cutter)>,
    stopping: CancellationToken,
}

impl Sending {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.left.is_empty() {
            let (cut, cutter) = self.cut.take()?;
            self.flush(&cutter).await;
            if cut.reset {
                cutter.reset();
            } else {
                cutter.close();
            }
            return Some((Err(io::ErrorKind::ConnectionAborted.into()), self));
        }
        let chunk = self.left.split_to(self.chunk.min(self.left.len()));
        let now = Instant::now();
        if let Some(through) = self.lines.iter().map(|line| line.send(chunk.len(), now)).max() {
            tokio::select! {
                () = tokio::time::sleep_until(through) => {}
                () = self.stopping.cancelled() => return Some((Err(io::ErrorKind::ConnectionAborted.into()), self)),
            }
        }
        Some((Ok(chunk), self))
    }

    /// Waits until what came before is in the hands of the system. The server flushes while it waits for the next chunk.
    async fn flush(&self, cutter: &Cutter) {
        let before = cutter.flushes();
        while cutter.flushes() == before && !self.stopping.is_cancelled() {
            tokio::time::sleep(FLUSH_POLL).await;
        }
    }
}
