//! Helm itself: renders the chart, and says why it does not.

use std::path::PathBuf;
use std::process::{Command, Output};

use kinex_tidy::root;
use serde_json::Value;

/// The namespace that everything is rendered for.
pub(crate) const NAMESPACE: &str = "streams";

/// Values that lead to charts that differ in shape, each with a name.
pub(crate) const VARIANTS: &[(&str, &[&str])] = &[
    ("embedded", &[]),
    (
        "localstack",
        &["backend=localstack", "localstack.token.secretName=token"],
    ),
    (
        "localstack elsewhere",
        &[
            "backend=localstack",
            "localstack.externalUrl=http://localstack.other.svc:4566",
        ],
    ),
    (
        "aws",
        &[
            "backend=aws",
            "aws.region=eu-west-1",
            "limits.streamPrefixes={a-,b-}",
            "aws.irsa.operatorRoleArn=arn:aws:iam::123456789012:role/kinex-operator",
            "aws.irsa.consumerRoleArn=arn:aws:iam::123456789012:role/kinex-consumer",
        ],
    ),
    (
        "everything",
        &[
            "operator.replicas=2",
            "allowChaos=true",
            "imagePullSecrets[0].name=registry",
            "commonLabels.team=streams",
            "limits.endpoints={http://other:4566,https://kinesis.example.org}",
            "limits.streamPrefixes={team-a-,team-b-}",
            "workerPriorityClassName=batch",
            "metrics.serviceMonitor.enabled=true",
            "metrics.podMonitor.enabled=true",
            "metrics.prometheusRule.enabled=true",
            "dashboards.namespace=monitoring",
            "operator.priorityClassName=system",
            "operator.nodeSelector.disk=ssd",
            "operator.podAnnotations.note=a",
            "operator.podLabels.tier=control",
            "embedded.enforceLimits=false",
        ],
    ),
    ("two namespaces", &["watchNamespaces={team-a,team-b}"]),
    (
        "all namespaces",
        &["watchAllNamespaces=true", "aggregateClusterRoles=true"],
    ),
    (
        "bare",
        &[
            "crd.install=false",
            "networkPolicy.enabled=false",
            "dashboards.enabled=false",
            "operator.leaderElection=false",
            "operator.serviceAccount.create=false",
            "consumer.serviceAccount.create=false",
            "producer.serviceAccount.create=false",
        ],
    ),
];

pub(crate) fn chart() -> PathBuf {
    root().join("charts/kinex")
}

/// Runs Helm.
pub(crate) fn helm(arguments: &[&str]) -> Output {
    let program = std::env::var_os("HELM").map_or_else(|| root().join("target/cluster/bin/helm"), PathBuf::from);
    assert!(
        program.is_file(),
        "{} is missing: `make helm` builds it, or name yours in HELM",
        program.display()
    );
    Command::new(&program)
        .args(arguments)
        .current_dir(root())
        .env_remove("KUBECONFIG")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn template(values: &[&str]) -> Output {
    let chart = chart();
    let mut arguments = vec!["template", "lab", chart.to_str().unwrap(), "--namespace", NAMESPACE];
    arguments.extend(values.iter().flat_map(|value| ["--set", *value]));
    helm(&arguments)
}

/// All objects that the chart consists of with these values.
pub(crate) fn render(values: &[&str]) -> Vec<Value> {
    objects(&template(values), values)
}

/// All objects of a release with these arguments of Helm.
pub(crate) fn render_release(release: &str, namespace: &str, more: &[&str]) -> Vec<Value> {
    let chart = chart();
    let mut arguments = vec!["template", release, chart.to_str().unwrap(), "--namespace", namespace];
    arguments.extend(more);
    objects(&helm(&arguments), more)
}

fn objects(out: &Output, values: &[&str]) -> Vec<Value> {
    assert!(
        out.status.success(),
        "{values:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8_lossy(&out.stdout);
    let all: Vec<Option<Value>> =
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{values:?}: {error}"));
    all.into_iter().flatten().collect()
}

/// What Helm says when it refuses these values.
pub(crate) fn refusal(values: &[&str]) -> String {
    let out = template(values);
    assert!(!out.status.success(), "{values:?} is not refused");
    String::from_utf8(out.stderr).unwrap()
}

/// `kind/name` of an object, with its namespace when it has one.
pub(crate) fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &object["metadata"];
    match meta["namespace"].as_str() {
        Some(namespace) => format!("{} {namespace}/{}", text(&object["kind"]), text(&meta["name"])),
        None => format!("{} {}", text(&object["kind"]), text(&meta["name"])),
    }
}

/// The objects of one kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The object of this kind and name.
pub(crate) fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Whether a set of labels has all of `wanted`.
pub(crate) fn has_labels(labels: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| labels[key] == *value)
}

/// The pod that an object makes: its labels and its spec.
pub(crate) fn pod(object: &Value) -> Option<(&Value, &Value)> {
    match object["kind"].as_str()? {
        "Pod" => Some((&object["metadata"]["labels"], &object["spec"])),
        "Deployment" | "StatefulSet" | "Job" | "DaemonSet" => {
            let template = &object["spec"]["template"];
            Some((&template["metadata"]["labels"], &template["spec"]))
        }
        _ => None,
    }
}

/// The texts of a list.
pub(crate) fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
