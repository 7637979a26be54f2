//! What the API server's schema asks for, checked without an API server: fields, types, bounds, choices, patterns.
//!
//! It knows the keywords that a structural schema of this crate uses; a test fails when the definition uses another.

use serde_json::Value;

use crate::duration::DurationText;
use crate::problem::{Problem, nearest};
use crate::text::field;

/// The keywords that are checked here, and those that ask for nothing.
#[cfg(test)]
const KEYWORDS: &[&str] = &[
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-validations",
];

/// All that is wrong with the value at `path`.
pub(crate) fn check(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let mut add = |message: String, hint: String| problems.push(Problem::new(path, message, hint));
    if value.is_null() {
        if schema["nullable"] != true {
            add("has no value".to_owned(), "give one, or leave the field out".to_owned());
        }
        return;
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let names: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        let hint = match value.as_str().and_then(|text| nearest(text, &names)) {
            Some(near) => format!("did you mean `{near}`? There are {}", names.join(", ")),
            None => format!("there are {}", names.join(", ")),
        };
        return add(format!("`{}` is not a choice", show(value)), hint);
    }
    let wanted = schema["type"].as_str().unwrap_or_default();
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !fits {
        return add(
            format!("is {}, and {} is wanted", describe(value), article(wanted)),
            String::new(),
        );
    }
    match value {
        Value::Number(_) => check_number(schema, value, path, problems),
        Value::String(text) => check_text(schema, text, path, problems),
        Value::Array(items) => check_list(schema, items, path, problems),
        Value::Object(fields) => check_object(schema, fields, path, problems),
        Value::Null | Value::Bool(_) => {}
    }
}

fn check_number(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    let number = value.as_f64().unwrap_or(f64::NAN);
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    let below = least.is_some_and(|least| number < least);
    let above = most.is_some_and(|most| number > most);
    if below || above {
        let hint = match (least, most) {
            (Some(least), Some(most)) => format!("give {least} to {most}"),
            (Some(least), None) => format!("give {least} or more"),
            (None, Some(most)) => format!("give {most} or less"),
            (None, None) => String::new(),
        };
        let what = if below { "small" } else { "large" };
        problems.push(Problem::new(path, format!("{value} is too {what}"), hint));
    }
}

fn check_text(schema: &Value, text: &str, path: &str, problems: &mut Vec<Problem>) {
    let mut add = |message: String, hint: &str| problems.push(Problem::new(path, message, hint));
    let length = text.chars().count() as u64;
    let pattern = schema["pattern"].as_str();
    if pattern == Some(DurationText::PATTERN) {
        if let Err(message) = DurationText::new(text).get() {
            add(
                message,
                "write hours, minutes, seconds and milliseconds as whole numbers, in this order",
            );
        }
    } else if schema["minLength"].as_u64().is_some_and(|least| length < least) {
        add("is empty".to_owned(), "give a text");
    } else if let Some(most) = schema["maxLength"].as_u64().filter(|&most| length > most) {
        add(
            format!("has {length} characters"),
            &format!("at most {most} are allowed"),
        );
    } else if let Some(pattern) = pattern.filter(|pattern| !matches(pattern, text)) {
        let hint = format!("it has to match {pattern}");
        add(format!("`{text}` is not a name that can be used here"), &hint);
    }
}

fn check_list(schema: &Value, items: &[Value], path: &str, problems: &mut Vec<Problem>) {
    let count = items.len() as u64;
    if let Some(most) = schema["maxItems"].as_u64().filter(|&most| count > most) {
        problems.push(Problem::new(
            path,
            format!("has {count} entries"),
            format!("at most {most} are allowed"),
        ));
    }
    if let Some(least) = schema["minItems"].as_u64().filter(|&least| count < least) {
        problems.push(Problem::new(
            path,
            format!("has {count} entries"),
            format!("at least {least} are needed"),
        ));
    }
    for (at, item) in items.iter().enumerate() {
        check(&schema["items"], item, &format!("{path}[{at}]"), problems);
    }
    for key in schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        for (at, item) in items.iter().enumerate() {
            let first = items.iter().position(|other| other[key] == item[key]);
            if first.is_some_and(|first| first < at) && !item[key].is_null() {
                let message = format!("`{}` is the {key} of two entries", show(&item[key]));
                problems.push(Problem::new(
                    format!("{path}[{at}].{key}"),
                    message,
                    "give each its own",
                ));
            }
        }
    }
}

fn check_object(schema: &Value, fields: &serde_json::Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(name) {
            let means = schema["properties"][name]["description"].as_str().unwrap_or_default();
            problems.push(Problem::new(
                path,
                format!("`{name}` is missing"),
                format!("add it: {means}"),
            ));
        }
    }
    for (name, value) in fields {
        let below = field(path, name);
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => check(schema, value, &below, problems),
            (None, _) => {
                let known: Vec<&str> = schema["properties"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.as_str())
                    .collect();
                if known.is_empty() {
                    continue;
                }
                let hint = match nearest(name, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                problems.push(Problem::at_key(below, format!("unknown field `{name}`"), hint));
            }
        }
    }
}

/// The patterns of this crate are a character class with bounds; the expression language evaluates them.
fn matches(pattern: &str, text: &str) -> bool {
    kinex_core::experiment::assertion::matches(pattern, text)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(truth) => format!("`{truth}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{text}`"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

fn article(wanted: &str) -> &str {
    match wanted {
        "object" => "a map",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        other => other,
    }
}

fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(schema: &Value, found: &mut Vec<String>) {
        for (keyword, below) in schema.as_object().into_iter().flatten() {
            match keyword.as_str() {
                keyword if !KEYWORDS.contains(&keyword) => found.push(keyword.to_owned()),
                "properties" => below
                    .as_object()
                    .into_iter()
                    .flatten()
                    .for_each(|(_, below)| unknown(below, found)),
                "items" | "additionalProperties" => unknown(below, found),
                _ => {}
            }
        }
    }

    #[test]
    fn every_keyword_of_the_definition_is_checked() {
        let mut found = Vec::new();
        unknown(crate::schema::manifest(), &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
