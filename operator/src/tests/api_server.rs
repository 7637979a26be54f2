//! An API server in memory: as much of it as the operator's writes rest on. Every object is JSON under its path.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// The server's objects and what was asked of it. Clones share both.
#[derive(Clone, Default)]
pub(super) struct ApiServer {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// Method and path of every write, in order, refused ones too.
    writes: Vec<String>,
    version: u64,
}

/// The answer to one request.
type Answer = Result<Value, (StatusCode, &'static str)>;

impl ApiServer {
    pub(super) fn client(&self) -> Client {
        let state = Arc::clone(&self.state);
        let service = tower::service_fn(move |request: Request<Body>| {
            let state = Arc::clone(&state);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("the body is in memory").to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let query = parts.uri.query().unwrap_or_default().to_owned();
                let answer = state
                    .lock()
                    .unwrap()
                    .handle(&parts.method, parts.uri.path(), &query, body);
                let (status, body) = match answer {
                    Ok(body) => (StatusCode::OK, body),
                    Err((status, reason)) => (
                        status,
                        json!({
                            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
                            "message": reason, "code": status.as_u16(),
                        }),
                    ),
                };
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "lab")
    }

    /// Puts an object there as somebody else would, and gives it as it is then.
    pub(super) fn put(&self, path: &str, object: Value) -> Value {
        self.state.lock().unwrap().store(path, object)
    }

    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub(super) fn remove(&self, path: &str) {
        self.state.lock().unwrap().objects.remove(path);
    }

    /// The writes since the last call.
    pub(super) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }
}

impl State {
    fn handle(&mut self, method: &Method, path: &str, query: &str, body: Value) -> Answer {
        if method == Method::GET {
            return self.read(path, query);
        }
        self.writes.push(format!("{method} {path}"));
        let (path, scale) = match path.strip_suffix("/scale") {
            Some(of) => (of, true),
            None => (path, false),
        };
        let live = self.objects.get(path).cloned();
        if method == Method::POST {
            let name = body["metadata"]["name"].as_str().expect("an object has a name");
            let path = format!("{path}/{name}");
            if self.objects.contains_key(&path) {
                return Err((StatusCode::CONFLICT, "AlreadyExists"));
            }
            return Ok(self.store(&path, body));
        }
        let (given, missing) = match method {
            &Method::DELETE => (&body["preconditions"], Err((StatusCode::NOT_FOUND, "NotFound"))),
            _ if query.contains("fieldManager") && !scale && !is_merge_patch(&body) => (&body["metadata"], Ok(())),
            _ => (&body["metadata"], Err((StatusCode::NOT_FOUND, "NotFound"))),
        };
        let Some(live) = live else {
            missing?;
            // An apply creates what is not there, but not an object that the client says it has seen.
            return match given["uid"] {
                Value::Null => Ok(self.store(path, body)),
                _ => Err((StatusCode::CONFLICT, "Conflict")),
            };
        };
        for key in ["uid", "resourceVersion"] {
            if !given[key].is_null() && given[key] != live["metadata"][key] {
                return Err((StatusCode::CONFLICT, "Conflict"));
            }
        }
        if method == Method::DELETE {
            self.objects.remove(path);
            return Ok(live);
        }
        // Without force the fields of whoever made the object win.
        if !is_merge_patch(&body) && !scale && !query.contains("force=true") {
            return Err((StatusCode::CONFLICT, "Conflict"));
        }
        let mut merged = live;
        merge(&mut merged, body);
        let stored = self.store(path, merged);
        if !scale {
            return Ok(stored);
        }
        Ok(json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": stored["metadata"], "spec": { "replicas": stored["spec"]["replicas"] },
        }))
    }

    fn read(&self, path: &str, query: &str) -> Answer {
        if let Some(object) = self.objects.get(path) {
            return Ok(object.clone());
        }
        let Some((_, selector)) = query.split_once("labelSelector=") else {
            return Err((StatusCode::NOT_FOUND, "NotFound"));
        };
        let selector = selector.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let selector = selector.split('&').next().unwrap_or_default();
        let matches = |object: &&Value| {
            selector.split(',').all(|pair| {
                let (key, value) = pair.split_once('=').expect("only equality is used");
                object["metadata"]["labels"][key] == value
            })
        };
        let below = format!("{path}/");
        let listed = self.objects.iter().filter(|(at, _)| at.starts_with(&below));
        let items: Vec<_> = listed.map(|(_, object)| object).filter(matches).cloned().collect();
        Ok(json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }))
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        metadata["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

/// An applied object says its kind; a merge patch of the operator does not.
fn is_merge_patch(body: &Value) -> bool {
    body["kind"].is_null()
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
