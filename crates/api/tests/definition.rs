//! The custom resource definition: described, bounded, its defaults sound, its rules doing what they say.

use kinex_api::{crd, crd_yaml};
use kinex_core::experiment::{
    Agreed, Condition, Created, CreatedStream, CreatedTable, LeaseSummary, Outcome, Phase, Plan, PlannedMerge,
    PlannedPod, PlannedSplit, RunSummary, Status, StepResult, StreamSummary, TimelineEntry, Timestamp, Verdict,
};
use kube::core::cel::Validator;
use serde_json::{Value, json};

fn schema() -> Value {
    let definition = serde_json::to_value(crd()).expect("a definition is JSON");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Visits every schema below this one with its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        walk(below, &format!("{path}.{name}"), visit);
    }
    for (below, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[below].is_object() {
            walk(&schema[below], &format!("{path}{mark}"), visit);
        }
    }
}

#[test]
fn every_field_is_described() {
    let mut missing = Vec::new();
    walk(&schema(), "", &mut |path, schema| {
        let inner = path.ends_with("[]") || path.ends_with("{}");
        if !inner && schema["description"].as_str().is_none_or(|text| text.len() < 5) {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, Vec::<String>::new());
}

/// The bytes of the longest value of a schema, written as JSON with one byte per character.
fn longest(schema: &Value) -> u64 {
    let choices = schema["enum"].as_array().into_iter().flatten();
    if let Some(longest) = choices.map(|choice| choice.to_string().len() as u64).max() {
        return longest;
    }
    let bound = |key: &str| schema[key].as_u64().unwrap_or_else(|| panic!("no {key}: {schema}"));
    match schema["type"].as_str().expect("every field has a type") {
        "string" => bound("maxLength") + 2,
        "array" => bound("maxItems") * (longest(&schema["items"]) + 1) + 2,
        "object" if schema["additionalProperties"].is_object() => {
            // The longest label: its rules bound key and value.
            bound("maxProperties") * (317 + 63 + 6)
        }
        "object" => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            fields
                .map(|(name, field)| name.len() as u64 + 4 + longest(field))
                .sum::<u64>()
                + 2
        }
        "boolean" => 5,
        _ => 20,
    }
}

#[test]
fn the_largest_spec_leaves_room_for_the_status_in_etcd() {
    // A request to etcd is 1.5 MiB at most (https://etcd.io/docs/v3.6/dev-guide/limit/), and a status 512 KiB.
    let spec = longest(&schema()["properties"]["spec"]);
    assert!(spec + (512 << 10) < (3 << 20) / 2, "{spec} bytes");
}

#[test]
fn everything_is_bounded() {
    let mut missing = Vec::new();
    walk(&schema(), "", &mut |path, schema| {
        let has = |key: &str| !schema[key].is_null();
        let bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum") || schema["format"] == "date-time",
            Some("array") => has("maxItems"),
            Some("integer" | "number") => has("minimum") && has("maximum"),
            Some("object") => !schema["additionalProperties"].is_object() || has("maxProperties"),
            _ => true,
        };
        if !bounded {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn no_field_may_hold_just_anything() {
    walk(&schema(), "", &mut |path, schema| {
        assert!(schema["x-kubernetes-preserve-unknown-fields"].is_null(), "{path}");
        assert!(
            path.is_empty() || schema["type"].is_string(),
            "{path} has no type: {schema}"
        );
    });
}

#[test]
fn every_default_keeps_its_own_schema() {
    walk(&schema(), "", &mut |path, schema| {
        if !schema["default"].is_null() {
            let problems = kinex_api::check_value(schema, &schema["default"]);
            assert_eq!(problems, [], "{path}");
        }
    });
}

/// Every field filled in. No field is left to a default, so that a new one cannot be forgotten here.
fn full_status() -> Status {
    let (at, id) = (Timestamp(1_795_425_403_007), || "orders-consumer-0".into());
    let stream = StreamSummary {
        status: "ACTIVE".to_owned(),
        total: 40,
        open: 30,
        closed: 10,
        newest_shard: Some("shardId-000000000039".into()),
    };
    let pod = PlannedPod {
        worker: id(),
        incarnation: "a-process".into(),
    };
    let plan = Plan {
        splits: vec![PlannedSplit {
            shard: "shardId-000000000000".into(),
            at: u128::MAX.to_string(),
            done: true,
        }],
        merges: vec![PlannedMerge {
            shard: "a".into(),
            adjacent: "b".into(),
            done: true,
        }],
        target: Some(32),
        replicas: Some(5),
        records_per_second: Some(0),
        pods: vec![pod],
        frozen_at: Some(at),
        delete_created: Some(at),
    };
    let text = || Some("six each".to_owned());
    Status {
        phase: Phase::Running,
        verdict: Verdict::Awaited,
        message: text(),
        run_nonce: Some(7),
        agreed: Some(Agreed {
            spec_hash: "0f343b0931126a20f133d67c2b018a3b".to_owned(),
            replicas: 3,
            steps: vec!["steady-1 waitUntilBalanced".to_owned()],
        }),
        step: text(),
        started_at: Some(at),
        finished_at: Some(at),
        paused_at: Some(at),
        paused_millis: 3,
        observed_generation: Some(2),
        selector: text(),
        operator: text(),
        report: text(),
        replicas: 5,
        ready_replicas: 5,
        replicas_wanted: Some(5),
        replicas_spec: Some(3),
        replicas_pending: true,
        replicas_mirror: Some(4),
        replicas_generation: 9,
        producer_rate: Some(40),
        stream: Some(stream.clone()),
        leases: Some(LeaseSummary {
            total: 40,
            active: 30,
            assigned: 30,
            unassigned: 0,
            imbalance: 0,
            cv: "0.000".to_owned(),
            by_worker: [(id(), 6)].into(),
        }),
        created: Created {
            stream: Some(CreatedStream {
                arn: "arn:aws:kinesis:eu-west-1:111122223333:stream/orders".to_owned(),
                created_at: at,
            }),
            lease_table: Some(CreatedTable {
                name: "orders".to_owned(),
                id: "3b1a2c4d-0000-4000-8000-000000000001".to_owned(),
            }),
            workers_table: None,
        },
        shards_expected: Some(40),
        setup: Some(plan.clone()),
        ends_seen: Some(at),
        readers_awaited: Some(at),
        steps: vec![StepResult {
            name: "steady-1".to_owned(),
            kind: "waitUntilBalanced".to_owned(),
            outcome: Outcome::Pass,
            started_at: Some(at),
            finished_at: Some(at),
            seconds: Some(12.5),
            convergence_seconds: Some(2.25),
            leases_per_worker: [(id(), 6)].into(),
            imbalance: Some(0),
            counted_from: Some(at),
            acted_at: Some(at),
            judged_since: Some(at),
            missing: Some(2),
            moves: Some(12),
            moves_minimum: Some(12),
            unread_seconds_max: Some(0.5),
            stream: Some(stream),
            plan: Some(plan),
            balanced_since: Some(at),
            paused_millis_before: 1,
            interference: text(),
            message: text(),
        }],
        timeline: vec![TimelineEntry {
            at,
            what: "begins".to_owned(),
            interference: true,
            open_shards: 30,
            workers: 5,
            imbalance: 0,
        }],
        conditions: vec![Condition {
            kind: "Balanced".to_owned(),
            status: "True".to_owned(),
            reason: "Even".to_owned(),
            message: String::new(),
            last_transition_time: at,
            observed_generation: Some(2),
        }],
        history: vec![RunSummary {
            nonce: 1,
            verdict: Verdict::Pass,
            started_at: Some(at),
            finished_at: Some(at),
            steps_passed: 8,
            steps_total: 8,
            message: text(),
            report: text(),
        }],
        reshard_times: vec![at],
    }
}

#[test]
fn the_server_would_take_a_full_status_and_give_it_back_whole() {
    let status = full_status();
    let value = serde_json::to_value(&status).unwrap();
    // A field that the schema does not know would be pruned.
    assert_eq!(kinex_api::check_value(&schema()["properties"]["status"], &value), []);
    assert_eq!(serde_json::from_value::<Status>(value).unwrap(), status);
}

/// Tools find a condition by its type, and the server keeps two writers from adding one of the same type.
#[test]
fn conditions_are_a_map_by_their_type() {
    let conditions = schema()["properties"]["status"]["properties"]["conditions"].clone();
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    let required = conditions["items"]["required"].as_array().unwrap();
    assert!(required.contains(&json!("type")), "{required:?}");
}

#[test]
fn preset_is_expanded_once_however_many_workers_are_wanted_later() {
    let mut manifest: kinex_api::KinesisExperiment = serde_json::from_value(json!({
        "apiVersion": "kinex.dev/v1alpha1", "kind": "KinesisExperiment", "metadata": { "name": "one" },
        "spec": { "stream": { "name": "s" }, "preset": "scale-only", "run": { "nonce": 1 } },
    }))
    .unwrap();
    let begun = kinex_api::convert(&manifest).unwrap();
    manifest.status = Some(Status {
        run_nonce: Some(1),
        agreed: Some(Agreed::of(&begun)),
        ..Status::default()
    });
    // What `kubectl scale` does, and the operator with `scalePolicy: Mirror`.
    manifest.spec.replicas += 4;
    assert_eq!(kinex_api::convert(&manifest).unwrap().steps, begun.steps);
    manifest.spec.run.nonce = 2;
    assert_ne!(kinex_api::convert(&manifest).unwrap().steps, begun.steps);
}

#[test]
fn the_committed_definition_is_the_one_of_the_types() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crd/kinesisexperiments.yaml");
    let head = "# Printed by `kinex crd`. Refresh: UPDATE=1 cargo test -p kinex-api --test definition\n";
    let wanted = format!("{head}{}", crd_yaml());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is old: UPDATE=1 cargo test -p kinex-api --test definition",
        path.display()
    );
}

fn object(phase: Option<&str>, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "kinex.dev/v1alpha1", "kind": "KinesisExperiment", "metadata": { "name": "orders" }, "spec": spec,
    });
    if let Some(phase) = phase {
        object["status"] = json!({ "phase": phase });
    }
    object
}

