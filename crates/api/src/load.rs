//! From text to a manifest, with every problem that there is and its place.

use std::fmt;

use kube::core::cel::Validator;
use serde::Serialize;
use serde_json::Value;

use crate::check::check;
use crate::convert::convert;
use crate::metadata;
use crate::problem::Problem;
use crate::schema;
use crate::text::{NotOne, Place, Text, point};
use crate::types::KinesisExperiment;

/// Why a text is no manifest: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct LoadError {
    /// Where the text comes from.
    pub file: String,
    /// What is wrong, in the order of the text.
    pub problems: Vec<Placed>,
}

/// A problem and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    /// The problem.
    #[serde(flatten)]
    pub problem: Problem,
    /// The line, counted from 1; 0 when there is none.
    pub line: u64,
    /// The column, counted from 1; 0 when there is none.
    pub column: u64,
    /// The line's text.
    pub source: String,
}

/// Reads one manifest and checks all that can be checked without a cluster: the definition's schema and rules, and what
/// the manifest means. `file` is only for messages. With `generateName` the manifest has no name yet, as at the API server.
///
/// # Errors
/// Everything that is wrong, each with its field, line and column.
pub fn load(text: &str, file: &str) -> Result<KinesisExperiment, LoadError> {
    let parsed = parse(text, file)?;
    understand(&parsed.value).map_err(|problems| {
        let mut problems: Vec<Placed> = problems
            .into_iter()
            .map(|problem| locate(text, &parsed, problem))
            .collect();
        problems.sort_by_key(|placed| (placed.line, placed.column));
        problems.dedup();
        LoadError {
            file: file.to_owned(),
            problems,
        }
    })
}

/// The one document of a text, its meaning unchecked. `file` is only for messages.
///
/// # Errors
/// When the text is not YAML, or has several documents.
pub fn document(text: &str, file: &str) -> Result<Value, LoadError> {
    Ok(parse(text, file)?.value)
}

fn parse(text: &str, file: &str) -> Result<Text, LoadError> {
    // kubectl reads the version before this one, and says so to nobody who asks for another.
    let version = text
        .lines()
        .position(|line| line.starts_with("%YAML") && !line.contains("1.1"));
    if let Some(above) = version {
        let problem = Problem::new("", "kubectl reads YAML 1.1 only", "leave the line out");
        let place = Place {
            line: above as u64 + 1,
            column: 1,
        };
        return Err(LoadError {
            file: file.to_owned(),
            problems: vec![placed(text, problem, Some(place))],
        });
    }
    Text::parse(text).map_err(|error| LoadError {
        file: file.to_owned(),
        problems: vec![match error {
            NotOne::Yaml(error) => syntax(text, &error),
            NotOne::Several(place) => {
                let problem = Problem::new("", "a second manifest begins here", "give each a file of its own");
                placed(text, problem, Some(place))
            }
        }],
    })
}

/// The manifest of a value. The rules are asked only of what has the right form, the meaning only of what keeps the rules.
fn understand(written: &Value) -> Result<KinesisExperiment, Vec<Problem>> {
    let mut problems = Vec::new();
    check_envelope(written, &mut problems);
    let mut value = written.clone();
    admit(schema::manifest(), &mut value);
    if problems.is_empty() {
        let mut schema = schema::manifest().clone();
        // The envelope is known to be right; what a cluster added to a manifest is not the writer's doing.
        if let Some(properties) = schema["properties"].as_object_mut() {
            for known in ["apiVersion", "kind", "metadata", "status"] {
                properties.insert(known.to_owned(), serde_json::json!({ "nullable": true }));
            }
        }
        check(&schema, &value, "", &mut problems);
    }
    refuse_any(problems)?;
    let mut broken = rules_broken(&value);
    let manifest: KinesisExperiment =
        serde_json::from_value(value).map_err(|error| vec![Problem::new("", error.to_string(), "")])?;
    let meant = convert(&manifest).err().unwrap_or_default();
    // Rules about times know neither the step nor the values: what is meant is said in their place.
    let better = |rule: &Problem| {
        let below = |path: &str| path == rule.path || (rule.path == "spec.steps" && path.starts_with("spec.steps["));
        !rule.path.ends_with(']') && meant.iter().any(|one| below(&one.path))
    };
    broken.retain(|rule| !better(rule));
    refuse_any(broken)?;
    refuse_any(meant)?;
    Ok(manifest)
}

