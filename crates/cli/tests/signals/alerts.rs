//! The alerts, and the tests that they have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::dashboards::Question;
use super::support::root;

/// The rules.
pub(super) const FILE: &str = "charts/kinex/alerts/kinex.yaml";

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

/// A rule.
#[derive(Deserialize)]
pub(super) struct Alert {
    alert: String,
    expr: String,
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    alertname: String,
    exp_alerts: Vec<serde_json::Value>,
}

/// Every alert.
pub(super) fn all() -> Vec<Alert> {
    let text = std::fs::read_to_string(root().join(FILE)).unwrap();
    let rules: Rules = serde_saphyr::from_str(&text).unwrap();
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// The files of their tests.
pub(super) fn tests() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("tests/alerts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// promtool plays the cases; this sees to it that there are some, of both kinds, for every alert.
pub(super) fn each_is_tested_firing_and_not_firing() {
    let mut cases: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for file in tests() {
        let tests: Tests = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        for case in tests.tests.into_iter().flat_map(|test| test.alert_rule_test) {
            let (fires, quiet) = cases.entry(case.alertname).or_default();
            *if case.exp_alerts.is_empty() { quiet } else { fires } += 1;
        }
    }
    for Alert { alert, .. } in all() {
        let (fires, quiet) = cases.remove(&alert).unwrap_or_default();
        assert!(fires > 0 && quiet > 0, "{alert}: {fires} cases fire, {quiet} do not");
    }
    assert!(cases.is_empty(), "tests of alerts that are not there: {cases:?}");
}

/// What every alert looks at. An alert that does not fire gives nothing, so its comparisons are asked for their truth
/// (0 or 1), which is nothing only where there is nothing to compare.
pub(super) fn questions() -> Vec<Question> {
    let ask = |Alert { alert, expr }: Alert| Question {
        place: format!("alert {alert}"),
        expr: truth(&expr),
    };
    all().into_iter().map(ask).collect()
}

fn truth(expr: &str) -> String {
    if let Some(inside) = expr
        .trim()
        .strip_prefix("absent(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        return inside.to_owned();
    }
    let mut words: Vec<&str> = Vec::new();
    let mut compared = false;
    for word in expr.split_whitespace() {
        words.push(word);
        if matches!(word, ">" | "<" | ">=" | "<=" | "==" | "!=") {
            words.push("bool");
            compared = true;
        }
    }
    assert!(compared, "{expr}: write the comparison with spaces around it");
    words.join(" ")
}