fn spec(stream: &str, run: Value, pause: &str) -> Value {
    json!({ "stream": { "name": stream }, "run": run, "steps": [{ "name": "rest", "pause": { "for": pause } }] })
}

/// Whether a change is refused, and with which words.
fn check_change(old: Value, new: Value, refused: Option<&str>) {
    let found = Validator::new().validate_with_defaults(&schema(), &new, Some(&old));
    let messages: Vec<String> = found
        .err()
        .map(|errors| errors.into_vec())
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    match refused {
        None => assert_eq!(messages, Vec::<String>::new()),
        Some(words) => assert!(
            messages.iter().any(|message| message.contains(words)),
            "{words}: {messages:?}"
        ),
    }
}

#[test]
fn steps_are_frozen_while_a_run_is_in_progress() {
    let (before, after) = (
        spec("s", json!({ "nonce": 1 }), "5s"),
        spec("s", json!({ "nonce": 1 }), "9s"),
    );
    let again = spec("s", json!({ "nonce": 2 }), "9s");
    for phase in ["Setup", "Running", "Paused"] {
        check_change(
            object(Some(phase), before.clone()),
            object(Some(phase), after.clone()),
            Some("frozen"),
        );
        check_change(
            object(Some(phase), before.clone()),
            object(Some(phase), again.clone()),
            None,
        );
    }
    for phase in [None, Some("Succeeded"), Some("Failed"), Some("Pending")] {
        check_change(object(phase, before.clone()), object(phase, after.clone()), None);
    }
}

