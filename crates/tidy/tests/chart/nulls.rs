//! Values that are there without a value, as when everything below a key is commented out, and the chart as a dependency.

use std::fs;
use std::path::Path;

use kinex_tidy::{read, root};
use serde_json::{Map, Value, json};

use crate::helm::{NAMESPACE, chart, helm};

/// Paths of all maps of the values, outermost first.
fn maps(value: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    let Some(map) = value.as_object() else { return };
    found.push(path.to_vec());
    for (key, below) in map {
        let path: Vec<String> = path.iter().chain([key]).cloned().collect();
        maps(below, &path, found);
    }
}

/// A value at a path.
fn at(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |value, key| json!({ key: value }))
}

/// Renders the chart with values from a file, as Helm does for `-f`.
fn rendered(chart: &Path, values: &Path) -> String {
    let out = helm(&[
        "template",
        "lab",
        chart.to_str().unwrap(),
        "--namespace",
        NAMESPACE,
        "--values",
        values.to_str().unwrap(),
    ]);
    let text = fs::read_to_string(values).unwrap();
    assert!(out.status.success(), "{text}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_value_that_is_null_is_the_charts_own() {
    let values: Value = serde_saphyr::from_str(&read("charts/kinex/values.yaml".as_ref())).unwrap();
    let mut found = Vec::new();
    maps(&values, &[], &mut found);
    assert!(found.len() > 30, "{found:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    let render = |value: &Value| {
        fs::write(&file, value.to_string()).unwrap();
        rendered(&chart(), &file)
    };
    let untouched = render(&json!({}));
    for path in &found {
        let map = path.iter().fold(&values, |value, key| &value[key]).as_object().unwrap();
        let nothing: Map<String, Value> = map.keys().map(|key| (key.clone(), Value::Null)).collect();
        // Requests and limits are taken away with null.
        let removes = path.iter().any(|key| key == "resources");
        for value in [Value::Null, Value::Object(nothing)] {
            let given = at(path, value);
            let shown = render(&given);
            assert!(
                removes || path.is_empty() || shown == untouched || takes_away(map),
                "{given}"
            );
        }
    }
}

/// Whether what is below is taken over as it is, so that a null below it leaves it out.
fn takes_away(map: &Map<String, Value>) -> bool {
    ["resources", "securityContext", "metricsFrom"]
        .iter()
        .any(|key| map.contains_key(*key))
}

#[test]
fn the_chart_is_a_dependency_that_can_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path();
    fs::create_dir(parent.join("charts")).unwrap();
    std::os::unix::fs::symlink(root().join("charts/kinex"), parent.join("charts/kinex")).unwrap();
    fs::write(
        parent.join("Chart.yaml"),
        "{apiVersion: v2, name: parent, version: 0.0.1, dependencies: [{name: kinex, version: 0.1.0, condition: kinex.enabled}]}",
    )
    .unwrap();
    let file = parent.join("values.yaml");
    for (values, there) in [
        (json!({"kinex": {"enabled": true}}), true),
        (json!({"kinex": {"enabled": false}}), false),
        (
            json!({"kinex": {"enabled": true, "limits": null, "watchNamespaces": null}}),
            true,
        ),
        (
            json!({"kinex": {"enabled": true, "operator": {"logFilter": null}}, "tags": {"lab": true}}),
            true,
        ),
    ] {
        fs::write(&file, values.to_string()).unwrap();
        let shown = rendered(parent, &file);
        assert_eq!(shown.contains("kind: Deployment"), there, "{values}");
    }
}
