//! The API server's audit log: who called what.

use std::fs;

use serde_json::Value;

/// A call of a service account.
#[derive(Clone, Debug)]
pub struct Call {
    /// The namespace of the account.
    pub namespace: String,
    /// The account's name.
    pub account: String,
    /// As in a Role: `get`, `patch`; an apply that made its object is a `patch` here.
    pub verb: String,
    /// The API group; empty: the core one.
    pub group: String,
    /// The resource, with its subresource: `statefulsets/scale`.
    pub resource: String,
    /// The status of the answer.
    pub code: u64,
    /// The pod whose token it was; empty: none's.
    pub pod: String,
    /// When the request was there, RFC 3339 with microseconds: of two such times the earlier one is the smaller text.
    pub at: String,
}

impl Call {
    /// Whether it is meant to change something.
    #[must_use]
    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }

    fn of(entry: &Value) -> Option<Self> {
        let user = entry["user"]["username"].as_str()?;
        let (namespace, account) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &entry["objectRef"];
        let resource = match object["subresource"].as_str() {
            Some(sub) => format!("{}/{sub}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        Some(Self {
            namespace: namespace.to_owned(),
            account: account.to_owned(),
            verb: text(&entry["verb"]),
            group: text(&object["apiGroup"]),
            resource,
            pod: text(&entry["user"]["extra"]["authentication.kubernetes.io/pod-name"][0]),
            at: text(&entry["requestReceivedTimestamp"]),
            code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
        })
    }
}

/// The calls of all service accounts so far.
#[derive(Clone, Debug)]
pub struct AuditLog {
    /// In the order of the log.
    pub calls: Vec<Call>,
}

impl AuditLog {
    /// Reads the log of the test cluster; `None` on a cluster that keeps none for us.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn of_the_cluster() -> Option<Self> {
        let path = std::env::var_os("KINEX_AUDIT_LOG")?;
        let log = fs::read_to_string(path).expect("the audit log can be read");
        // Its last line may be half written.
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Some(Self {
            calls: entries.filter_map(|entry| Call::of(&entry)).collect(),
        })
    }
}