#[test]
fn a_preset_is_frozen_as_steps_are() {
    let of = |preset: &str| {
        object(
            Some("Running"),
            json!({ "stream": { "name": "s" }, "preset": preset, "run": { "nonce": 1 } }),
        )
    };
    check_change(of("scale-only"), of("pod-loss"), Some("frozen"));
    check_change(of("scale-only"), of("scale-only"), None);
}

#[test]
fn what_a_verdict_rests_on_is_frozen_while_a_run_is_in_progress() {
    let with = |field: &str, value: Value| {
        let mut spec = spec("s", json!({ "nonce": 1 }), "5s");
        spec[field] = value;
        object(Some("Running"), spec)
    };
    let before = || object(Some("Running"), spec("s", json!({ "nonce": 1 }), "5s"));
    for (field, value) in [
        ("stream", json!({ "name": "s", "initialShards": 7 })),
        ("consumers", json!({ "failoverAfter": "30s" })),
        ("producer", json!({ "recordsPerSecond": 7 })),
        ("balance", json!({ "maxImbalance": 20 })),
        ("report", json!({ "history": 1 })),
    ] {
        check_change(before(), with(field, value.clone()), Some("is frozen"));
        let mut again = with(field, value);
        again["spec"]["run"]["nonce"] = json!(2);
        check_change(before(), again, None);
    }
    check_change(before(), with("replicas", json!(9)), None);
    check_change(before(), with("run", json!({ "nonce": 1, "state": "Paused" })), None);
}

#[test]
fn a_nonce_only_grows() {
    let of = |nonce: i64| object(None, spec("s", json!({ "nonce": nonce }), "5s"));
    check_change(of(2), of(1), Some("can only grow"));
    check_change(of(2), of(3), None);
}

#[test]
fn an_aborted_run_is_not_resumed() {
    let of = |nonce: i64, state: &str| object(None, spec("s", json!({ "nonce": nonce, "state": state }), "5s"));
    check_change(of(1, "Aborted"), of(1, "Running"), Some("cannot be resumed"));
    check_change(of(1, "Aborted"), of(2, "Running"), None);
    check_change(of(1, "Paused"), of(1, "Running"), None);
}

#[test]
fn what_a_run_is_tied_to_stays_as_it_is() {
    let of = |path: &str, value: Option<&str>| {
        let mut object = object(None, spec("s", json!({ "nonce": 1 }), "5s"));
        if let Some(value) = value {
            let (above, name) = path.split_once('.').unwrap();
            object["spec"][above][name] = json!(value);
        }
        object
    };
    check_change(
        of("stream.name", Some("a")),
        of("stream.name", Some("b")),
        Some("immutable"),
    );
    for (path, one, other) in [
        ("stream.endpointUrl", "http://a:1", "http://b:1"),
        ("consumers.statefulSetName", "a", "b"),
    ] {
        for (old, new, refused) in [
            (None, None, None),
            (Some(one), Some(one), None),
            (Some(one), Some(other), Some("immutable")),
            (None, Some(one), Some("immutable")),
            (Some(one), None, Some("immutable")),
        ] {
            check_change(of(path, old), of(path, new), refused);
        }
    }
}
