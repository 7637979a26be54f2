//! The chart's README: written from `values.yaml`, one row for each value. And the notes of a release.

use std::fmt::Write;

use kinex_tidy::{read, root};
use serde_json::Value;

use crate::helm::{NAMESPACE, chart, helm};

const README: &str = "charts/kinex/README.md";
const BEGIN: &str =
    "<!-- Values: written from values.yaml. Refresh: UPDATE=1 cargo test -p kinex-tidy --test chart -->\n";
const END: &str = "<!-- End of the values -->\n";

/// A value that a user may set.
#[derive(Debug)]
struct Row {
    path: String,
    default: String,
    text: String,
}

/// The rows of a values file: a comment and the key below it, whose value is not described further down.
///
/// Block maps lead deeper by two blanks; a key with a comment is a row, whatever is below it, unless keys below it have
/// comments of their own.
fn rows(text: &str) -> Vec<Row> {
    let values: Value = serde_saphyr::from_str(text).unwrap();
    let mut rows = Vec::new();
    let mut path: Vec<&str> = Vec::new();
    let mut comment = String::new();
    // How deep the value of the last row is; lines within it are its own.
    let mut inside: Option<usize> = None;
    // The comment at the head of the file belongs to the file.
    let body = text.split_once("\n\n").unwrap().1;
    for line in body.lines() {
        let trimmed = line.trim_start();
        let depth = (line.len() - trimmed.len()) / 2;
        if let Some(words) = trimmed.strip_prefix('#') {
            inside = None;
            comment.push_str(words);
            continue;
        }
        if trimmed.is_empty() || inside.is_some_and(|row| depth > row) {
            continue;
        }
        let (key, _) = trimmed.split_once(':').unwrap_or_else(|| panic!("not a key: {line}"));
        path.truncate(depth);
        path.push(key);
        inside = None;
        if !comment.is_empty() {
            let value = path.iter().fold(&values, |value, key| &value[*key]);
            rows.push(Row {
                path: path.join("."),
                default: serde_json::to_string(value).unwrap(),
                text: std::mem::take(&mut comment).trim().to_owned(),
            });
            inside = Some(depth);
        }
    }
    rows
}

/// Paths of all values that are not maps, and of maps that are rows or empty.
fn leaves(value: &Value, path: &str, rows: &[Row], found: &mut Vec<String>) {
    match value.as_object() {
        Some(map) if !map.is_empty() && !rows.iter().any(|row| row.path == path) => {
            for (key, below) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(below, &path, rows, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_value_is_described() {
    let text = read("charts/kinex/values.yaml".as_ref());
    let rows = rows(&text);
    let mut found = Vec::new();
    leaves(&serde_saphyr::from_str(&text).unwrap(), "", &rows, &mut found);
    let mut described: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    found.sort();
    described.sort_unstable();
    assert_eq!(found, described);
}

/// Templates cannot read `values.yaml`, and a value that is null is gone from the values that they see.
#[test]
fn the_templates_have_the_values_as_they_are() {
    const COPY: &str = "charts/kinex/files/defaults.yaml";
    let text = read("charts/kinex/values.yaml".as_ref());
    let mut wanted =
        String::from("# values.yaml without its comments. Refresh: UPDATE=1 cargo test -p kinex-tidy --test chart\n");
    for line in text.lines() {
        if !line.trim_start().starts_with('#') && !line.is_empty() {
            wanted.push_str(line);
            wanted.push('\n');
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(COPY), &wanted).unwrap();
    }
    assert!(
        read(COPY.as_ref()) == wanted,
        "{COPY} is stale: UPDATE=1 cargo test -p kinex-tidy --test chart"
    );
}

#[test]
fn the_readme_has_the_values_as_they_are() {
    let mut table = String::from("\n| value | default | |\n|---|---|---|\n");
    for row in rows(&read("charts/kinex/values.yaml".as_ref())) {
        let (default, text) = (row.default.replace('|', "\\|"), row.text.replace('|', "\\|"));
        writeln!(table, "| `{}` | `{default}` | {text} |", row.path).unwrap();
    }
    table.push('\n');
    let readme = read(README.as_ref());
    let (before, rest) = readme.split_once(BEGIN).expect("the table has its beginning");
    let (_, after) = rest.split_once(END).expect("the table has its end");
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(README), &wanted).unwrap();
    }
    let readme = read(README.as_ref());
    assert!(
        readme == wanted,
        "{README} is stale: UPDATE=1 cargo test -p kinex-tidy --test chart"
    );
}

#[test]
fn the_notes_name_the_next_three_commands() {
    let chart = chart();
    let notes = |values: &[&str]| {
        let mut arguments = vec!["install", "lab", chart.to_str().unwrap(), "--namespace", NAMESPACE];
        arguments.push("--dry-run=client");
        arguments.extend(values.iter().flat_map(|value| ["--set", *value]));
        let out = helm(&arguments);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        text.rsplit_once("NOTES:\n").expect("there are notes").1.to_owned()
    };
    let said = notes(&[]);
    for command in [
        "helm test lab --namespace streams --logs",
        "kubectl --namespace streams apply -f deploy/experiments/rebalance.yaml",
        "kubectl --namespace streams get kinesisexperiments --watch",
        "http://lab-kinex-endpoint.streams.svc:4566",
    ] {
        assert!(said.contains(command), "`{command}` is not in:\n{said}");
    }
    assert!(!said.contains("AWS"), "{said}");
    assert!(root().join("deploy/experiments/rebalance.yaml").is_file());
    let said = notes(&[
        "backend=aws",
        "aws.region=eu-west-1",
        "limits.streamPrefixes={a-,b-}",
        "watchNamespaces={team-a,team-b}",
    ]);
    for words in [
        "AWS, eu-west-1",
        "lab-kinex-consumer",
        "--namespace team-a apply",
        "team-a, team-b",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
}
