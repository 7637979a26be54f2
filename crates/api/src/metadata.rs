//! What the API server asks of anybody's metadata, and the definition of an experiment's name. What a cluster fills in by
//! itself is left to it.

use serde_json::Value;

use crate::name;
use crate::problem::{Problem, nearest};

/// The fields of a manifest's metadata:
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/>.
const FIELDS: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The most characters of a label's value, of the name in its key, and of a namespace.
const LABEL_MAX: usize = 63;
/// The most characters of the domain in a key.
const DOMAIN_MAX: usize = 253;

/// All that is wrong with the metadata.
pub(crate) fn check(metadata: &Value, problems: &mut Vec<Problem>) {
    check_name(metadata, problems);
    for name in metadata.as_object().into_iter().flatten().map(|(name, _)| name) {
        if !FIELDS.contains(&name.as_str()) {
            let hint = match nearest(name, FIELDS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "labels and annotations take what you like".to_owned(),
            };
            let path = format!("metadata.{name}");
            problems.push(Problem::at_key(path, format!("unknown field `{name}`"), hint));
        }
    }
    for field in ["labels", "annotations"] {
        check_pairs(field, &metadata[field], problems);
    }
    match &metadata["namespace"] {
        Value::Null => {}
        Value::String(namespace) if is_dns_label(namespace) => {}
        Value::String(namespace) => problems.push(Problem::new(
            "metadata.namespace",
            format!("`{namespace}` is no name for a namespace"),
            "it has at most 63 of a-z, 0-9 and -, and begins and ends with a letter or digit",
        )),
        other => problems.push(not_text("metadata.namespace", other)),
    }
}

/// A name that the API server could make of `generateName`, where there is no other.
pub(crate) fn generated_name(metadata: &Value) -> Option<String> {
    let prefix = metadata["generateName"]
        .as_str()
        .filter(|_| metadata["name"].is_null())?;
    Some(format!("{prefix}{}", name::GENERATED_SUFFIX))
}

fn check_name(metadata: &Value, problems: &mut Vec<Problem>) {
    let generated = generated_name(metadata);
    let (path, written) = match &generated {
        Some(_) => ("metadata.generateName", &metadata["generateName"]),
        None => ("metadata.name", &metadata["name"]),
    };
    let shown = match written {
        Value::String(shown) => shown,
        Value::Null => return problems.push(Problem::new("metadata", "`name` is missing", name::MESSAGE)),
        other => return problems.push(not_text(path, other)),
    };
    if !name::is_valid(generated.as_ref().unwrap_or(shown)) {
        let message = format!("`{shown}` is no name for an experiment");
        problems.push(Problem::new(path, message, name::MESSAGE));
    }
}

fn check_pairs(field: &str, pairs: &Value, problems: &mut Vec<Problem>) {
    let path = format!("metadata.{field}");
    if !pairs.is_null() && !pairs.is_object() {
        return problems.push(Problem::new(path, "is not a map", "write it as key: \"value\""));
    }
    for (key, value) in pairs.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        if !is_key(key) {
            let hint = "it is NAME or DOMAIN/NAME, with at most 63 letters, digits, `-`, `_` and `.` in the name";
            problems.push(Problem::at_key(path.clone(), format!("`{key}` cannot be a key"), hint));
        }
        match value.as_str() {
            None => problems.push(not_text(&path, value)),
            Some(text) if field == "labels" && !(text.is_empty() || is_word(text)) => problems.push(Problem::new(
                path,
                format!("`{text}` cannot be the value of a label"),
                "it has at most 63 letters, digits, `-`, `_` and `.`, and begins and ends with a letter or digit",
            )),
            Some(_) => {}
        }
    }
}

fn not_text(path: &str, value: &Value) -> Problem {
    let message = format!("is `{value}`, and a text is wanted");
    Problem::new(path, message, "put it in quotes")
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => domain.len() <= DOMAIN_MAX && domain.split('.').all(is_dns_label) && is_word(name),
        None => is_word(key),
    }
}

fn is_word(text: &str) -> bool {
    has_form(text, |byte| byte.is_ascii_alphanumeric(), b"-_.")
}

fn is_dns_label(text: &str) -> bool {
    has_form(text, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), b"-")
}

/// Whether a text has the length of a label, begins and ends with such a byte, and has these others between at most.
fn has_form(text: &str, edge: impl Fn(u8) -> bool, between: &[u8]) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= LABEL_MAX
        && bytes.iter().all(|byte| edge(*byte) || between.contains(byte))
        && [bytes.first(), bytes.last()]
            .into_iter()
            .all(|byte| byte.is_some_and(|byte| edge(*byte)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(metadata: &Value, expected: &[&str]) {
        let mut problems = Vec::new();
        super::check(metadata, &mut problems);
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, expected, "{metadata}: {problems:?}");
    }

    #[test]
    fn metadata_that_the_api_server_refuses_is_refused() {
        check(
            &json!({"name": "orders", "labels": {"a.b/c": "d", "e": ""}, "annotations": {"f": "any text"}}),
            &[],
        );
        check(&json!({"generateName": "nightly-"}), &[]);
        check(
            &json!({"name": "orders", "creationTimestamp": null, "labels": null}),
            &[],
        );
        check(&json!({}), &["metadata"]);
        check(&json!({"name": 1234}), &["metadata.name"]);
        check(&json!({"generateName": "Nightly-"}), &["metadata.generateName"]);
        check(
            &json!({"generateName": "an-experiment-with-a-name-that-is-long"}),
            &["metadata.generateName"],
        );
        check(
            &json!({"name": "orders", "namespace": "Not_OK"}),
            &["metadata.namespace"],
        );
        check(
            &json!({"name": "orders", "labels": {"run": 7}}),
            &["metadata.labels.run"],
        );
        check(
            &json!({"name": "orders", "labels": {"run": "my run"}}),
            &["metadata.labels.run"],
        );
        check(
            &json!({"name": "orders", "annotations": {"-a": "b"}}),
            &["metadata.annotations.-a"],
        );
        check(&json!({"name": "orders", "label": {}}), &["metadata.label"]);
    }
}