/// What the API server does with a value before it judges it: a field without a value that must have one counts as not
/// written, and a whole number is one however it is written.
fn admit(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let property = |name: &str| {
                let known = schema["properties"].get(name);
                known.unwrap_or(&schema["additionalProperties"])
            };
            fields.retain(|name, value| {
                let schema = property(name);
                !(value.is_null() && schema.is_object() && schema["nullable"] != true)
            });
            for (name, value) in fields {
                admit(property(name), value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| admit(&schema["items"], item)),
        Value::Number(number) if schema["type"] == "integer" => {
            if let Some(whole) = number.as_f64().and_then(whole) {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

/// The whole number that a fraction is, within the range in which every whole number has a fraction of its own.
fn whole(fraction: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (fraction.fract() == 0.0 && fraction.abs() < EXACT).then_some(fraction as i64)
}

fn refuse_any(problems: Vec<Problem>) -> Result<(), Vec<Problem>> {
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_envelope(value: &Value, problems: &mut Vec<Problem>) {
    if !value.is_object() {
        let hint = "a manifest begins with apiVersion: kinex.dev/v1alpha1";
        return problems.push(Problem::new("", "this is no manifest", hint));
    }
    for (name, wanted) in [("apiVersion", "kinex.dev/v1alpha1"), ("kind", "KinesisExperiment")] {
        match value[name].as_str() {
            Some(found) if found == wanted => {}
            Some(found) => {
                problems.push(Problem::new(
                    name,
                    format!("`{found}` is not known"),
                    format!("write {name}: {wanted}"),
                ));
            }
            None => problems.push(Problem::new(
                "",
                format!("`{name}` is missing"),
                format!("write {name}: {wanted}"),
            )),
        }
    }
    metadata::check(&value["metadata"], problems);
}

/// The definition's rules, evaluated as the API server does it: with the defaults filled in, and a name given.
fn rules_broken(value: &Value) -> Vec<Problem> {
    let mut named = value.clone();
    if let Some(name) = metadata::generated_name(&value["metadata"]) {
        named["metadata"]["name"] = name.into();
    }
    let value = &named;
    let broken = Validator::new().validate_with_defaults(schema::manifest(), value, None);
    let Err(errors) = broken else { return Vec::new() };
    let problem = |error: kube::core::cel::ValidationError| {
        let path = error.field_path.trim_start_matches('.').to_owned();
        let hint = if path == "spec" {
            steps_of(value)
        } else {
            actions_of(value, &path)
        };
        Problem::new(path, error.message, hint)
    };
    errors.into_vec().into_iter().map(problem).collect()
}

/// Which of preset and steps there are.
fn steps_of(value: &Value) -> String {
    match (value["spec"]["preset"].is_null(), value["spec"]["steps"].is_null()) {
        (false, false) => "this one has both: remove one".to_owned(),
        (true, true) => "this one has neither: add preset: split-then-scale, or steps".to_owned(),
        _ => String::new(),
    }
}

/// What a step that breaks a rule has.
fn actions_of(value: &Value, path: &str) -> String {
    let Some(index) = path.strip_prefix("spec.steps[").and_then(|rest| rest.strip_suffix(']')) else {
        return String::new();
    };
    let Some(step) = index
        .parse::<usize>()
        .ok()
        .and_then(|at| value["spec"]["steps"][at].as_object())
    else {
        return String::new();
    };
    let actions: Vec<&str> = step
        .keys()
        .map(String::as_str)
        .filter(|key| !["name", "timeout", "onFailure"].contains(key))
        .collect();
    match actions.as_slice() {
        [] => "this one has none: add its action".to_owned(),
        actions => format!(
            "this one has {}: make it {} steps",
            actions.join(" and "),
            actions.len()
        ),
    }
}

fn locate(text: &str, parsed: &Text, problem: Problem) -> Placed {
    let place = if problem.key {
        parsed.key_at(&problem.path)
    } else {
        parsed.value_at(&problem.path)
    };
    placed(text, problem, place)
}

fn placed(text: &str, problem: Problem, place: Option<Place>) -> Placed {
    let Place { line, column } = place.unwrap_or(Place { line: 0, column: 0 });
    let source = usize::try_from(line)
        .ok()
        .and_then(|line| text.lines().nth(line.checked_sub(1)?))
        .unwrap_or_default();
    Placed {
        problem,
        line,
        column,
        source: source.to_owned(),
    }
}

fn syntax(text: &str, error: &serde_saphyr::Error) -> Placed {
    let place = error.location().map(point);
    let message = error.without_snippet().to_string();
    // The place is told once, and what the reader could be set to is of no use to a writer.
    let message = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(before, _)| before);
    let twice = message
        .strip_prefix("duplicate mapping key: ")
        .and_then(|rest| rest.split(',').next());
    let (message, hint) = match twice {
        Some(key) => (format!("`{key}` is given twice"), "remove one of them"),
        None => (message.to_owned(), "the text is not YAML as it stands"),
    };
    let problem = Problem::new("", message, hint);
    placed(text, problem, place)
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            nth,
            Placed {
                problem,
                line,
                column,
                source,
            },
        ) in self.problems.iter().enumerate()
        {
            if nth > 0 {
                f.write_str("\n")?;
            }
            if *line == 0 {
                write!(f, "{}: {problem}", self.file)?;
                continue;
            }
            let margin = " ".repeat(line.to_string().len());
            let pad = " ".repeat(usize::try_from(column.saturating_sub(1)).unwrap_or(0));
            write!(
                f,
                "{}:{line}:{column}: {problem}\n{margin} |\n{line} | {source}\n{margin} | {pad}^",
                self.file
            )?;
        }
        Ok(())
    }
}
