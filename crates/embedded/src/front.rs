//! What every request passes before it reaches a service: size, credentials, counters, the fault plan.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::connection::Cutter;
use crate::dynamodb::Tables;
use crate::faults::{Fate, Fault, Faults};
use crate::kinesis::Streams;
use crate::private;
use crate::requests::{Api, Counter, Service};

/// PutRecords takes 10 MiB of data, which base64 makes 13.4 MiB; DynamoDB takes 16 MiB.
const BODY_MAX: usize = 16 << 20;
/// A client that has sent only part of a request is given up on.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Answers that are kept for stale reads.
const STALE_MAX: usize = 1_024;

/// Which services a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    Kinesis,
    DynamoDb,
    Both,
}

/// What a service answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The error's name, when it is one.
    pub(crate) error: Option<String>,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            error: None,
        }
    }

    pub(crate) fn error(status: u16, name: &str, message: &str) -> Self {
        let body = json!({ "__type": name, "message": message }).to_string();
        Self {
            status,
            body: body.into(),
            error: Some(name.to_owned()),
        }
    }
}

/// Everything that the listeners share.
#[derive(Debug)]
pub(crate) struct Front {
    tables: Tables,
    streams: Streams,
    clock: Clock,
    pub(crate) counter: Counter,
    pub(crate) faults: Faults,
    pub(crate) stopping: CancellationToken,
    stale: Mutex<BTreeMap<(Api, Bytes), Answer>>,
    answered: AtomicU64,
}

/// The routes of one listener.
pub(crate) fn router(front: Arc<Front>, serves: Serves) -> Router {
    let api = move |State(front): State<Arc<Front>>, ConnectInfo(cutter): ConnectInfo<Cutter>, request: Request| async move {
        front.handle(serves, &cutter, request).await
    };
    Router::new()
        .route("/_kinex/health", get(async || Json(json!({ "status": "ok" }))))
        .merge(private::routes())
        .fallback(any(api))
        .with_state(front)
}

impl Front {
    pub(crate) fn new(tables: Tables, streams: Streams, clock: Clock, stopping: CancellationToken) -> Self {
        let (counter, faults, stale) = (Counter::default(), Faults::default(), Mutex::default());
        Self {
            tables,
            streams,
            clock,
            counter,
            faults,
            stopping,
            stale,
            answered: AtomicU64::new(0),
        }
    }

    async fn handle(&self, serves: Serves, cutter: &Cutter, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let Some(api) = target(&head.headers) else {
            let message = "send a POST with the header X-Amz-Target: Kinesis_20131202.NAME or DynamoDB_20120810.NAME";
            return self.respond(
                Service::Kinesis,
                Answer::error(404, "UnknownOperationException", message),
            );
        };
        let api = self.counter.arrived(&api, Clock::System.now_millis() / 1_000);
        let answer = match self.admit(serves, &api, &head.headers, body).await {
            Ok(body) => self.fated(&api, cutter, body).await,
            Err(refused) => refused,
        };
        if let Some(error) = &answer.error {
            self.counter.failed(&api, error);
        }
        self.respond(api.service, answer)
    }

