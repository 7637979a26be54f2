//! Assertions: CEL over what is known of a run. Checked when a manifest is accepted, evaluated when their step comes.

mod facts;
mod fields;
mod paths;

use cel::{ExecutionError, Program, Value};

pub use facts::Facts;
pub use fields::{FIELDS, Field, Kind, STEP_FIELDS, documented};

/// Why an expression cannot be an assertion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no CEL.
    #[error("column {column}: {message} in `{expr}`")]
    Syntax {
        /// The expression.
        expr: String,
        /// Where, counted from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// It names something that there is not.
    #[error("column {column}: there is no `{name}` in `{expr}`")]
    Unknown {
        /// The expression.
        expr: String,
        /// Where, counted from 1.
        column: usize,
        /// What it names.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It names a step that does not come before it.
    #[error("column {column}: no step `{name}` comes before this one in `{expr}`")]
    UnknownStep {
        /// The expression.
        expr: String,
        /// Where, counted from 1.
        column: usize,
        /// The step's name.
        name: String,
        /// The steps that do.
        known: Vec<String>,
    },
    /// It compares what never compares as meant.
    #[error("column {column}: {message} in `{expr}`")]
    Types {
        /// The expression.
        expr: String,
        /// Where, counted from 1.
        column: usize,
        /// What is wrong.
        message: String,
        /// What to write.
        hint: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Syntax { .. } => {
                "write a CEL expression that is true or false, such as records.missing == 0".to_owned()
            }
            Self::Unknown { known, .. } => format!("known here: {}", known.join(", ")),
            Self::UnknownStep { known, .. } if known.is_empty() => "no step comes before this one".to_owned(),
            Self::UnknownStep { known, .. } => format!("steps before this one: {}", known.join(", ")),
            Self::Types { hint, .. } => hint.clone(),
        }
    }
}

/// Checks an expression before anything runs. `before` are the names of the steps that come before the assertion's.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(expr: &str, before: &[&str]) -> Result<(), Error> {
    let program = compile(expr)?;
    paths::check(expr, program.expression(), before)?;
    try_out(expr, &program, before)
}

/// Whether the assertion holds.
///
/// # Errors
/// One sentence with the expression and the values of what it names, when it does not hold or cannot be evaluated.
pub fn evaluate(expr: &str, facts: &Facts) -> Result<(), String> {
    let program = compile(expr).map_err(|error| error.to_string())?;
    let verdict = match program.execute(&facts.context()) {
        Ok(Value::Bool(true)) => return Ok(()),
        Ok(Value::Bool(false)) => "is false".to_owned(),
        Ok(other) => format!("is neither true nor false but {:?}", other.type_of()),
        Err(ExecutionError::NoSuchKey(key)) => format!("cannot be judged: there is no `{key}` yet"),
        Err(error) => format!("cannot be judged: {error}"),
    };
    let values = paths::named(program.expression()).into_iter().map(|path| {
        let value = facts.show(&path).unwrap_or_else(|| "not known".to_owned());
        format!("{path} = {value}")
    });
    let values: Vec<String> = values.collect();
    Err(if values.is_empty() {
        format!("`{expr}` {verdict}")
    } else {
        format!("`{expr}` {verdict}; {}", values.join(", "))
    })
}

/// Whether an expression is about the delivery of records.
pub(super) fn names_records(expr: &str) -> bool {
    compile(expr).is_ok_and(|program| paths::about_records(program.expression()))
}

/// Whether a text matches a pattern, as the expression language has it.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut context = cel::Context::default();
    context.add_variable_from_value("pattern", pattern);
    context.add_variable_from_value("text", text);
    let program = Program::compile("text.matches(pattern)").expect("a fixed expression compiles");
    program.execute(&context) == Ok(Value::Bool(true))
}

fn compile(expr: &str) -> Result<Program, Error> {
    Program::compile(expr).map_err(|errors| {
        let first = errors.errors.first();
        Error::Syntax {
            expr: expr.to_owned(),
            column: first
                .and_then(|error| usize::try_from(error.pos.1).ok())
                .unwrap_or(1)
                .max(1),
            message: first.map_or_else(|| "not an expression".to_owned(), |error| said(&error.msg)),
        }
    })
}

/// The parser's words without the list of everything that could have stood there.
fn said(message: &str) -> String {
    let short = message
        .split(" expecting ")
        .next()
        .unwrap_or(message)
        .replace('\n', " ");
    if short.contains("'<EOF>'") {
        "the expression ends too early".to_owned()
    } else {
        short
    }
}

/// Evaluates against made-up facts, to find what no look at the names can: wrong types.
fn try_out(expr: &str, program: &Program, before: &[&str]) -> Result<(), Error> {
    let types = |message: String, hint: &str| {
        Err(Error::Types {
            expr: expr.to_owned(),
            column: 1,
            message,
            hint: hint.to_owned(),
        })
    };
    match program.execute(&Facts::sample(before).context()) {
        Ok(Value::Bool(_)) => Ok(()),
        Ok(other) => types(
            format!("the result is {:?}, neither true nor false", other.type_of()),
            "compare it with something",
        ),
        Err(
            ExecutionError::NoSuchKey(_)
            | ExecutionError::IndexOutOfBounds(_)
            | ExecutionError::DivisionByZero(_)
            | ExecutionError::RemainderByZero(_),
        ) => Ok(()),
        Err(error) => types(
            error.to_string(),
            "whole numbers are written 5, numbers with a fraction 5.0",
        ),
    }
}

#[cfg(test)]
mod tests;
