//! Who may talk to whom, judged as a cluster judges it: a small evaluator of network policies.
//!
//! The cluster of the tests does not enforce them, so their meaning is checked here.

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, has_labels, of_kind, pod, render};

/// One end of a connection.
struct End {
    namespace: &'static str,
    labels: Value,
    /// An address outside of the cluster instead of a pod.
    address: Option<&'static str>,
}

fn worker(component: &str, namespace: &'static str) -> End {
    End {
        namespace,
        labels: json!({"app.kubernetes.io/name": "kinex", "app.kubernetes.io/component": component,
            "app.kubernetes.io/instance": "rebalance", "app.kubernetes.io/managed-by": "kinex-operator"}),
        address: None,
    }
}

/// A pod of the chart, with the labels that it is rendered with.
fn own(objects: &[Value], component: &str) -> End {
    let all = objects.iter().filter_map(pod).map(|(labels, _)| labels);
    let labels = all
        .into_iter()
        .find(|labels| labels["app.kubernetes.io/component"] == component);
    End {
        namespace: NAMESPACE,
        labels: labels.unwrap_or_else(|| panic!("no pod of {component}")).clone(),
        address: None,
    }
}

fn stranger(namespace: &'static str) -> End {
    End {
        namespace,
        labels: json!({"app": "other"}),
        address: None,
    }
}

fn outside(address: &'static str) -> End {
    End {
        namespace: "",
        labels: json!({}),
        address: Some(address),
    }
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    has_labels(labels, &selector["matchLabels"])
        && expressions.into_iter().all(|expression| {
            assert_eq!(expression["operator"], "In", "the evaluator knows no other");
            let values = expression["values"].as_array().unwrap();
            values.contains(&labels[expression["key"].as_str().unwrap()])
        })
}

/// Whether an address is in a range; both written as IPv4.
fn within(address: &str, range: &str) -> bool {
    let number = |text: &str| text.parse::<std::net::Ipv4Addr>().map(u32::from);
    let (base, bits) = range.split_once('/').unwrap();
    let (Ok(address), Ok(base)) = (number(address), number(base)) else {
        return false;
    };
    let bits: u32 = bits.parse().unwrap();
    bits == 0 || (address ^ base) >> (32 - bits) == 0
}

fn is_peer(peer: &Value, policy: &Value, end: &End) -> bool {
    if let Some(block) = peer["ipBlock"].as_object() {
        let excepted = block.get("except").and_then(Value::as_array).into_iter().flatten();
        return end.address.is_some_and(|address| {
            within(address, block["cidr"].as_str().unwrap())
                && !excepted
                    .into_iter()
                    .any(|range| within(address, range.as_str().unwrap()))
        });
    }
    let there = json!({"kubernetes.io/metadata.name": end.namespace});
    let in_namespace = match &peer["namespaceSelector"] {
        Value::Null => policy["metadata"]["namespace"] == end.namespace,
        selector => selects(selector, &there),
    };
    end.address.is_none() && in_namespace && selects(&peer["podSelector"], &end.labels)
}

/// Whether the policies of one side let this through: none selects the pod, or one of those that do allows it.
fn passes(objects: &[Value], kind: &str, pod: &End, other: &End, port: u64) -> bool {
    if pod.address.is_some() {
        return true;
    }
    let (rules, peers) = if kind == "Ingress" {
        ("ingress", "from")
    } else {
        ("egress", "to")
    };
    let mut selected = of_kind(objects, "NetworkPolicy")
        .filter(|policy| policy["metadata"]["namespace"] == pod.namespace)
        .filter(|policy| policy["spec"]["policyTypes"].as_array().unwrap().contains(&json!(kind)))
        .filter(|policy| selects(&policy["spec"]["podSelector"], &pod.labels))
        .peekable();
    if selected.peek().is_none() {
        return true;
    }
    selected.any(|policy| {
        policy["spec"][rules].as_array().into_iter().flatten().any(|rule| {
            let to_port = rule["ports"]
                .as_array()
                .is_none_or(|ports| ports.iter().any(|p| p["port"] == port));
            let to_peer = rule[peers]
                .as_array()
                .is_none_or(|all| all.iter().any(|peer| is_peer(peer, policy, other)));
            to_port && to_peer
        })
    })
}

fn reaches(objects: &[Value], from: &End, to: &End, port: u64) -> bool {
    passes(objects, "Egress", from, to, port) && passes(objects, "Ingress", to, from, port)
}

const API_SERVER: &str = "10.96.0.1";

