//! The Helm chart and the operator agree: on the command line, and on the rights.
//!
//! Needs Helm: `$HELM`, or the one that `make helm` builds.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args as _, FromArgMatches as _};
use kinex_operator::args::Args;
use kinex_operator::permissions::PERMISSIONS;
use kinex_operator::settings::Settings;
use serde_json::Value;

/// The objects of the chart with these values.
fn render(values: &[&str]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let helm = std::env::var_os("HELM").map_or_else(|| root.join("target/cluster/bin/helm"), PathBuf::from);
    assert!(
        helm.is_file(),
        "{} is missing: `make helm` builds it, or name yours in HELM",
        helm.display()
    );
    let out = Command::new(helm)
        .args(["template", "kinex", "charts/kinex", "--namespace", "kinex"])
        .args(values.iter().flat_map(|value| ["--set", *value]))
        .current_dir(root)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let all: Vec<Option<Value>> = serde_saphyr::from_multiple(std::str::from_utf8(&out.stdout).unwrap()).unwrap();
    all.into_iter().flatten().collect()
}

fn texts(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn the_operator_understands_the_charts_flags() {
    for values in [
        &[][..],
        &["backend=aws", "aws.region=eu-west-1", "limits.streamPrefixes={a-,b-}"],
        &[
            "watchNamespaces={team-a,team-b}",
            "allowChaos=true",
            "imagePullSecrets[0].name=registry",
            "limits.endpoints={http://other:4566,https://kinesis.example.org}",
            "limits.streamPrefixes={team-a-,team-b-}",
            "workerPriorityClassName=batch",
            "caBundle.configMapName=trust",
            "limits.nodeKeys={disktype,batch}",
            "limits.priorityClasses={low,batch}",
            "cleanupTimeout=30s",
            "consumer.nodeSelector.disk=ssd",
            "consumer.tolerations[0].key=batch",
            "consumer.extraEnv[0].name=HTTPS_PROXY",
            "consumer.podLabels.team=streams",
            "producer.podAnnotations.note=a",
        ],
        &["watchAllNamespaces=true", "operator.leaderElection=false"],
    ] {
        let objects = render(values);
        let operator = objects
            .iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "kinex-operator")
            .unwrap();
        let line = texts(&operator["spec"]["template"]["spec"]["containers"][0]["args"]);
        assert_eq!(line[0], "operator");
        let matches = Args::augment_args(clap::Command::new("operator")).try_get_matches_from(line);
        let args = matches.and_then(|matches| Args::from_arg_matches(&matches));
        let args = args.unwrap_or_else(|error| panic!("{values:?}: {error}"));
        let given = |value: &str| values.iter().any(|given| given.starts_with(value));
        assert_eq!(args.aws, given("backend=aws"));
        assert_eq!(args.endpoint_url.is_none(), given("backend=aws"));
        assert_eq!(args.all_namespaces, given("watchAllNamespaces"));
        assert_eq!(args.namespaces.len(), if given("watchNamespaces") { 2 } else { 0 });
        assert_eq!(
            args.stream_prefixes.len(),
            if given("limits.streamPrefixes") { 2 } else { 0 }
        );
        assert_eq!(
            args.allow_endpoints.len(),
            if given("limits.endpoints") { 2 } else { 0 }
        );
        let trusted = given("caBundle").then_some("trust/ca.crt");
        assert_eq!(args.ca_bundle.as_deref(), trusted);
        let named = if given("limits.nodeKeys") { 2 } else { 0 };
        assert_eq!(
            (args.allow_node_keys.len(), args.allow_priority_classes.len()),
            (named, named)
        );
        assert_eq!(args.leader_election, !given("operator.leaderElection"));
        for (pod, value) in [
            (&args.consumer_pod, "consumer.nodeSelector"),
            (&args.producer_pod, "producer.podAnnotations"),
        ] {
            assert_eq!(pod.is_some(), given(value), "{pod:?}");
        }
        Settings::resolve(args.clone(), |_| None).unwrap_or_else(|error| panic!("{values:?}: {error}"));
        for resources in [&args.consumer_resources, &args.producer_resources] {
            let resources: Value = serde_json::from_str(resources.as_deref().unwrap()).unwrap();
            assert!(resources["limits"]["memory"].is_string(), "{resources}");
        }
    }
}

/// Verbs by resource.
type Rights = BTreeMap<String, BTreeSet<String>>;

fn granted(values: &[&str]) -> Rights {
    let mut rights = Rights::new();
    let objects = render(values);
    let roles = objects
        .iter()
        .filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole");
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let verbs = rights.entry(format!("{group}/{resource}")).or_default();
                verbs.extend(texts(&rule["verbs"]));
            }
        }
    }
    rights
}

fn used(election: bool) -> Rights {
    let all = PERMISSIONS.iter().filter(|used| election || !used.leader_election);
    all.map(|used| {
        let verbs = used.verbs.iter().map(ToString::to_string).collect();
        (format!("{}/{}", used.group, used.resource), verbs)
    })
    .collect()
}

#[test]
fn the_chart_grants_what_the_operator_uses_and_nothing_more() {
    assert_eq!(granted(&[]), used(true));
    assert_eq!(granted(&["watchAllNamespaces=true"]), used(true));
    assert_eq!(granted(&["operator.leaderElection=false"]), used(false));
}
