//! Every field of the definition, one by one: each value of it is refused, or has an effect.
//!
//! The walk follows the schema, so that a new field is tried as soon as it is there. `KINEX_SEED=n` repeats one of the
//! random manifests at the end.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use kinex_api::{KinesisExperiment, convert, crd};
use kinex_core::experiment::Spec;
use kube::core::cel::Validator;
use serde_json::{Value, json};

fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let definition = serde_json::to_value(crd()).unwrap();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    });
    &SCHEMA
}

fn scheduling() -> Value {
    json!({
        "nodeSelector": { "disktype": "ssd" },
        "tolerations": [
            { "key": "batch", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60 },
            { "key": "spot", "operator": "Exists", "effect": "NoSchedule" },
        ],
        "priorityClassName": "batch",
    })
}

/// A manifest that has every field but `preset`.
fn full() -> Value {
    let named = |name: &str, action: &str, does: Value| json!({ "name": name, "timeout": "20m", "onFailure": "Continue", action: does });
    json!({
        "operatorClass": "load-tests",
        "stream": {
            "name": "orders", "endpointUrl": "http://localstack:4566", "initialShards": 20,
            "creationPolicy": "CreateIfMissing", "deletionPolicy": "Retain",
        },
        "replicas": 3,
        "consumers": {
            "scalePolicy": "Mirror", "statefulSetName": "readers", "maxLeasesPerWorker": 10,
            "processParentShardBeforeChildren": false, "strategy": "Balanced", "leaseStealingInterval": "10s",
            "capPolicy": "Cover", "capRounding": "Ceil", "renewal": "PerWorker", "failoverAfter": "10s",
            "settleFor": "1200ms", "initialPosition": "TrimHorizon", "scheduling": scheduling(),
        },
        "producer": { "recordsPerSecond": 40, "recordBytes": 256, "lanes": 64, "scheduling": scheduling() },
        "balance": { "maxImbalance": 1, "stableFor": "12s", "timeout": "6m" },
        "run": { "nonce": 1, "state": "Running", "deadline": "2h", "onFailure": "Stop", "afterwards": "StopPods" },
        "ttlSecondsAfterFinished": 86_400,
        "report": { "history": 5, "retention": "Retain" },
        "steps": [
            named("named", "split", json!({ "count": 1, "select": "ShardIds", "shardIds": ["shardId-000000000000"] })),
            named("split", "split", json!({ "count": 2, "select": "Widest", "shardIds": [] })),
            named("merge", "merge", json!({ "count": 2 })),
            named("count", "updateShardCount", json!({ "target": 24 })),
            named("scale", "scale", json!({ "replicas": 5 })),
            named("kill", "killPod", json!({
                "count": 1, "select": "MostLeases", "mode": "Delete", "witness": false, "restart": "Never",
            })),
            named("kill-later", "killPod", json!({ "count": 1, "restart": "After", "restartAfter": "20s" })),
            named("freeze", "freezePod", json!({ "count": 1, "select": "Random", "for": "30s" })),
            named("pause", "pause", json!({ "for": "5s" })),
            named("load", "producer", json!({ "recordsPerSecond": 80 })),
            named("wait", "waitUntilBalanced", json!({ "maxImbalance": 2, "maxPerWorker": 6, "stableFor": "5s" })),
            named("judge", "assert", json!({ "all": [{ "name": "even", "expr": "leases.imbalance <= 1" }] })),
        ],
    })
}

/// The field that says which operator reads a manifest, and nothing of what it means.
const WHOSE: &str = ".operatorClass";

/// The smallest manifest with a preset.
fn preset() -> Value {
    json!({ "preset": "split-then-scale", "stream": { "name": "orders" } })
}

