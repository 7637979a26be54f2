//! What the operator may do is what it does: the chart's Roles against the audit log of all other tests.
//!
//! A program of its own, which `tests/cluster/test` runs last.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;

use kinex_cluster_tests::{AuditLog, Release};
use serde_json::Value;

/// Group, resource and verb.
type Right = (String, String, String);

/// Rights that the test cluster never asks for, with the reason.
const UNASKED: &[(&str, &str, &str)] = &[
    // Only where the API server's OwnerReferencesPermissionEnforcement is on.
    ("kinex.dev", "kinesisexperiments/finalizers", "update"),
];

fn right(group: &str, resource: &str, verb: &str) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned())
}

fn granted(release: &Release) -> BTreeSet<Right> {
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for role in ["role/kinex-operator", "role/kinex-operator-election"] {
        let role = release.namespace().get(role).unwrap();
        for rule in role["rules"].as_array().unwrap() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    let verbs = texts(&rule["verbs"]);
                    rights.extend(verbs.iter().map(|verb| right(&group, &resource, verb)));
                }
            }
        }
    }
    rights
}

#[test]
#[ignore = "needs the audit log of the other tests: make cluster-test"]
fn every_right_of_the_operator_is_used_and_the_workers_use_none() {
    let log = AuditLog::of_the_cluster().expect("tests/cluster/test names the log");
    let mut used = BTreeSet::new();
    for call in log.calls.iter().filter(|call| call.account == "kinex-operator") {
        used.insert(right(&call.group, &call.resource, &call.verb));
        // An apply that makes its object is allowed by `create` too.
        if call.verb == "patch" && call.code == 201 {
            used.insert(right(&call.group, &call.resource, "create"));
        }
    }
    let release = Release::install("rights", &[]);
    let mut unused = granted(&release);
    println!("{} rights are granted, {} are used", unused.len(), used.len());
    unused.retain(|right| !used.contains(right));
    let unasked: BTreeSet<Right> = UNASKED
        .iter()
        .map(|(group, resource, verb)| right(group, resource, verb))
        .collect();
    assert_eq!(unused, unasked, "rights that no test makes use of");

    let callers: BTreeSet<&str> = log.calls.iter().map(|call| call.account.as_str()).collect();
    for account in ["kinex-consumer", "kinex-producer"] {
        release.namespace().get(&format!("serviceaccount/{account}")).unwrap();
        assert!(
            !callers.contains(account),
            "{account} has no token, and calls the API server"
        );
    }
}
