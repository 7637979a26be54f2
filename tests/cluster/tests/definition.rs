//! The custom resource on a real API server: what it accepts, what it refuses and how, what cannot change, what it shows.
//!
//! No operator takes part.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use kinex_cluster_tests::{Namespace, helm, install_definition, kubectl, kubectl_with, root, until};
use serde_json::Value;

const QUICK: &str = "deploy/experiments/quick.yaml";

fn namespace(name: &str) -> Namespace {
    static DEFINITION: Once = Once::new();
    DEFINITION.call_once(|| install_definition().unwrap());
    Namespace::create(name)
}

fn manifests(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    found.sort();
    found
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn the_api_server_accepts_every_manifest_for_use() {
    let namespace = namespace("accepted");
    let good = manifests("deploy/experiments");
    assert!(good.len() >= 5, "{good:?}");
    for path in good {
        let path = path.display().to_string();
        let args = ["create", "--dry-run=server", "--validate=strict", "-f", &path];
        namespace.kubectl(args).ok().unwrap();
    }
}

/// Who refuses a bad manifest.
enum By {
    /// The API server or kubectl, with this in its answer.
    Server(&'static str),
    /// The operator: an expression is only text to the API server.
    Operator,
    /// Only `kinex validate`: kubectl takes a file of several manifests apart and keeps the last of two equal keys.
    Validate,
}

/// Every file of `deploy/experiments/invalid`. What Kinex says to each is tested beside its own parser.
const BAD: &[(&str, By)] = &[
    ("another-kind", By::Server("spec.template")),
    ("bad-duration", By::Server("spec.balance.timeout: Invalid value")),
    ("bad-expression", By::Operator),
    (
        "deletes-what-must-exist",
        By::Server("a stream that must exist is not this experiment's to delete"),
    ),
    ("key-given-twice", By::Validate),
    ("long-name", By::Server("metadata.name must have 3 to 40 of a-z")),
    (
        "neither-preset-nor-steps",
        By::Server("exactly one of preset and steps"),
    ),
    ("no-action", By::Server("spec.steps[0]: Invalid value")),
    ("no-stream-name", By::Server("spec.stream.name: Required value")),
    ("no-yaml", By::Server("error converting YAML to JSON")),
    ("preset-and-steps", By::Server("exactly one of preset and steps")),
    ("same-name-twice", By::Server("spec.steps[1]: Duplicate value")),
    ("scale-to-a-billion", By::Server("should be less than or equal to 500")),
    ("scale-to-nothing", By::Server("should be greater than or equal to 1")),
    (
        "settle-above-failover",
        By::Server("settleFor must be less than failoverAfter"),
    ),
    (
        "shard-ids-without-select",
        By::Server("shardIds goes with select: ShardIds"),
    ),
    (
        "timeout-below-pause",
        By::Server("the timeout of a pause must not be less than pause.for"),
    ),
    ("too-many-splits", By::Server("should be less than or equal to 500")),
    ("two-actions", By::Server("spec.steps[1]: Invalid value")),
    ("two-documents", By::Validate),
    (
        "unknown-action",
        By::Server("unknown field \"spec.steps[0].splitShards\""),
    ),
    ("unknown-field-in-expression", By::Operator),
    ("unknown-key", By::Server("unknown field \"spec.replica\"")),
    ("unknown-preset", By::Server("spec.preset: Unsupported value")),
    ("unknown-step-in-expression", By::Operator),
    ("whole-number-against-fraction", By::Operator),
    ("wrong-type", By::Server("spec.replicas: Invalid value: \"string\"")),
];

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn the_api_server_refuses_a_bad_manifest_with_its_reason() {
    let namespace = namespace("refused");
    let files = manifests("deploy/experiments/invalid");
    let there: BTreeSet<String> = files
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let listed: BTreeSet<String> = BAD.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, listed, "the table names every bad manifest, and no other");

    let mut wrong = Vec::new();
    for ((name, by), path) in BAD.iter().zip(&files) {
        let path = path.display().to_string();
        let answer = namespace.kubectl(["create", "--dry-run=server", "--validate=strict", "-f", &path]);
        let as_wanted = match by {
            By::Server(reason) => !answer.success && answer.stderr.contains(reason),
            By::Operator | By::Validate => answer.success,
        };
        if !as_wanted {
            wrong.push(format!("{name}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Manifests written in unusual ways, as `crates/api/tests/unusual.rs` reads them.
const UNUSUAL: &str = "crates/api/tests/unusual.txt";
const HEAD: &str = "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {name: unusual}\nspec:";

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn manifest_written_in_an_unusual_way_is_accepted_or_refused_as_validate_does() {
    let namespace = namespace("unusual");
    let table = fs::read_to_string(root().join(UNUSUAL)).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for block in table.split("\n== ").skip(1) {
        let (title, text) = block.split_once('\n').unwrap();
        let lines = text.lines().map(|line| if line == "NAME" { HEAD } else { line });
        let text = lines.collect::<Vec<_>>().join("\n");
        let answer = namespace.kubectl_with(&text, ["create", "--dry-run=server", "--validate=strict", "-f", "-"]);
        if answer.success != title.ends_with(": accepted") {
            wrong.push(format!("{title}: {answer:?}"));
        }
        count += 1;
    }
    assert!(count > 25 && wrong.is_empty(), "{count}: {}", wrong.join("\n"));
}

/// Creates the small experiment and says that its run is in progress.
fn running(namespace: &Namespace) {
    namespace.kubectl(["create", "-f", QUICK]).ok().unwrap();
    namespace
        .kubectl(
            ["patch", "kex", "quick", "--subresource=status", "--type=merge"]
                .into_iter()
                .chain(["-p", r#"{"status": {"phase": "Running"}}"#]),
        )
        .ok()
        .unwrap();
}

fn patch(namespace: &Namespace, patch: &str) -> kinex_cluster_tests::Answer {
    namespace.kubectl(["patch", "kex", "quick", "--type=merge", "-p", patch])
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn the_steps_are_frozen_while_a_run_is_in_progress() {
    let namespace = namespace("frozen");
    running(&namespace);

    let other = r#"{"spec": {"steps": [{"name": "only", "pause": {"for": "1s"}}]}}"#;
    let refused = patch(&namespace, other).refused().unwrap();
    assert!(
        refused.contains("frozen while a run is in progress; raise spec.run.nonce"),
        "{refused}"
    );

    let with_nonce = r#"{"spec": {"run": {"nonce": 1}, "steps": [{"name": "only", "pause": {"for": "1s"}}]}}"#;
    patch(&namespace, with_nonce).ok().unwrap();
    assert_eq!(namespace.get("kex/quick").unwrap()["spec"]["steps"][0]["name"], "only");
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn what_cannot_change_says_so() {
    let namespace = namespace("immutable");
    running(&namespace);
    for (change, reason) in [
        (r#"{"spec": {"stream": {"name": "other"}}}"#, "stream.name is immutable"),
        (r#"{"spec": {"run": {"nonce": -1}}}"#, "spec.run.nonce"),
    ] {
        let refused = patch(&namespace, change).refused().unwrap();
        assert!(refused.contains(reason), "{refused}");
    }

    patch(&namespace, r#"{"spec": {"run": {"nonce": 7}}}"#).ok().unwrap();
    let refused = patch(&namespace, r#"{"spec": {"run": {"nonce": 6}}}"#)
        .refused()
        .unwrap();
    assert!(refused.contains("run.nonce can only grow"), "{refused}");

    patch(&namespace, r#"{"spec": {"run": {"state": "Aborted"}}}"#)
        .ok()
        .unwrap();
    let refused = patch(&namespace, r#"{"spec": {"run": {"state": "Running"}}}"#)
        .refused()
        .unwrap();
    assert!(refused.contains("an aborted run cannot be resumed"), "{refused}");
    patch(&namespace, r#"{"spec": {"run": {"state": "Running", "nonce": 8}}}"#)
        .ok()
        .unwrap();
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn kubectl_scale_changes_the_number_of_consumers() {
    let namespace = namespace("scaled");
    namespace.kubectl(["create", "-f", QUICK]).ok().unwrap();
    namespace.kubectl(["scale", "kex/quick", "--replicas=5"]).ok().unwrap();
    assert_eq!(namespace.get("kex/quick").unwrap()["spec"]["replicas"], 5);
    let refused = namespace
        .kubectl(["scale", "kex/quick", "--replicas=501"])
        .refused()
        .unwrap();
    assert!(refused.contains("less than or equal to 500"), "{refused}");
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn the_columns_show_what_stands_in_the_status() {
    let namespace = namespace("columns");
    namespace.kubectl(["create", "-f", QUICK]).ok().unwrap();
    let status = r#"{"status": {"phase": "Running", "step": "2/6 split-two", "verdict": "Awaited", "readyReplicas": 2,
        "runNonce": 0, "message": "waits",
        "stream": {"status": "ACTIVE", "totalShards": 4, "openShards": 3, "closedShards": 1},
        "leases": {"total": 6, "active": 5, "assigned": 5, "unassigned": 0, "imbalance": 1, "cv": "0.20",
            "byWorker": {"quick-consumer-0": 3, "quick-consumer-1": 2}}}}"#;
    namespace
        .kubectl([
            "patch",
            "kex",
            "quick",
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ])
        .ok()
        .unwrap();
    let table = namespace.kubectl(["get", "kex", "-o", "wide"]).ok().unwrap();
    let mut lines = table.lines().map(|line| {
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect::<Vec<_>>()
    });
    assert_eq!(
        lines.next().unwrap(),
        [
            "NAME",
            "PHASE",
            "STEP",
            "OPEN",
            "PODS",
            "LEASES",
            "IMBALANCE",
            "VERDICT",
            "AGE",
            "RUN",
            "CV",
            "MESSAGE"
        ]
    );
    let mut row = lines.next().unwrap();
    row.remove(8); // its age
    assert_eq!(
        row,
        [
            "quick",
            "Running",
            "2/6 split-two",
            "3",
            "2",
            "5",
            "1",
            "Awaited",
            "0",
            "0.20",
            "waits"
        ]
    );

    let found = namespace
        .kubectl(["get", "kex", "-o", "name", "--field-selector", "status.phase=Running"])
        .ok()
        .unwrap();
    assert_eq!(found.trim(), "kinesisexperiment.kinex.dev/quick");
    let none = namespace
        .kubectl(["get", "kex", "-o", "name", "--field-selector", "status.phase=Failed"])
        .ok()
        .unwrap();
    assert_eq!(none, "");
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn explain_has_a_sentence_about_every_field() {
    let _namespace = namespace("explained");
    let crd = kubectl(["get", "crd", "kinesisexperiments.kinex.dev", "-o", "json"])
        .json()
        .unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut paths = Vec::new();
    nested("kex", schema, &mut paths);
    assert!(paths.len() > 100, "{paths:?}");
    let silent: Vec<&String> = paths
        .iter()
        .filter(|(_, says)| says.trim().is_empty())
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "no description: {silent:#?}");

    // What a user asks first, through kubectl itself.
    for path in [
        "kex",
        "kex.spec",
        "kex.spec.steps",
        "kex.spec.steps.split",
        "kex.spec.consumers",
        "kex.status",
    ] {
        let says = kubectl(["explain", path]).ok().unwrap();
        assert!(
            says.contains("DESCRIPTION") && !says.contains("<empty>"),
            "{path}: {says}"
        );
    }
}

/// Every field below a schema, with its description.
fn nested(path: &str, schema: &Value, into: &mut Vec<(String, String)>) {
    let schema = if schema["items"].is_object() {
        &schema["items"]
    } else {
        schema
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // The API server knows these three.
        if !["kex.apiVersion", "kex.kind", "kex.metadata"].contains(&path.as_str()) {
            let says = field["description"].as_str().unwrap_or_default();
            into.push((path.clone(), says.to_owned()));
        }
        nested(&path, field, into);
    }
    if schema["additionalProperties"].is_object() {
        nested(&format!("{path}.*"), &schema["additionalProperties"], into);
    }
}

/// The policy of a release in this namespace; it is of the whole cluster, and goes with the test.
struct Policy(String);

impl Policy {
    fn apply(namespace: &str) -> Self {
        let chart = root().join("charts/kinex").display().to_string();
        let values = "limits.admission=true,limits.replicas=5,limits.shards=50,limits.recordsPerSecond=100";
        let show = ["--show-only", "templates/admission.yaml"];
        let set = ["--set", values, "--set", "limits.streamPrefixes={lab-}"];
        let template = ["template", "limited", &chart, "--namespace", namespace];
        let rendered = helm([&template[..], &set, &show].concat()).ok().unwrap();
        kubectl_with(&rendered, ["apply", "-f", "-"]).ok().unwrap();
        Self(rendered)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let _ = kubectl_with(&self.0, ["delete", "--ignore-not-found", "-f", "-"]);
    }
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn spec_beyond_the_limits_is_refused_when_it_is_written() {
    let namespace = namespace("limited");
    let pause = "steps: [{name: p, pause: {for: 1s}}]";
    let write = |name: &str, spec: &str| {
        let head = "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata";
        let manifest = format!("{head}: {{name: {name}}}\nspec: {{{spec}}}\n");
        namespace.kubectl_with(&manifest, ["create", "-f", "-"])
    };
    // From before there were limits.
    write("old", &format!("stream: {{name: other}}, {pause}")).ok().unwrap();
    let _policy = Policy::apply(namespace.name());
    let stream = "stream: {name: lab-one}";
    let refused = [
        (format!("stream: {{name: other}}, {pause}"), "must begin with lab-"),
        (format!("{stream}, replicas: 6, {pause}"), "at most 5 workers"),
        (
            format!("{stream}, steps: [{{name: s, scale: {{replicas: 6}}}}]"),
            "at most 5 workers",
        ),
        (
            format!("stream: {{name: lab-one, initialShards: 51}}, {pause}"),
            "at most 50 shards",
        ),
        (
            format!("{stream}, steps: [{{name: s, updateShardCount: {{target: 51}}}}]"),
            "at most 50 shards",
        ),
        (
            format!("{stream}, producer: {{recordsPerSecond: 101}}, {pause}"),
            "at most 100 records a second",
        ),
        (
            format!("{stream}, steps: [{{name: s, freezePod: {{for: 1s}}}}]"),
            "are not allowed here",
        ),
    ];
    // The API server takes a moment to see a policy.
    let mut probes = 0;
    until("refusal", Duration::from_secs(60), || {
        probes += 1;
        write(&format!("probe-{probes}"), &refused[0].0).refused()
    });
    for (spec, says) in &refused {
        let said = write("two", spec).refused().unwrap();
        assert!(said.contains(says), "{spec}: {said}");
    }
    write("one", &format!("{stream}, {pause}")).ok().unwrap();
    write("by-preset", &format!("{stream}, preset: scale-only"))
        .ok()
        .unwrap();
    // What is there already can still be labeled, aborted and deleted.
    namespace.kubectl(["label", "kex/old", "team=orders"]).ok().unwrap();
    let abort = r#"{"spec":{"run":{"state":"Aborted"}}}"#;
    namespace
        .kubectl(["patch", "kex/old", "--type=merge", "-p", abort])
        .ok()
        .unwrap();
    namespace.kubectl(["delete", "kex/old"]).ok().unwrap();
}
