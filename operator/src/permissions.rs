//! What the operator asks of the API server: the whole of its Role.

use kube::Resource;

/// A resource and the verbs that the operator uses on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty: the core one.
    pub group: &'static str,
    /// The resource, with its subresource: `statefulsets/scale`.
    pub resource: &'static str,
    /// The verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Only with more than one replica.
    pub leader_election: bool,
}

const fn allow(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Permission {
    Permission {
        group,
        resource,
        verbs,
        leader_election: false,
    }
}

/// Objects of an experiment that are read one by one and applied. An apply that makes an object needs `create`.
const APPLY: &[&str] = &["create", "get", "patch"];
/// The workload of an experiment: watched as well, and deleted by hand when it is cleaned up.
const WATCH_APPLY_AND_DELETE: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];

/// Everything that the operator does; sorted by group and resource. The tests on a cluster hold it against the API
/// server's audit log.
pub const PERMISSIONS: &[Permission] = &[
    // Old reports are found and deleted.
    allow("", "configmaps", &["create", "delete", "get", "list", "patch"]),
    allow("", "pods", &["delete", "list", "watch"]),
    allow("", "services", APPLY),
    allow("apps", "deployments", WATCH_APPLY_AND_DELETE),
    allow("apps", "statefulsets", WATCH_APPLY_AND_DELETE),
    allow("apps", "statefulsets/scale", &["patch"]),
    // The Lease is part of the chart: an operator that could create it would do so while it is uninstalled.
    Permission {
        leader_election: true,
        ..allow("coordination.k8s.io", "leases", &["get", "patch"])
    },
    allow("events.k8s.io", "events", &["create", "patch"]),
    // Deleted when their ttlSecondsAfterFinished is over.
    allow("kinex.dev", "kinesisexperiments", &["delete", "list", "patch", "watch"]),
    // Asked for where a cluster enforces the rights of owner references.
    allow("kinex.dev", "kinesisexperiments/finalizers", &["update"]),
    allow("kinex.dev", "kinesisexperiments/status", &["patch"]),
    allow("policy", "poddisruptionbudgets", APPLY),
];

/// How a Role names the resource of a kind: `statefulsets.apps`.
pub fn resource<K: Resource<DynamicType = ()>>() -> String {
    let (plural, group) = (K::plural(&()), K::group(&()));
    if group.is_empty() {
        plural.into_owned()
    } else {
        format!("{plural}.{group}")
    }
}
