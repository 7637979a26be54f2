//! Rights: what the operator may do in a cluster, and what nobody may.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, VARIANTS, object, of_kind, render, texts, title};

fn rules(role: &Value) -> impl Iterator<Item = &Value> {
    role["rules"].as_array().into_iter().flatten()
}

#[test]
fn no_role_reaches_secrets_shells_or_other_roles() {
    for (name, values) in VARIANTS {
        for role in render(values)
            .iter()
            .filter(|o| o["kind"] == "Role" || o["kind"] == "ClusterRole")
        {
            for rule in rules(role) {
                let title = format!("{name}: {}: {rule}", title(role));
                let (groups, resources) = (texts(&rule["apiGroups"]), texts(&rule["resources"]));
                let verbs = texts(&rule["verbs"]);
                for list in [&groups, &resources, &verbs] {
                    assert!(
                        !list.is_empty() && !list.iter().any(|text| text.contains('*')),
                        "{title}"
                    );
                }
                for resource in resources {
                    let forbidden = [
                        "secrets",
                        "serviceaccounts",
                        "nodes",
                        "pods/exec",
                        "pods/attach",
                        "pods/portforward",
                    ];
                    assert!(!forbidden.contains(&resource), "{title}");
                }
                for verb in verbs {
                    assert!(!["escalate", "bind", "impersonate"].contains(&verb), "{title}");
                }
                assert!(!groups.contains(&"rbac.authorization.k8s.io"), "{title}");
            }
        }
    }
}

#[test]
fn rights_over_the_whole_cluster_are_asked_for_only_when_wanted() {
    for (name, values) in VARIANTS {
        let objects = render(values);
        let wide = objects
            .iter()
            .filter(|o| o["kind"].as_str().unwrap().starts_with("ClusterRole"));
        let wide: BTreeSet<String> = wide.map(title).collect();
        let wanted: &[&str] = match *name {
            "all namespaces" => &[
                "ClusterRole streams-lab-kinex-edit",
                "ClusterRole streams-lab-kinex-operator",
                "ClusterRole streams-lab-kinex-view",
                "ClusterRoleBinding streams-lab-kinex-operator",
            ],
            _ => &[],
        };
        assert_eq!(wide.iter().map(String::as_str).collect::<Vec<_>>(), wanted, "{name}");
    }
}

#[test]
fn the_operators_rights_are_these() {
    let objects = render(&[]);
    let mut table = Vec::new();
    for role in of_kind(&objects, "Role") {
        for rule in rules(role) {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    let names = texts(&rule["resourceNames"]).join(" ");
                    let verbs = texts(&rule["verbs"]).join(" ");
                    table.push(format!("{group}/{resource} {names}: {verbs}"));
                }
            }
        }
    }
    table.sort();
    let wanted = "
        /configmaps : get list create patch delete
        /pods : list watch delete
        /services : get create patch
        apps/deployments : get list watch create patch delete
        apps/statefulsets : get list watch create patch delete
        apps/statefulsets/scale : patch
        coordination.k8s.io/leases lab-kinex-operator: get patch
        events.k8s.io/events : create patch
        kinex.dev/kinesisexperiments : list watch patch delete
        kinex.dev/kinesisexperiments/finalizers : update
        kinex.dev/kinesisexperiments/status : patch
        policy/poddisruptionbudgets : get create patch";
    let wanted: Vec<&str> = wanted.trim().lines().map(str::trim).collect();
    assert_eq!(table, wanted);
}

#[test]
fn roles_are_bound_to_the_operators_account_alone() {
    for (name, values) in VARIANTS {
        let objects = render(values);
        let account = match *name {
            "bare" => "default",
            _ => "lab-kinex-operator",
        };
        let bindings: Vec<&Value> = objects
            .iter()
            .filter(|o| o["kind"] == "RoleBinding" || o["kind"] == "ClusterRoleBinding")
            .collect();
        assert!(!bindings.is_empty());
        for binding in bindings {
            let wanted = json!([{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]);
            assert_eq!(binding["subjects"], wanted, "{name}: {}", title(binding));
            let role = &binding["roleRef"];
            let bound = object(&objects, role["kind"].as_str().unwrap(), role["name"].as_str().unwrap());
            if binding["kind"] == "RoleBinding" {
                assert!(
                    of_kind(&objects, "Role").any(|r| r["metadata"]["name"] == bound["metadata"]["name"]
                        && r["metadata"]["namespace"] == binding["metadata"]["namespace"]),
                    "{name}: {}",
                    title(binding)
                );
            }
        }
    }
}

#[test]
fn watched_namespaces_get_roles_and_accounts_of_their_own() {
    let objects = render(&["watchNamespaces={team-a,team-b}"]);
    let mut found: Vec<String> = objects
        .iter()
        .filter(|o| ["Role", "ServiceAccount"].contains(&o["kind"].as_str().unwrap()))
        .map(title)
        .collect();
    found.sort();
    let wanted = [
        "Role streams/lab-kinex-operator-election",
        "Role team-a/lab-kinex-operator",
        "Role team-b/lab-kinex-operator",
        "ServiceAccount streams/lab-kinex-operator",
        "ServiceAccount team-a/lab-kinex-consumer",
        "ServiceAccount team-a/lab-kinex-producer",
        "ServiceAccount team-b/lab-kinex-consumer",
        "ServiceAccount team-b/lab-kinex-producer",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn each_account_has_the_aws_role_that_it_was_given() {
    let role = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    let values = [
        "backend=aws".to_owned(),
        "aws.region=eu-west-1".to_owned(),
        "limits.streamPrefixes={a-}".to_owned(),
        format!("aws.irsa.operatorRoleArn={}", role("a")),
        format!("aws.irsa.consumerRoleArn={}", role("b")),
        "consumer.serviceAccount.annotations.note=mine".to_owned(),
    ];
    let objects = render(&values.iter().map(String::as_str).collect::<Vec<_>>());
    let annotations = |name: &str| object(&objects, "ServiceAccount", name)["metadata"]["annotations"].clone();
    assert_eq!(
        annotations("lab-kinex-operator"),
        json!({"eks.amazonaws.com/role-arn": role("a")})
    );
    assert_eq!(
        annotations("lab-kinex-consumer"),
        json!({"eks.amazonaws.com/role-arn": role("b"), "note": "mine"})
    );
    assert_eq!(annotations("lab-kinex-producer"), Value::Null);
}
