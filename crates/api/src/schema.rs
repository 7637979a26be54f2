//! The custom resource definition, as it is printed and as the API server gets it.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::types::KinesisExperiment;

/// The definition that the types give.
pub fn crd() -> CustomResourceDefinition {
    let mut definition = serde_json::to_value(KinesisExperiment::crd()).expect("a definition is JSON");
    for version in definition["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        tidy(schema);
        refuse_null(&mut schema["properties"]["spec"]);
        let conditions = &mut schema["properties"]["status"]["properties"]["conditions"];
        conditions["x-kubernetes-list-type"] = json!("map");
        conditions["x-kubernetes-list-map-keys"] = json!(["type"]);
    }
    serde_json::from_value(definition).expect("a definition stays one")
}

/// The definition as YAML, for `kubectl apply -f`.
pub fn crd_yaml() -> String {
    serde_saphyr::to_string(&crd()).expect("a definition made of maps, lists and texts is YAML")
}

/// The schema of a manifest.
pub(crate) fn manifest() -> &'static Value {
    static MANIFEST: LazyLock<Value> = LazyLock::new(|| {
        let definition = serde_json::to_value(crd()).expect("a definition is JSON");
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    });
    &MANIFEST
}

/// What a manifest says nothing about may be written without a value too. The API server then takes the field for not
/// written, as long as the schema does not allow it to hold nothing.
fn refuse_null(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("nullable");
    if let Some(choices) = fields.get_mut("enum").and_then(Value::as_array_mut) {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(refuse_null);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = fields.get_mut(below) {
            refuse_null(below);
        }
    }
}

/// Kubernetes knows the formats int32 and int64 only. What has no bound of its own (the status: its writer keeps it
/// small) gets a wide one, so that no rule and no reader meets a value without end.
fn tidy(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    match fields.get("format").and_then(Value::as_str) {
        Some("uint64") => fields.insert("format".to_owned(), json!("int64")),
        Some("uint32") => fields.insert("format".to_owned(), json!("int32")),
        _ => None,
    };
    let is = |fields: &Map<String, Value>, key: &str, value: &str| fields.get(key).is_some_and(|found| found == value);
    let bounds: &[(&str, i64)] =
        if is(fields, "type", "string") && !fields.contains_key("enum") && !fields.contains_key("format") {
            &[("maxLength", 4_096)]
        } else if is(fields, "type", "array") {
            &[("maxItems", 1_000)]
        } else if is(fields, "format", "int64") {
            &[("minimum", 0), ("maximum", 9_007_199_254_740_991)]
        } else if is(fields, "type", "integer") {
            &[("minimum", 0), ("maximum", 2_147_483_647)]
        } else if is(fields, "type", "number") {
            &[("minimum", 0), ("maximum", 1_000_000_000)]
        } else if fields.contains_key("additionalProperties") {
            &[("maxProperties", 1_000)]
        } else {
            &[]
        };
    for (bound, limit) in bounds {
        fields.entry(*bound).or_insert_with(|| json!(limit));
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(tidy);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = fields.get_mut(below) {
            tidy(below);
        }
    }
}
