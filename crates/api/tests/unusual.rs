//! Manifests written in unusual ways, and names of every kind: `kinex validate` says what the definition says.
//!
//! The table of manifests is held against a real API server too, in `tests/cluster/tests/definition.rs`.

use kinex_api::{crd, load};
use kube::core::cel::Validator;
use serde_json::{Value, json};

const TABLE: &str = include_str!("unusual.txt");
const HEAD: &str = "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {name: unusual}\nspec:";

/// Each manifest of the table: what it is, whether it is accepted, its text.
fn table() -> Vec<(&'static str, bool, String)> {
    let blocks = TABLE.split("\n== ").skip(1);
    let cases = blocks.map(|block| {
        let (title, text) = block.split_once('\n').expect("a title and a text");
        let (what, verdict) = title.rsplit_once(": ").expect("a verdict");
        assert!(["accepted", "refused"].contains(&verdict), "{title}");
        let text = text.lines().map(|line| if line == "NAME" { HEAD } else { line });
        let text = text.collect::<Vec<_>>().join("\n");
        (what, verdict == "accepted", text)
    });
    cases.collect()
}

#[test]
fn manifest_written_in_an_unusual_way_is_read_as_the_api_server_reads_it() {
    let table = table();
    assert!(table.len() > 25);
    for (what, accepted, text) in table {
        let loaded = load(&text, "text");
        assert_eq!(loaded.is_ok(), accepted, "{what}: {loaded:?}\n{text}");
    }
}

#[test]
fn number_that_is_whole_has_its_value_however_it_is_written() {
    for (written, replicas) in [
        ("2.0", 2),
        ("2e0", 2),
        ("010", 8),
        ("0o10", 8),
        ("0x2", 2),
        ("1_0", 10),
        ("null", 3),
    ] {
        let text = format!("{HEAD}\n  preset: split-only\n  stream: {{name: orders}}\n  replicas: {written}\n");
        let manifest = load(&text, "text").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(manifest.spec.replicas, replicas, "{written}");
    }
}

/// Every text of up to three of these bytes, and longer ones at the bounds.
fn names() -> Vec<String> {
    const BYTES: [&str; 6] = ["a", "7", "-", ".", "A", "_"];
    let mut names = vec![String::new()];
    let mut last = names.clone();
    for _ in 0..3 {
        last = last
            .iter()
            .flat_map(|name| BYTES.map(|byte| format!("{name}{byte}")))
            .collect();
        names.extend(last.iter().cloned());
    }
    let long = [39, 40, 41].map(|length| "a".repeat(length));
    let odd = [
        "a-workers",
        "workers",
        "a-workers-b",
        "a-worker",
        "a.workers",
        "größe",
        "a b",
        "a\nb",
    ];
    names.extend(long.into_iter().chain(odd.map(str::to_owned)));
    names
}

#[test]
fn name_is_refused_by_the_definition_and_by_validate_alike() {
    let definition = serde_json::to_value(crd()).expect("a definition is JSON");
    let schema: &Value = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let (mut accepted, mut refused) = (0, 0);
    for name in names() {
        let manifest = json!({
            "apiVersion": "kinex.dev/v1alpha1", "kind": "KinesisExperiment", "metadata": {"name": name},
            "spec": {"preset": "split-only", "stream": {"name": "orders"}},
        });
        let by_rules = Validator::new().validate_with_defaults(schema, &manifest, None);
        let by_validate = load(&manifest.to_string(), "text");
        assert_eq!(
            by_validate.is_ok(),
            by_rules.is_ok(),
            "`{name}`: {by_validate:?} {by_rules:?}"
        );
        // What is accepted can name what is named after it.
        if by_validate.is_ok() {
            accepted += 1;
            assert_eq!(kinex_core::application::check(&name), Ok(()), "{name}");
        } else {
            refused += 1;
        }
    }
    assert!(accepted > 5 && refused > 100, "{accepted} {refused}");
}
