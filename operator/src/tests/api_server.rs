//! An API server in memory: as much of it as the operator rests on, with watches, finalizers and the garbage collector.
//! Every object is JSON under its path. Any call can be made to go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

/// The server's objects and what was asked of it. Clones share both.
#[derive(Clone, Default)]
pub(super) struct ApiServer {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Every change: its version, what it was, where, and the object after it.
    log: Vec<(u64, &'static str, String, Value)>,
    watchers: Vec<Watcher>,
    /// Method and path of every write, in order, refused ones too.
    writes: Vec<String>,
    /// How often each call came, such as `patch statefulsets/scale`.
    calls: BTreeMap<String, u32>,
    armed: Vec<Armed>,
    /// Calls that are always refused.
    denied: BTreeSet<String>,
    away: bool,
    version: u64,
}

/// A watch that is open.
struct Watcher {
    path: String,
    selector: Vec<(String, String)>,
    lines: UnboundedSender<Result<Frame<Bytes>, io::Error>>,
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection breaks before the server has seen the request.
    ResetBefore,
    /// The connection breaks when the server has done it; that of a watch soon after it was opened.
    ResetAfter,
    /// The server has done it, and nothing more is heard of it; of a watch, it opens and stays silent.
    Silent,
    /// 409.
    Conflict,
    /// 410; a watch says so as an event.
    Gone,
    /// 429 with `Retry-After`.
    TooMany,
    /// 500.
    Internal,
    /// The answer comes after three seconds.
    Slow,
}

impl Fault {
    pub(super) const ALL: [Self; 8] = [
        Self::ResetBefore,
        Self::ResetAfter,
        Self::Silent,
        Self::Conflict,
        Self::Gone,
        Self::TooMany,
        Self::Internal,
        Self::Slow,
    ];
}

/// A fault that waits for its call.
#[derive(Clone, Debug)]
struct Armed {
    call: String,
    from: u32,
    times: u32,
    fault: Fault,
}

/// An answer on its way.
type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The answer to one request.
type Answer = Result<Value, (StatusCode, &'static str)>;

/// A request as far as it matters.
struct Call {
    method: Method,
    path: String,
    query: BTreeMap<String, String>,
    apply: bool,
    body: Value,
}

impl Call {
    async fn of(request: Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("the body is in memory").to_bytes();
        let query = parts.uri.query().unwrap_or_default();
        let kind = parts.headers.get("content-type");
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            apply: kind.is_some_and(|kind| kind.to_str().unwrap_or_default().contains("apply-patch")),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }

    fn watches(&self) -> bool {
        self.query.get("watch").is_some_and(|watch| watch == "true")
    }

    /// The verb and the resource: `patch statefulsets/scale`.
    fn kind(&self) -> String {
        let (_, below) = self
            .path
            .split_once("/namespaces/lab/")
            .expect("all is in one namespace");
        let mut below = below.split('/');
        let (resource, name, sub) = (below.next().unwrap_or_default(), below.next(), below.next());
        let verb = match (&self.method, name) {
            (&Method::GET, _) if self.watches() => "watch",
            (&Method::GET, Some(_)) => "get",
            (&Method::GET, None) => "list",
            (&Method::POST, _) => "create",
            (&Method::DELETE, _) => "delete",
            _ if self.apply => "apply",
            _ => "patch",
        };
        match sub {
            Some(sub) => format!("{verb} {resource}/{sub}"),
            None => format!("{verb} {resource}"),
        }
    }

    fn selector(&self) -> Vec<(String, String)> {
        let selector = self.query.get("labelSelector").map_or("", String::as_str);
        let pairs = selector.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

fn reset() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

impl ApiServer {
    pub(super) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| server.clone().answer(request));
        Client::new(service, "lab")
    }

    async fn answer(self, request: Request<Body>) -> Result<Reply, BoxError> {
        let call = Call::of(request).await;
        let fault = self.lock().fault_of(&call)?;
        match fault {
            Some(Fault::ResetBefore) => return Err(reset()),
            Some(Fault::Slow) => tokio::time::sleep(Duration::from_secs(3)).await,
            Some(Fault::Conflict) => return Ok(refusal(StatusCode::CONFLICT, "Conflict")),
            Some(Fault::Gone) if !call.watches() => return Ok(refusal(StatusCode::GONE, "Expired")),
            Some(Fault::TooMany) => return Ok(refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")),
            Some(Fault::Internal) => return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            _ => {}
        }
        if call.watches() {
            let denied = self.lock().denied.contains(&call.kind());
            return Ok(if denied {
                refusal(StatusCode::FORBIDDEN, "Forbidden")
            } else {
                self.watch(&call, fault)
            });
        }
        let answer = self.lock().handle(&call);
        match fault {
            Some(Fault::ResetAfter) => Err(reset()),
            Some(Fault::Silent) => futures::future::pending().await,
            _ => Ok(match answer {
                Ok(body) => Response::new(whole(&body)),
                Err((status, reason)) => refusal(status, reason),
            }),
        }
    }

    /// Begins to send events until the server goes away, or the time of the watch is over.
    fn watch(&self, call: &Call, fault: Option<Fault>) -> Reply {
        let (lines, stream) = unbounded();
        let from: u64 = call
            .query
            .get("resourceVersion")
            .map_or(0, |text| text.parse().unwrap());
        let watcher = Watcher {
            path: format!("{}/", call.path),
            selector: call.selector(),
            lines: lines.clone(),
        };
        let mut state = self.lock();
        if fault == Some(Fault::Gone) {
            let gone = json!({ "type": "ERROR", "object": status(StatusCode::GONE, "Expired") });
            let _ = lines.unbounded_send(line(&gone));
        }
        if fault != Some(Fault::Silent) {
            for (version, what, path, object) in &state.log {
                if *version > from {
                    watcher.send(what, path, object);
                }
            }
            state.watchers.push(watcher);
        } else {
            // Held open: nothing comes, not even an end.
            state.watchers.push(Watcher {
                path: "nowhere".to_owned(),
                ..watcher
            });
        }
        drop(state);
        let seconds: u64 = call
            .query
            .get("timeoutSeconds")
            .map_or(290, |text| text.parse().unwrap());
        let (after, end) = match fault {
            Some(Fault::ResetAfter) => (
                Duration::from_millis(300),
                Some(Err(io::ErrorKind::ConnectionReset.into())),
            ),
            Some(Fault::Silent) => (Duration::from_secs(3_600), None),
            _ => (Duration::from_secs(seconds), None),
        };
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(end) = end {
                let _ = lines.unbounded_send(end);
            }
            lines.close_channel();
        });
        Response::new(StreamBody::new(stream).boxed_unsync())
    }

    /// Makes a call go wrong, so many times from its `from`th coming on.
    pub(super) fn arm(&self, call: &str, from: u32, times: u32, fault: Fault) {
        let call = call.to_owned();
        let armed = Armed {
            call,
            from,
            times,
            fault,
        };
        self.lock().armed.push(armed);
    }

    /// Goes away, with all that is open, or comes back.
    pub(super) fn away(&self, away: bool) {
        let mut state = self.lock();
        state.away = away;
        if away {
            for watcher in state.watchers.drain(..) {
                let _ = watcher.lines.unbounded_send(Err(io::ErrorKind::ConnectionReset.into()));
                watcher.lines.close_channel();
            }
        }
    }

    /// Refuses a call from now on. A watch that is open ends.
    pub(super) fn deny(&self, call: &str) {
        let mut state = self.lock();
        state.denied.insert(call.to_owned());
        if let Some(resource) = call.strip_prefix("watch ") {
            let end = format!("/{resource}/");
            for watcher in state.watchers.iter().filter(|watcher| watcher.path.ends_with(&end)) {
                watcher.lines.close_channel();
            }
        }
    }

    /// Takes it back.
    pub(super) fn allow(&self, call: &str) {
        self.lock().denied.remove(call);
    }

    /// Puts an object there as somebody else would, and gives it as it is then.
    pub(super) fn put(&self, path: &str, object: Value) -> Value {
        self.lock().store(path, object)
    }

    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    /// The objects below a path.
    pub(super) fn below(&self, path: &str) -> Vec<Value> {
        let state = self.lock();
        let found = state.objects.iter().filter(|(at, _)| at.starts_with(path));
        found.map(|(_, object)| object.clone()).collect()
    }

    pub(super) fn remove(&self, path: &str) {
        self.lock().remove(path);
    }

    /// Deletes an object as somebody with kubectl would.
    pub(super) fn delete(&self, path: &str) {
        self.lock().delete(path);
    }

    /// The writes since the last call.
    pub(super) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().writes)
    }

    /// How often each call came.
    pub(super) fn calls(&self) -> BTreeMap<String, u32> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Watcher {
    fn send(&self, what: &str, path: &str, object: &Value) -> bool {
        if !path.starts_with(&self.path) || !selected(object, &self.selector) {
            return true;
        }
        let event = json!({ "type": what, "object": object });
        self.lines.unbounded_send(line(&event)).is_ok()
    }
}