#[test]
fn each_pod_reaches_what_it_needs_and_nothing_else() {
    let objects = render(&[]);
    let (operator, endpoint, test) = (
        own(&objects, "operator"),
        own(&objects, "endpoint"),
        own(&objects, "test"),
    );
    let (consumer, producer) = (worker("consumer", NAMESPACE), worker("producer", NAMESPACE));
    let (prometheus, dns) = (stranger("monitoring"), stranger("kube-system"));
    let (neighbor, api) = (stranger(NAMESPACE), outside(API_SERVER));
    let check = |who: &str, wanted: bool, from: &End, to: &End, port: u64| {
        assert_eq!(reaches(&objects, from, to, port), wanted, "{who}, port {port}");
    };
    for client in [&operator, &consumer, &producer, &test] {
        check("a client to the endpoint", true, client, &endpoint, 4566);
        check("a client to another port of it", false, client, &endpoint, 22);
        check("a client to DNS", true, client, &dns, 53);
        check(
            "a client to the metadata of the node",
            false,
            client,
            &outside("169.254.169.254"),
            80,
        );
        check("a client to a neighbor", false, client, &neighbor, 80);
    }
    check("the operator to the API server", true, &operator, &api, 443);
    check(
        "the operator to the API server behind its Service",
        true,
        &operator,
        &api,
        6443,
    );
    check("a consumer to the API server", false, &consumer, &api, 443);
    check(
        "a consumer to another",
        false,
        &consumer,
        &worker("consumer", NAMESPACE),
        9090,
    );
    check(
        "the endpoint to anywhere",
        false,
        &endpoint,
        &outside("198.51.100.7"),
        443,
    );
    check("a neighbor to the endpoint", false, &neighbor, &endpoint, 4566);
    check(
        "another namespace's worker to the endpoint",
        false,
        &worker("consumer", "other"),
        &endpoint,
        4566,
    );
    for server in [&operator, &consumer, &producer] {
        check("Prometheus to metrics", true, &prometheus, server, 9090);
        check("a neighbor to metrics", false, &neighbor, server, 9090);
    }
}

#[test]
fn workers_of_watched_namespaces_reach_the_endpoint() {
    let objects = render(&["watchNamespaces={team-a}"]);
    let endpoint = own(&objects, "endpoint");
    assert!(reaches(&objects, &worker("consumer", "team-a"), &endpoint, 4566));
    assert!(!reaches(&objects, &worker("consumer", "team-b"), &endpoint, 4566));
    assert!(!reaches(
        &objects,
        &worker("consumer", "team-a"),
        &outside(API_SERVER),
        443
    ));
    let objects = render(&["watchAllNamespaces=true"]);
    assert!(reaches(&objects, &worker("consumer", "team-b"), &endpoint, 4566));
    assert!(!reaches(&objects, &stranger("team-b"), &endpoint, 4566));
}

#[test]
fn with_aws_workers_reach_https_but_not_the_metadata_of_the_node() {
    let objects = render(&["backend=aws", "aws.region=eu-west-1", "limits.streamPrefixes={a-,b-}"]);
    let consumer = worker("consumer", NAMESPACE);
    assert!(reaches(&objects, &consumer, &outside("198.51.100.7"), 443));
    assert!(!reaches(&objects, &consumer, &outside("198.51.100.7"), 80));
    assert!(!reaches(&objects, &consumer, &outside("169.254.169.254"), 80));
    assert!(!reaches(&objects, &consumer, &outside("169.254.169.254"), 443));
    // The agent of EKS Pod Identity.
    assert!(reaches(&objects, &consumer, &outside("169.254.170.23"), 80));
    let objects = render(&[
        "backend=aws",
        "aws.region=eu-west-1",
        "limits.streamPrefixes={a-,b-}",
        "networkPolicy.externalTo[0].ipBlock.cidr=10.1.0.0/16",
    ]);
    assert!(reaches(&objects, &consumer, &outside("10.1.2.3"), 443));
    assert!(!reaches(&objects, &consumer, &outside("198.51.100.7"), 443));
}

#[test]
fn endpoints_outside_the_chart_are_open_on_their_own_ports() {
    let objects = render(&[
        "backend=localstack",
        "localstack.externalUrl=http://localstack.example:4577",
        "limits.endpoints={https://kinesis.example.org,http://plain.example.org}",
    ]);
    let consumer = worker("consumer", NAMESPACE);
    for (port, wanted) in [(4577, true), (443, true), (80, true), (4566, false), (22, false)] {
        assert_eq!(
            reaches(&objects, &consumer, &outside("198.51.100.7"), port),
            wanted,
            "{port}"
        );
    }
    assert!(!reaches(&objects, &consumer, &outside("169.254.169.254"), 80));
}

#[test]
fn localstack_may_fetch_its_kinesis_server() {
    let objects = render(&["backend=localstack"]);
    let endpoint = own(&objects, "endpoint");
    assert!(reaches(&objects, &endpoint, &outside("198.51.100.7"), 443));
    assert!(!reaches(&objects, &endpoint, &outside("169.254.169.254"), 443));
    assert!(reaches(&objects, &worker("consumer", NAMESPACE), &endpoint, 4566));
}

#[test]
fn others_are_let_in_by_value() {
    let endpoint = own(&render(&[]), "endpoint");
    let objects = render(&["networkPolicy.endpointFrom[0].ipBlock.cidr=172.18.0.0/16"]);
    assert!(reaches(&objects, &outside("172.18.0.3"), &endpoint, 4566));
    assert!(!reaches(&objects, &outside("172.19.0.3"), &endpoint, 4566));
    let none = render(&["networkPolicy.metricsFrom=null"]);
    assert!(!reaches(
        &none,
        &stranger("monitoring"),
        &worker("consumer", NAMESPACE),
        9090
    ));
}

#[test]
fn every_pod_of_kinex_is_closed_by_default() {
    for values in [&[][..], &["watchNamespaces={team-a}"]] {
        let objects = render(values);
        for policy in of_kind(&objects, "NetworkPolicy").filter(|p| p["metadata"]["name"] == "lab-kinex-default-deny") {
            assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
            assert!(policy["spec"]["ingress"].is_null() && policy["spec"]["egress"].is_null());
            for (labels, _) in objects.iter().filter_map(pod) {
                assert!(selects(&policy["spec"]["podSelector"], labels), "{labels}");
            }
        }
    }
}
