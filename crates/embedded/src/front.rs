//! What every request passes before it reaches a service: size, credentials, counters, the fault plan.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Json, Router};
use bytes::BytesMut;
use futures::StreamExt;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Cut, Delivery};
use crate::cbor;
use crate::clock::{Clock, Steady};
use crate::connection::Cutter;
use crate::dynamodb::Tables;
use crate::faults::{Fate, Fault, Faults};
use crate::kinesis::{Streams, Trimmed};
use crate::private;
use crate::requests::{Api, Counter, Service};
use crate::tenant::{Tenant, access_key_scope};

/// PutRecords takes 10 MiB of data, which base64 makes 13.4 MiB; DynamoDB takes 16 MiB.
const BODY_MAX: usize = 16 << 20;
/// A client that sends nothing more of a request for this long is given up on.
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

impl Serves {
    pub(crate) fn includes(self, service: Service) -> bool {
        match self {
            Self::Both => true,
            Self::Kinesis => service == Service::Kinesis,
            Self::DynamoDb => service == Service::DynamoDb,
        }
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Cbor,
}

impl Format {
    /// The format of a request, which is that of its answer too. Whatever is not CBOR is JSON.
    fn of(headers: &HeaderMap) -> Self {
        let cbor = headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-amz-cbor"));
        if cbor { Self::Cbor } else { Self::Json }
    }
}

/// A request that has arrived.
struct Arrived {
    body: Bytes,
    /// When its head had arrived.
    since: Instant,
    /// The rules whose lines its body has gone through already.
    paid: Vec<u64>,
}

/// Everything that the listeners share.
#[derive(Debug)]
pub(crate) struct Front {
    tables: Tables,
    pub(crate) streams: Streams,
    clock: Clock,
    steady: Mutex<Steady>,
    pub(crate) counter: Counter,
    pub(crate) faults: Faults,
    pub(crate) stopping: CancellationToken,
    stale: Mutex<BTreeMap<(Tenant, Api, Bytes), Answer>>,
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
            steady: Mutex::default(),
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
            let answer = Answer::error(404, "UnknownOperationException", message);
            return self.respond(Service::Kinesis, Format::of(&head.headers), answer, Delivery::default());
        };
        let format = Format::of(&head.headers);
        let tenant = Tenant::of(&head.headers);
        let api = self.counter.arrived(&api, Clock::System.now_millis() / 1_000);
        let (answer, delivery) = match self.admit(serves, &api, &head.headers, cutter, body).await {
            Ok(request) => self.fated(&tenant, &api, cutter, request).await,
            Err(refused) => (refused, Delivery::default()),
        };
        if let Some(error) = &answer.error {
            self.counter.failed(&api, error);
        }
        self.respond(api.service, format, answer, delivery)
    }

    /// The request as it has arrived, unless it is refused.
    async fn admit(
        &self,
        serves: Serves,
        api: &Api,
        headers: &HeaderMap,
        cutter: &Cutter,
        body: Body,
    ) -> Result<Arrived, Answer> {
        let mut arrived = self.receive(api, cutter, body).await?;
        if let Some(id) = real_access_key(headers) {
            let message = format!(
                "this is a local emulator, and the access key {id}... looks like one of a real AWS account: \
                 use made-up credentials here, or take the endpoint URL away to talk to AWS"
            );
            return Err(Answer::error(403, "UnrecognizedClientException", &message));
        }
        if !serves.includes(api.service) {
            let message = format!(
                "this port does not serve {}: use the URL of its own endpoint",
                api.service
            );
            return Err(Answer::error(400, "UnknownOperationException", &message));
        }
        if Format::of(headers) == Format::Cbor {
            if api.service == Service::DynamoDb {
                let message = "DynamoDB speaks JSON: send Content-Type: application/x-amz-json-1.0";
                return Err(Answer::error(400, "SerializationException", message));
            }
            arrived.body = cbor::to_json(&arrived.body)
                .map_err(|reason| Answer::error(400, "SerializationException", &reason))?
                .into();
        }
        Ok(arrived)
    }

    /// Reads a body as fast as the lines of the connection let it through.
    async fn receive(&self, api: &Api, cutter: &Cutter, body: Body) -> Result<Arrived, Answer> {
        let since = Instant::now();
        let lines = self.faults.upload_lines(api, &cutter.lines);
        let mut received = BytesMut::new();
        let mut chunks = body.into_data_stream();
        loop {
            let chunk = match tokio::time::timeout(BODY_WITHIN, chunks.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => {
                    let message = format!("the request's body broke off: {error}");
                    return Err(Answer::error(400, "SerializationException", &message));
                }
                Err(_) => {
                    let message = format!("nothing of the request's body arrived for {} s", BODY_WITHIN.as_secs());
                    return Err(Answer::error(408, "RequestTimeoutException", &message));
                }
            };
            if received.len() + chunk.len() > BODY_MAX {
                let message = format!("a request has at most {BODY_MAX} bytes");
                return Err(Answer::error(413, "RequestEntityTooLargeException", &message));
            }
            received.extend_from_slice(&chunk);
            if let Some(through) = lines.iter().map(|(_, line)| line.send(chunk.len(), since)).max() {
                self.pause_until(through).await;
            }
        }
        let paid = lines.into_iter().map(|(rule, _)| rule).collect();
        let body = received.freeze();
        Ok(Arrived { body, since, paid })
    }

    /// Carries the request out as the fault plan has it.
    async fn fated(&self, tenant: &Tenant, api: &Api, cutter: &Cutter, request: Arrived) -> (Answer, Delivery) {
        let Arrived { body, since, paid } = request;
        let fate = self.faults.decide(api, &body, &cutter.lines);
        if !fate.touched {
            return (self.execute(tenant, api, &body), Delivery::default());
        }
        self.counter.faulted(api);
        let Fate {
            delay,
            reply_delay,
            lines,
            fault,
            touched: _,
        } = fate;
        let unpaid = lines.iter().filter(|(rule, _)| !paid.contains(rule));
        if let Some(through) = unpaid.map(|(_, line)| line.send(body.len(), since)).max() {
            self.pause_until(through).await;
        }
        self.pause(delay).await;
        let mut cut = None;
        let answer = match fault {
            // Decided with the delays, or when the connection was accepted.
            None | Some(Fault::Delay { .. } | Fault::DelayReply { .. } | Fault::Silent) => {
                self.execute(tenant, api, &body)
            }
            Some(Fault::Throttle) => throttled(api),
            Some(Fault::ServerError) => broken(api),
            Some(Fault::ServerErrorAfterCommit) => {
                self.execute(tenant, api, &body);
                broken(api)
            }
            Some(Fault::Error(error)) => Answer::injected(error),
            Some(Fault::CutBody { after_bytes, reset }) => {
                let after = usize::try_from(after_bytes).unwrap_or(usize::MAX);
                cut = Some(Cut { after, reset });
                self.execute(tenant, api, &body)
            }
            Some(Fault::DropBeforeCommit) => lost(cutter, Cutter::close),
            Some(Fault::Reset) => lost(cutter, Cutter::reset),
            Some(Fault::ReplyLost) => {
                self.execute(tenant, api, &body);
                lost(cutter, Cutter::close)
            }
            Some(Fault::BlackHole) => self.swallow(cutter).await,
            Some(Fault::BlackHoleAfterCommit) => {
                self.execute(tenant, api, &body);
                self.swallow(cutter).await
            }
            Some(Fault::TrimmedIterator) => self.carry_out(tenant, api, &body, Trimmed::Stalls),
            Some(Fault::StaleRead) => self.stale(tenant, api, body),
        };
        self.pause(reply_delay).await;
        let lines = lines.into_iter().map(|(_, line)| line).collect();
        let cutter = Some(cutter.clone());
        (answer, Delivery { lines, cut, cutter })
    }

    /// The time that Kinesis sees: milliseconds since the Unix epoch.
    fn now_millis(&self) -> u64 {
        let read = self.clock.now_millis();
        match self.clock {
            Clock::System => {
                let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
                steady.now_millis(read, std::time::Instant::now())
            }
            Clock::Virtual(_) => read,
        }
    }

    fn execute(&self, tenant: &Tenant, api: &Api, body: &[u8]) -> Answer {
        self.carry_out(tenant, api, body, Trimmed::Skipped)
    }

    fn carry_out(&self, tenant: &Tenant, api: &Api, body: &[u8], trimmed: Trimmed) -> Answer {
        match api.service {
            Service::Kinesis => self.streams.call(tenant, &api.name, body, self.now_millis(), trimmed),
            Service::DynamoDb => self.tables.call(tenant, &api.name, body),
        }
    }

    /// Waits, but not longer than the endpoints run.
    async fn pause(&self, by: Duration) {
        if !by.is_zero() {
            self.pause_until(Instant::now() + by).await;
        }
    }

    async fn pause_until(&self, end: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(end) => {}
            () = self.stopping.cancelled() => {}
        }
    }

    /// Keeps the client waiting until it gives up (which drops this future) or the endpoints stop.
    async fn swallow(&self, cutter: &Cutter) -> Answer {
        self.stopping.cancelled().await;
        lost(cutter, Cutter::close)
    }

    /// The answer of the last time, and this one is kept for the next.
    fn stale(&self, tenant: &Tenant, api: &Api, body: Bytes) -> Answer {
        let fresh = self.execute(tenant, api, &body);
        if !eventual(api, &body) || fresh.error.is_some() {
            return fresh;
        }
        let mut kept = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= STALE_MAX {
            kept.clear();
        }
        kept.insert((tenant.clone(), api.clone(), body), fresh.clone())
            .unwrap_or(fresh)
    }

    fn respond(&self, service: Service, format: Format, answer: Answer, delivery: Delivery) -> Response {
        let own = match (service, format) {
            (Service::Kinesis, Format::Json) => "application/x-amz-json-1.1",
            (Service::Kinesis, Format::Cbor) => cbor::CONTENT_TYPE,
            (Service::DynamoDb, _) => "application/x-amz-json-1.0",
        };
        let body = if own == cbor::CONTENT_TYPE && !answer.as_is && !answer.body.is_empty() {
            cbor::from_json(&answer.body).into()
        } else {
            answer.body
        };
        let kind = answer.content_type.as_deref().unwrap_or(own);
        let kind = HeaderValue::from_str(kind).expect("rules with another content type are refused");
        let id = format!("kinex-{:010}", self.answered.fetch_add(1, Ordering::Relaxed));
        let length = body.len();
        let mut response = Response::new(delivery.body(body, self.stopping.clone()));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CONTENT_LENGTH, length.into());
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
fn real_access_key(headers: &HeaderMap) -> Option<&'static str> {
    let id = access_key_scope(headers)?;
    ["AKIA", "ASIA"].into_iter().find(|prefix| id.starts_with(prefix))
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
        content_type: None,
        as_is: false,
    }
}