    /// The request's body, unless the request is refused.
    async fn admit(&self, serves: Serves, api: &Api, headers: &HeaderMap, body: Body) -> Result<Bytes, Answer> {
        let body = match tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_MAX)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                let message = format!("a request has at most {BODY_MAX} bytes");
                return Err(Answer::error(413, "RequestEntityTooLargeException", &message));
            }
            Err(_) => {
                return Err(Answer::error(
                    408,
                    "RequestTimeoutException",
                    "the request's body did not arrive",
                ));
            }
        };
        if let Some(id) = real_access_key(headers) {
            let message = format!(
                "this is a local emulator, and the access key {id}... looks like one of a real AWS account: \
                 use made-up credentials here, or take the endpoint URL away to talk to AWS"
            );
            return Err(Answer::error(403, "UnrecognizedClientException", &message));
        }
        let served = match serves {
            Serves::Both => true,
            Serves::Kinesis => api.service == Service::Kinesis,
            Serves::DynamoDb => api.service == Service::DynamoDb,
        };
        if !served {
            let message = format!(
                "this port does not serve {}: use the URL of its own endpoint",
                api.service
            );
            return Err(Answer::error(400, "UnknownOperationException", &message));
        }
        Ok(body)
    }

    /// Carries the request out as the fault plan has it.
    async fn fated(&self, api: &Api, cutter: &Cutter, body: Bytes) -> Answer {
        let fate = self.faults.decide(api, &body);
        if fate == Fate::default() {
            return self.execute(api, &body);
        }
        self.counter.faulted(api);
        let Fate {
            delay,
            reply_delay,
            fault,
        } = fate;
        self.pause(delay).await;
        let answer = match fault {
            None | Some(Fault::Delay { .. } | Fault::DelayReply { .. }) => self.execute(api, &body),
            Some(Fault::Throttle) => throttled(api),
            Some(Fault::ServerError) => broken(api),
            Some(Fault::ServerErrorAfterCommit) => {
                self.execute(api, &body);
                broken(api)
            }
            Some(Fault::DropBeforeCommit) => lost(cutter, Cutter::close),
            Some(Fault::Reset) => lost(cutter, Cutter::reset),
            Some(Fault::ReplyLost) => {
                self.execute(api, &body);
                lost(cutter, Cutter::close)
            }
            Some(Fault::BlackHole) => self.swallow(cutter).await,
            Some(Fault::BlackHoleAfterCommit) => {
                self.execute(api, &body);
                self.swallow(cutter).await
            }
            Some(Fault::StaleRead) => self.stale(api, body),
        };
        self.pause(reply_delay).await;
        answer
    }

    fn execute(&self, api: &Api, body: &[u8]) -> Answer {
        match api.service {
            Service::Kinesis => self.streams.call(&api.name, body, self.clock.now_millis()),
            Service::DynamoDb => self.tables.call(&api.name, body),
        }
    }

    /// Waits, but not longer than the endpoints run.
    async fn pause(&self, by: Duration) {
        if !by.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(by) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    /// Keeps the client waiting until it gives up (which drops this future) or the endpoints stop.
    async fn swallow(&self, cutter: &Cutter) -> Answer {
        self.stopping.cancelled().await;
        lost(cutter, Cutter::close)
    }

    /// The answer of the last time, and this one is kept for the next.
    fn stale(&self, api: &Api, body: Bytes) -> Answer {
        let fresh = self.execute(api, &body);
        if !eventual(api, &body) || fresh.error.is_some() {
            return fresh;
        }
        let mut kept = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= STALE_MAX {
            kept.clear();
        }
        kept.insert((api.clone(), body), fresh.clone()).unwrap_or(fresh)
    }

    fn respond(&self, service: Service, answer: Answer) -> Response {
        let mut response = Response::new(Body::from(answer.body));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let json = match service {
            Service::Kinesis => "application/x-amz-json-1.1",
            Service::DynamoDb => "application/x-amz-json-1.0",
        };
        let id = format!("kinex-{:010}", self.answered.fetch_add(1, Ordering::Relaxed));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, json.parse().expect("a constant that is a valid header"));
        headers.insert("x-amzn-requestid", id.parse().expect("digits make a valid header"));
        response
    }
}

fn target(headers: &HeaderMap) -> Option<Api> {
    let (prefix, name) = headers.get("x-amz-target")?.to_str().ok()?.split_once('.')?;
    let service = match prefix {
        "Kinesis_20131202" => Service::Kinesis,
        "DynamoDB_20120810" => Service::DynamoDb,
        _ => return None,
    };
    Some(Api {
        service,
        name: name.to_owned(),
    })
}

/// The first characters of the access key id when it looks like one that AWS gave out.
fn real_access_key(headers: &HeaderMap) -> Option<&str> {
    let signature = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let id = signature.split_once("Credential=")?.1.split('/').next()?;
    (id.starts_with("AKIA") || id.starts_with("ASIA")).then_some(&id[..4])
}

fn eventual(api: &Api, body: &[u8]) -> bool {
    match (api.service, api.name.as_str()) {
        (Service::Kinesis, name) => name.starts_with("List") || name.starts_with("Describe"),
        (Service::DynamoDb, "GetItem" | "Query" | "Scan") => {
            serde_json::from_slice(body).is_ok_and(|body: serde_json::Value| body["ConsistentRead"] != true)
        }
        (Service::DynamoDb, _) => false,
    }
}

fn throttled(api: &Api) -> Answer {
    let name = match (api.service, api.name.as_str()) {
        (Service::Kinesis, "PutRecord" | "PutRecords" | "GetRecords" | "GetShardIterator") | (Service::DynamoDb, _) => {
            "ProvisionedThroughputExceededException"
        }
        (Service::Kinesis, _) => "LimitExceededException",
    };
    Answer::error(400, name, "throttled by the fault plan")
}

fn broken(api: &Api) -> Answer {
    let name = match api.service {
        Service::Kinesis => "InternalFailure",
        Service::DynamoDb => "InternalServerError",
    };
    Answer::error(500, name, "failed by the fault plan")
}

/// An answer that nobody gets.
fn lost(cutter: &Cutter, how: impl FnOnce(&Cutter)) -> Answer {
    how(cutter);
    Answer {
        status: 500,
        body: Bytes::new(),
        error: Some("Lost".to_owned()),
    }
}
