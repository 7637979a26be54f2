//! The cluster of kind: its ports, and the plain manifests that are applied to it.

use std::path::Path;

use kinex_tidy::{files, read};
use serde_json::{Value, json};

use crate::helm::{has_labels, of_kind, pod, render_release, title};
use crate::pods::{faults, shared_faults};

fn parsed(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every object below `deploy/kind`.
fn manifests() -> Vec<Value> {
    let all = files(&[".yaml"])
        .into_iter()
        .filter(|path| path.starts_with("deploy/kind"));
    all.flat_map(|path| parsed(&path)).collect()
}

/// What `make kind-up` installs of the chart.
fn installed() -> Vec<Value> {
    render_release("kinex", "kinex", &["--values", "deploy/kind-values.yaml"])
}

#[test]
fn the_ports_of_the_nodes_are_those_of_the_services() {
    let config = &parsed("kind-config.yaml".as_ref())[0];
    let nodes = config["nodes"].as_array().unwrap();
    let roles: Vec<&str> = nodes.iter().filter_map(|node| node["role"].as_str()).collect();
    assert_eq!(roles, ["control-plane", "worker", "worker"]);
    let mut mapped: Vec<(u64, u64)> = Vec::new();
    for mapping in nodes[0]["extraPortMappings"].as_array().unwrap() {
        assert_eq!(mapping["listenAddress"], "127.0.0.1", "nobody else is let in");
        mapped.push((
            mapping["containerPort"].as_u64().unwrap(),
            mapping["hostPort"].as_u64().unwrap(),
        ));
    }
    assert_eq!(mapped, [(30090, 9090), (30300, 3000), (30566, 4566)]);
    let manifests = manifests();
    let services = || of_kind(&manifests, "Service");
    let ports = services().flat_map(|service| service["spec"]["ports"].as_array().unwrap());
    let mut served: Vec<(u64, u64)> = ports
        .map(|port| (port["nodePort"].as_u64().unwrap(), port["port"].as_u64().unwrap()))
        .collect();
    served.sort_unstable();
    // Either the embedded endpoints or LocalStack have the last one.
    served.dedup();
    assert_eq!(served, mapped);
    assert!(services().all(|service| service["spec"]["type"] == "NodePort"));
}

#[test]
fn a_namespace_is_applied_before_what_is_in_it() {
    // As `kubectl apply -f deploy/kind/` goes: file by file, in the order of their names, folders left out.
    let mut known = Vec::new();
    let all = files(&[".yaml"])
        .into_iter()
        .filter(|path| path.parent() == Some(Path::new("deploy/kind")));
    for object in all.flat_map(|path| parsed(&path)) {
        if object["kind"] == "Namespace" {
            known.push(object["metadata"]["name"].clone());
        } else {
            assert!(
                known.contains(&object["metadata"]["namespace"]),
                "{} comes too early",
                title(&object)
            );
        }
    }
    assert_eq!(known, ["kinex", "monitoring"]);
}

#[test]
fn services_find_their_pods() {
    let manifests = manifests();
    let installed = installed();
    for service in of_kind(&manifests, "Service") {
        let selector = &service["spec"]["selector"];
        let target = &service["spec"]["ports"][0]["targetPort"];
        let found = manifests.iter().chain(&installed).any(|object| {
            let same_namespace = object["metadata"]["namespace"] == service["metadata"]["namespace"];
            pod(object).is_some_and(|(labels, spec)| {
                let ports = spec["containers"][0]["ports"].as_array();
                let port = ports.into_iter().flatten().any(|port| port["name"] == *target);
                same_namespace && has_labels(labels, selector) && port
            })
        });
        assert!(found, "{} finds no pod", title(service));
    }
}

#[test]
fn the_pods_keep_the_standard_of_their_namespace() {
    let manifests = manifests();
    let standard = |namespace: &Value| {
        let found = of_kind(&manifests, "Namespace").find(|n| n["metadata"]["name"] == *namespace);
        let labels = &found.unwrap_or_else(|| panic!("no namespace {namespace}"))["metadata"]["labels"];
        labels["pod-security.kubernetes.io/enforce"].as_str().unwrap()
    };
    for object in &manifests {
        let Some((labels, spec)) = pod(object) else { continue };
        assert!(
            has_labels(labels, &object["spec"]["selector"]["matchLabels"]),
            "{}",
            title(object)
        );
        let mut faults = match standard(&object["metadata"]["namespace"]) {
            "restricted" => faults(spec),
            "baseline" => shared_faults(spec),
            other => panic!("{other}"),
        };
        // Their images have users of their own.
        faults.retain(|fault| !fault.starts_with("runAsUser is "));
        assert!(faults.is_empty(), "{}: {faults:?}", title(object));
    }
    for object in installed() {
        if pod(&object).is_some() {
            assert_eq!(
                standard(&object["metadata"]["namespace"]),
                "restricted",
                "{}",
                title(&object)
            );
        }
    }
}

#[test]
fn grafana_mounts_the_dashboards_that_the_chart_brings() {
    let manifests = manifests();
    let grafana = of_kind(&manifests, "Deployment")
        .find(|d| d["metadata"]["name"] == "grafana")
        .unwrap();
    let volumes = grafana["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let sources = volumes.iter().find(|v| v["name"] == "dashboards").unwrap()["projected"]["sources"].as_array();
    let mounted: Vec<&Value> = sources
        .unwrap()
        .iter()
        .map(|source| &source["configMap"]["name"])
        .collect();
    let installed = installed();
    let dashboards = of_kind(&installed, "ConfigMap").filter(|m| m["metadata"]["labels"]["grafana_dashboard"] == "1");
    for dashboard in dashboards {
        assert_eq!(dashboard["metadata"]["namespace"], "monitoring");
        assert!(
            mounted.contains(&&dashboard["metadata"]["name"]),
            "{}",
            title(dashboard)
        );
    }
}

#[test]
fn localstack_is_the_same_here_and_in_the_chart() {
    let chart = render_release("kinex", "kinex", &["--set", "backend=localstack"]);
    let chart = of_kind(&chart, "Deployment")
        .find(|d| d["metadata"]["name"] == "kinex-localstack")
        .unwrap();
    let manifests = manifests();
    let plain = of_kind(&manifests, "Deployment")
        .find(|d| d["metadata"]["name"] == "localstack")
        .unwrap();
    let container = |object: &Value| pod(object).unwrap().1["containers"][0].clone();
    for key in [
        "image",
        "env",
        "resources",
        "volumeMounts",
        "startupProbe",
        "readinessProbe",
        "livenessProbe",
    ] {
        assert_eq!(container(chart)[key], container(plain)[key], "{key}");
    }
    assert_eq!(container(plain)["image"], json!("localstack/localstack:4.14.0"));
}
