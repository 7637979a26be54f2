//! What the dashboards ask for.

use std::path::PathBuf;

use serde_json::Value;

use super::NAME;
use super::support::root;

/// An expression that must have an answer.
pub(super) struct Question {
    /// Which panel or alert asks.
    pub(super) place: String,
    pub(super) expr: String,
}

/// A variable that is filled from the values of a label.
pub(super) struct Variable {
    pub(super) place: String,
    pub(super) name: String,
    pub(super) metric: String,
    pub(super) label: String,
}

/// The files, in the order of their names.
pub(super) fn files() -> Vec<PathBuf> {
    let folder = root().join("charts/kinex/dashboards");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    files
}

fn boards() -> Vec<(String, Value)> {
    let read = |file: PathBuf| {
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        (file.file_name().unwrap().to_string_lossy().into_owned(), board)
    };
    files().into_iter().map(read).collect()
}

/// Every expression of every panel and annotation, with the variables filled in.
pub(super) fn questions() -> Vec<Question> {
    let mut questions = Vec::new();
    for (file, board) in boards() {
        for annotation in board["annotations"]["list"].as_array().unwrap() {
            questions.push(question(&file, annotation, &annotation["name"]));
        }
        for panel in board["panels"].as_array().unwrap() {
            if panel["type"] == "row" {
                continue;
            }
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{file}: {} asks for nothing", panel["title"]);
            questions.extend(targets.iter().map(|target| question(&file, target, &panel["title"])));
        }
    }
    questions
}

fn question(file: &str, asks: &Value, title: &Value) -> Question {
    Question {
        place: format!("{file}: {title}"),
        expr: filled(asks["expr"].as_str().unwrap()),
    }
}

/// With the values that a person would have chosen. Grafana's rate interval is four scrapes at least.
fn filled(expr: &str) -> String {
    let filled = expr
        .replace("$__rate_interval", "5s")
        .replace("$experiment", NAME)
        .replace("$application", NAME)
        .replace("$worker", ".*");
    assert!(!filled.contains('$'), "a variable that nobody fills in: {expr}");
    filled
}

/// Every variable that is filled by a query.
pub(super) fn variables() -> Vec<Variable> {
    let mut variables = Vec::new();
    for (file, board) in boards() {
        for variable in board["templating"]["list"].as_array().unwrap() {
            if variable["type"] != "query" {
                continue;
            }
            let query = filled(variable["query"]["query"].as_str().unwrap());
            let inside = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) = inside.and_then(|inside| inside.rsplit_once(", ")).unwrap();
            variables.push(Variable {
                place: format!("{file}: ${}", variable["name"]),
                name: variable["name"].as_str().unwrap().to_owned(),
                metric: metric.to_owned(),
                label: label.to_owned(),
            });
        }
    }
    variables
}