fn line(event: &Value) -> Result<Frame<Bytes>, io::Error> {
    Ok(Frame::data(Bytes::from(format!("{event}\n"))))
}

fn selected(object: &Value, selector: &[(String, String)]) -> bool {
    selector
        .iter()
        .all(|(key, value)| object["metadata"]["labels"][key] == *value)
}

fn status(status: StatusCode, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason,
        "message": reason, "code": status.as_u16(),
    })
}

fn whole(body: &Value) -> UnsyncBoxBody<Bytes, io::Error> {
    let bytes = Bytes::from(body.to_string());
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn refusal(code: StatusCode, reason: &str) -> Reply {
    let body = whole(&status(code, reason));
    let answer = Response::builder().status(code).header("retry-after", "1");
    answer.body(body).unwrap()
}

impl State {
    /// What goes wrong with this call.
    fn fault_of(&mut self, call: &Call) -> Result<Option<Fault>, BoxError> {
        if self.away {
            return Err(reset());
        }
        let kind = call.kind();
        let count = self.calls.entry(kind.clone()).or_default();
        *count += 1;
        let count = *count;
        let mut armed = self.armed.iter();
        let strikes = |armed: &&Armed| armed.call == kind && (armed.from..armed.from + armed.times).contains(&count);
        Ok(armed.find(strikes).map(|armed| armed.fault))
    }

    fn handle(&mut self, call: &Call) -> Answer {
        let (method, body) = (&call.method, call.body.clone());
        if method == Method::GET {
            return self.read(call);
        }
        self.writes.push(format!("{method} {}", call.path));
        if self.denied.contains(&call.kind()) {
            return Err((StatusCode::FORBIDDEN, "Forbidden"));
        }
        if method == Method::POST {
            let name = body["metadata"]["name"].as_str().expect("an object has a name");
            let path = format!("{}/{name}", call.path);
            if self.objects.contains_key(&path) {
                return Err((StatusCode::CONFLICT, "AlreadyExists"));
            }
            return Ok(self.store(&path, body));
        }
        let (path, sub) = match call.path.rsplit_once('/') {
            Some((path, sub @ ("scale" | "status"))) => (path, Some(sub)),
            _ => (call.path.as_str(), None),
        };
        let given = if method == Method::DELETE {
            &body["preconditions"]
        } else {
            &body["metadata"]
        };
        let Some(live) = self.objects.get(path).cloned() else {
            // An apply creates what is not there, but not an object that the client says it has seen.
            return match (call.apply, &given["uid"]) {
                (false, _) => Err((StatusCode::NOT_FOUND, "NotFound")),
                (true, Value::Null) => Ok(self.store(path, body)),
                (true, _) => Err((StatusCode::CONFLICT, "Conflict")),
            };
        };
        for key in ["uid", "resourceVersion"] {
            if !given[key].is_null() && given[key] != live["metadata"][key] {
                return Err((StatusCode::CONFLICT, "Conflict"));
            }
        }
        if method == Method::DELETE {
            self.delete(path);
            return Ok(live);
        }
        // Without force the fields of whoever made the object win.
        if call.apply && call.query.get("force").is_none_or(|force| force != "true") {
            return Err((StatusCode::CONFLICT, "Conflict"));
        }
        let mut merged = live;
        match sub {
            Some("status") => merge(&mut merged, json!({ "status": body["status"] })),
            _ => merge(&mut merged, body),
        }
        let stored = self.store(path, merged);
        let leaves = stored["metadata"]["deletionTimestamp"].is_string() && finalizers(&stored) == 0;
        if leaves {
            self.remove(path);
        }
        if sub != Some("scale") {
            return Ok(stored);
        }
        Ok(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": stored["metadata"], "spec": { "replicas": stored["spec"]["replicas"] },
        }))
    }

    fn read(&self, call: &Call) -> Answer {
        if let Some(object) = self.objects.get(&call.path) {
            return Ok(object.clone());
        }
        let resource = call.path.rsplit_once("/namespaces/lab/").map_or("", |(_, below)| below);
        if resource.contains('/') {
            return Err((StatusCode::NOT_FOUND, "NotFound"));
        }
        let (below, selector) = (format!("{}/", call.path), call.selector());
        let listed = self.objects.iter().filter(|(at, _)| at.starts_with(&below));
        let items: Vec<_> = listed
            .map(|(_, object)| object)
            .filter(|object| selected(object, &selector))
            .cloned()
            .collect();
        let metadata = json!({ "resourceVersion": self.version.max(1).to_string() });
        Ok(json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }))
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version = self.version.max(1) + 1;
        let before = self.objects.get(path);
        let workload = path.contains("/statefulsets/") || path.contains("/deployments/");
        if workload && object["spec"]["replicas"].is_null() {
            object["spec"]["replicas"] = json!(1);
        }
        let generation = match before {
            Some(before) if before["spec"] == object["spec"] => before["metadata"]["generation"].as_u64().unwrap_or(1),
            Some(before) => before["metadata"]["generation"].as_u64().unwrap_or(1) + 1,
            None => 1,
        };
        let what = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = json!(now());
        }
        metadata["namespace"] = json!("lab");
        metadata["generation"] = json!(generation);
        metadata["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        self.tell(what, path, &object);
        object
    }

    /// Deletes an object, or marks it for those who hold it.
    fn delete(&mut self, path: &str) {
        let Some(mut object) = self.objects.get(path).cloned() else {
            return;
        };
        if finalizers(&object) == 0 {
            return self.remove(path);
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(now());
            self.store(path, object);
        }
    }

    /// Removes an object, and what it owns.
    fn remove(&mut self, path: &str) {
        let Some(mut object) = self.objects.remove(path) else {
            return;
        };
        self.version = self.version.max(1) + 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell("DELETED", path, &object);
        let uid = object["metadata"]["uid"].clone();
        let owned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid))
        };
        let orphans: Vec<String> = self
            .objects
            .iter()
            .filter(|(_, object)| owned(object))
            .map(|(path, _)| path.clone())
            .collect();
        for path in orphans {
            self.remove(&path);
        }
    }

    fn tell(&mut self, what: &'static str, path: &str, object: &Value) {
        self.watchers.retain(|watcher| watcher.send(what, path, object));
        self.log.push((self.version, what, path.to_owned(), object.clone()));
    }
}

fn finalizers(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A merge patch (RFC 7396).
fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let map = into.as_object_mut().expect("it was just made one");
    for (key, value) in patch {
        if value.is_null() {
            map.remove(&key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
    }
}
