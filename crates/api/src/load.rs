//! From text to a manifest, with every problem that there is and its place.

use std::fmt;

use kube::core::cel::Validator;
use serde::Serialize;
use serde_json::Value;

use crate::check::check;
use crate::convert::convert;
use crate::problem::Problem;
use crate::schema;
use crate::text::{Place, Text, point};
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
/// the manifest means. `file` is only for messages.
///
/// # Errors
/// Everything that is wrong, each with its field, line and column.
pub fn load(text: &str, file: &str) -> Result<KinesisExperiment, LoadError> {
    let refuse = |problems: Vec<Placed>| LoadError {
        file: file.to_owned(),
        problems,
    };
    let parsed = Text::parse(text).map_err(|error| refuse(vec![syntax(text, &error)]))?;
    understand(&parsed.value).map_err(|problems| {
        let mut placed: Vec<Placed> = problems
            .into_iter()
            .map(|problem| locate(text, &parsed, problem))
            .collect();
        placed.sort_by_key(|placed| (placed.line, placed.column));
        placed.dedup();
        refuse(placed)
    })
}

/// The manifest of a value. The rules are asked only of what has the right form, the meaning only of what keeps the rules.
fn understand(value: &Value) -> Result<KinesisExperiment, Vec<Problem>> {
    let mut problems = Vec::new();
    check_envelope(value, &mut problems);
    if problems.is_empty() {
        let mut schema = schema::manifest().clone();
        // The envelope is known to be right; what a cluster added to a manifest is not the writer's doing.
        if let Some(properties) = schema["properties"].as_object_mut() {
            for known in ["apiVersion", "kind", "metadata", "status"] {
                properties.insert(known.to_owned(), serde_json::json!({ "nullable": true }));
            }
        }
        check(&schema, value, "", &mut problems);
    }
    refuse_any(problems)?;
    refuse_any(rules_broken(value))?;
    let manifest: KinesisExperiment =
        serde_json::from_value(value.clone()).map_err(|error| vec![Problem::new("", error.to_string(), "")])?;
    convert(&manifest)?;
    Ok(manifest)
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
    let hint = "pod names are made of it: at most 40 of a-z, 0-9 and -, beginning and ending with a letter or digit";
    match value["metadata"]["name"].as_str() {
        None => problems.push(Problem::new("metadata", "`name` is missing", hint)),
        Some(name) if !is_name(name) => {
            problems.push(Problem::new(
                "metadata.name",
                format!("`{name}` is no name for an experiment"),
                hint,
            ));
        }
        Some(_) => {}
    }
}

fn is_name(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    plain && !name.is_empty() && name.len() <= 40 && !name.starts_with('-') && !name.ends_with('-')
}

/// The definition's rules, evaluated as the API server does it: with the defaults filled in.
fn rules_broken(value: &Value) -> Vec<Problem> {
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
        None if message.starts_with("multiple YAML documents") => (
            "a second manifest begins here".to_owned(),
            "give each a file of its own",
        ),
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
