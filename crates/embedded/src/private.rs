//! Counters and faults over HTTP, for a program in another process on the same machine.
//!
//! - `GET /_kinex/requests`: [`Requests`](crate::Requests) as JSON.
//! - `GET /_kinex/faults`: the plan, a list of [`Active`](crate::Active).
//! - `PUT /_kinex/faults`: replaces the plan by the list of [`Rule`] in the body.
//! - `POST /_kinex/faults`: adds the [`Rule`] in the body; the answer is `{"id": n}`.
//! - `POST /_kinex/streams/NAME/trim`: forgets the records that the stream has now, as if their retention had passed; the
//!   answer is `{"records": n}`.
//! - `DELETE /_kinex/faults`: removes all rules; `DELETE /_kinex/faults/N` removes one.
//!
//! Anyone who does not call over loopback is told that nothing is here.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::connection::Cutter;
use crate::faults::{Active, Rule};
use crate::front::Front;
use crate::requests::Requests;

pub(crate) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/_kinex/requests", get(requests))
        .route("/_kinex/faults", get(plan).put(set).post(add).delete(clear))
        .route("/_kinex/faults/{id}", delete(remove))
        .route("/_kinex/streams/{name}/trim", post(trim))
        .layer(from_fn(only_loopback))
}

async fn only_loopback(ConnectInfo(cutter): ConnectInfo<Cutter>, request: Request, next: Next) -> Response {
    if cutter.peer.ip().to_canonical().is_loopback() {
        next.run(request).await
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

async fn requests(State(front): State<Arc<Front>>) -> Json<Requests> {
    Json(front.counter.snapshot())
}

async fn plan(State(front): State<Arc<Front>>) -> Json<Vec<Active>> {
    Json(front.faults.rules())
}

async fn set(State(front): State<Arc<Front>>, Json(rules): Json<Vec<Rule>>) -> Json<Vec<Active>> {
    front.faults.set(rules);
    Json(front.faults.rules())
}

async fn add(State(front): State<Arc<Front>>, Json(rule): Json<Rule>) -> Json<Value> {
    Json(json!({ "id": front.faults.add(rule) }))
}

async fn clear(State(front): State<Arc<Front>>) -> StatusCode {
    front.faults.clear();
    StatusCode::NO_CONTENT
}

async fn trim(State(front): State<Arc<Front>>, Path(name): Path<String>) -> Response {
    match front.streams.trim(&name) {
        Some(records) => Json(json!({ "records": records })).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn remove(State(front): State<Arc<Front>>, Path(id): Path<u64>) -> StatusCode {
    if front.faults.remove(id) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}