/// What becomes of a spec: refused, or what it means.
fn taken(spec: &Value) -> Result<Spec, String> {
    let object = json!({
        "apiVersion": "kinex.dev/v1alpha1", "kind": "KinesisExperiment", "metadata": { "name": "orders" }, "spec": spec,
    });
    let problems = kinex_api::check_value(&schema()["properties"]["spec"], spec);
    if let Some(problem) = problems.first() {
        return Err(format!("{problem:?}"));
    }
    if let Err(errors) = Validator::new().validate_with_defaults(schema(), &object, None) {
        return Err(errors
            .into_vec()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "));
    }
    let manifest: KinesisExperiment = serde_json::from_value(object).map_err(|error| error.to_string())?;
    convert(&manifest).map_err(|problems| format!("{problems:?}"))
}

/// Every leaf of a value with its pointer and its path in the schema, by the same walk.
fn leaves(schema: &Value, value: &Value, pointer: String, path: String, found: &mut Vec<(String, String, Value)>) {
    match value {
        // A map is one value.
        Value::Object(fields) if schema["additionalProperties"].is_null() => {
            for (name, below) in fields {
                let schema = &schema["properties"][name];
                leaves(
                    schema,
                    below,
                    format!("{pointer}/{name}"),
                    format!("{path}.{name}"),
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (nth, below) in items.iter().enumerate() {
                leaves(
                    &schema["items"],
                    below,
                    format!("{pointer}/{nth}"),
                    format!("{path}[]"),
                    found,
                );
            }
        }
        _ => found.push((pointer, path, schema.clone())),
    }
}

/// The paths of all leaves that the schema has.
fn paths(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, below) in fields {
            paths(below, &format!("{path}.{name}"), found);
        }
    } else if schema["items"].is_object() {
        paths(&schema["items"], &format!("{path}[]"), found);
    } else {
        found.insert(path.to_owned());
    }
}

/// Other values of a leaf: those that its schema takes, and those that it must refuse.
fn others(schema: &Value, now: &Value) -> (Vec<Value>, Vec<Value>) {
    let wrong = |value: &Value| !kinex_api::check_value(schema, value).is_empty();
    let mut values = vec![
        json!(true),
        json!(false),
        json!({}),
        json!([]),
        json!("no such choice, and no span of time"),
    ];
    values.extend(schema["enum"].as_array().into_iter().flatten().cloned());
    for bound in ["minimum", "maximum"] {
        if let Some(bound) = schema[bound].as_f64() {
            values.extend([-1, 0, 1].map(|by| json!(bound as i64 + by)));
        }
    }
    values.extend(now.as_i64().map(|now| json!(now + 1)));
    values.extend(
        [
            "7s",
            "1h30m",
            "0s",
            "x",
            "other-name",
            "leases.max == 3",
            "http://other:4566",
            "shardId-000000000009",
            "",
        ]
        .map(|text| json!(text)),
    );
    if let Some(most) = schema["maxLength"].as_u64() {
        values.extend([most, most + 1].map(|length| json!("a".repeat(length as usize))));
    }
    values.retain(|value| value != now && !value.is_null());
    values.into_iter().partition(|value| !wrong(value))
}

#[test]
fn every_field_is_tried() {
    let schema = schema()["properties"]["spec"].clone();
    let (mut known, mut tried) = (BTreeSet::new(), Vec::new());
    paths(&schema, "", &mut known);
    for base in [full(), preset()] {
        leaves(&schema, &base, String::new(), String::new(), &mut tried);
    }
    let tried: BTreeSet<String> = tried.into_iter().map(|(_, path, _)| path).collect();
    assert_eq!(
        tried, known,
        "a field of the definition is missing in the manifest of this test"
    );
}

#[test]
fn every_value_of_every_field_is_refused_or_has_an_effect() {
    let schema = schema()["properties"]["spec"].clone();
    let mut effects: BTreeMap<String, u32> = BTreeMap::new();
    for base in [full(), preset()] {
        let before = taken(&base).unwrap();
        let mut found = Vec::new();
        leaves(&schema, &base, String::new(), String::new(), &mut found);
        for (pointer, path, schema) in found {
            let count = effects.entry(path.clone()).or_default();
            let (good, bad) = others(&schema, base.pointer(&pointer).unwrap());
            let with = |value: &Value| {
                let mut changed = base.clone();
                *changed.pointer_mut(&pointer).unwrap() = value.clone();
                taken(&changed)
            };
            for value in &good {
                if let Ok(after) = with(value) {
                    let same = after == before;
                    assert_eq!(same, path == WHOSE, "{path}: {value} is taken and changes nothing");
                    *count += 1;
                }
            }
            for value in &bad {
                assert!(
                    with(value).is_err(),
                    "{path}: {value} is against the schema and taken all the same"
                );
            }
            assert!(!bad.is_empty(), "{path} takes everything");
        }
    }
    let useless: Vec<&String> = effects
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(path, _)| path)
        .collect();
    assert_eq!(useless, Vec::<&String>::new(), "no other value of these is ever taken");
}

#[test]
fn a_field_that_may_be_left_out_means_something_else_then_or_the_same_as_its_default() {
    let schema = schema()["properties"]["spec"].clone();
    let base = full();
    let before = taken(&base).unwrap();
    let mut found = Vec::new();
    leaves(&schema, &base, String::new(), String::new(), &mut found);
    for (pointer, path, leaf) in found {
        let (above, name) = pointer.rsplit_once('/').unwrap();
        let mut without = base.clone();
        match without.pointer_mut(above).unwrap() {
            Value::Object(fields) => drop(fields.remove(name)),
            _ => continue,
        }
        let same_as_default = &leaf["default"] == base.pointer(&pointer).unwrap();
        match taken(&without) {
            Ok(after) => assert_eq!(after == before, same_as_default || path == WHOSE, "{path}"),
            Err(refusal) => assert!(!refusal.is_empty(), "{path}"),
        }
    }
}

/// Numbers that look random and are the same for the same seed.
fn lot(seed: &mut u64, bound: usize) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % bound
}

#[test]
fn whatever_is_written_is_refused_or_taken_and_never_a_panic() {
    let schema = schema()["properties"]["spec"].clone();
    let asked = std::env::var("KINEX_SEED")
        .ok()
        .map(|text| text.parse::<u64>().unwrap());
    let seeds = asked.map_or(0..400, |seed| seed..seed + 1);
    let (mut refused, mut accepted) = (0, 0);
    for seed in seeds {
        let mut lots = seed;
        let mut manifest = [full(), preset()][lot(&mut lots, 2)].clone();
        let mut found = Vec::new();
        leaves(&schema, &manifest, String::new(), String::new(), &mut found);
        for _ in 0..1 + lot(&mut lots, 3) {
            let (pointer, _, leaf) = &found[lot(&mut lots, found.len())];
            let (good, bad) = others(leaf, &Value::Null);
            let from = if lot(&mut lots, 8) == 0 { bad } else { good };
            if from.is_empty() {
                continue;
            }
            *manifest.pointer_mut(pointer).unwrap() = from[lot(&mut lots, from.len())].clone();
        }
        match taken(&manifest) {
            Ok(_) => accepted += 1,
            Err(refusal) => {
                assert!(!refusal.is_empty(), "KINEX_SEED={seed}");
                refused += 1;
            }
        }
    }
    assert!(
        asked.is_some() || (refused > 40 && accepted > 40),
        "{refused} refused, {accepted} accepted"
    );
}
