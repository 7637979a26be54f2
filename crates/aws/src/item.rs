//! An item of a table, read with reasons for what cannot be read.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

/// An item as the SDK gives it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// What is wrong with an item, as a person would say it.
pub(crate) type Flaw = String;

pub(crate) fn s(text: impl AsRef<str>) -> AttributeValue {
    AttributeValue::S(text.as_ref().to_owned())
}

pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A text, when there is one.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Result<Option<&'a str>, Flaw> {
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::S(text)) => Ok(Some(text)),
        Some(other) => Err(unexpected(name, "a string", other)),
    }
}

/// A text that must be there.
pub(crate) fn required_text<'a>(item: &'a Item, name: &str) -> Result<&'a str, Flaw> {
    text(item, name)?.ok_or_else(|| missing(name))
}

/// A number from 0 to 2^64 - 1, when there is one.
pub(crate) fn number(item: &Item, name: &str) -> Result<Option<u64>, Flaw> {
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::N(digits)) => {
            let value = digits.parse().map_err(|_| {
                let shown: String = digits.chars().take(40).collect();
                format!("`{name}` is {shown}; expected a whole number from 0 to {}", u64::MAX)
            })?;
            Ok(Some(value))
        }
        Some(other) => Err(unexpected(name, "a number", other)),
    }
}

/// A number that must be there.
pub(crate) fn required_number(item: &Item, name: &str) -> Result<u64, Flaw> {
    number(item, name)?.ok_or_else(|| missing(name))
}

/// A number of at most 32 bits, when there is one.
pub(crate) fn small_number(item: &Item, name: &str) -> Result<Option<u32>, Flaw> {
    let Some(value) = number(item, name)? else {
        return Ok(None);
    };
    let small = u32::try_from(value);
    small
        .map(Some)
        .map_err(|_| format!("`{name}` is {value}; expected at most {}", u32::MAX))
}

/// A flag; absent is false.
pub(crate) fn flag(item: &Item, name: &str) -> Result<bool, Flaw> {
    match item.get(name) {
        None => Ok(false),
        Some(AttributeValue::Bool(flag)) => Ok(*flag),
        Some(other) => Err(unexpected(name, "a boolean", other)),
    }
}

/// A set of texts; absent is empty, and one text is a set of one.
pub(crate) fn texts(item: &Item, name: &str) -> Result<BTreeSet<String>, Flaw> {
    match item.get(name) {
        None => Ok(BTreeSet::new()),
        Some(AttributeValue::Ss(texts)) => Ok(texts.iter().cloned().collect()),
        Some(AttributeValue::S(text)) => Ok(BTreeSet::from([text.clone()])),
        Some(other) => Err(unexpected(name, "a set of strings", other)),
    }
}

fn missing(name: &str) -> Flaw {
    format!("`{name}` is missing")
}

fn unexpected(name: &str, expected: &str, found: &AttributeValue) -> Flaw {
    let found = match found {
        AttributeValue::S(_) => "a string",
        AttributeValue::N(_) => "a number",
        AttributeValue::Bool(_) => "a boolean",
        AttributeValue::Null(_) => "null",
        AttributeValue::B(_) => "binary",
        AttributeValue::Ss(_) => "a set of strings",
        AttributeValue::Ns(_) => "a set of numbers",
        AttributeValue::Bs(_) => "a set of binaries",
        AttributeValue::L(_) => "a list",
        AttributeValue::M(_) => "a map",
        _ => "something unknown",
    };
    format!("`{name}` is {found}; expected {expected}")
}
