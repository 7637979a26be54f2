//! What is wrong with a manifest, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The field: `spec.steps[2].scale.replicas`. Empty: the manifest as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Whether it is the field's name that is wrong, and not its value.
    #[serde(skip)]
    pub(crate) key: bool,
}

impl Problem {
    /// Something wrong with a field's value.
    pub fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            hint: hint.into(),
            key: false,
        }
    }

    /// Something wrong with a field's name.
    pub(crate) fn at_key(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            key: true,
            ..Self::new(path, message, hint)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// The name that was probably meant: at most a third of the letters differ, whatever their case, or the one begins with
/// the other.
pub(crate) fn nearest<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let begins =
        |name: &&&str| name.len() >= 4 && (text.starts_with(**name) || name.starts_with(text) && text.len() >= 4);
    if let Some(name) = names.iter().filter(begins).max_by_key(|name| name.len()) {
        return Some(name);
    }
    let far = |name: &str| distance(&text.to_lowercase(), &name.to_lowercase());
    let best = names.iter().copied().min_by_key(|name| (far(name), *name))?;
    (far(best) <= (text.chars().count().max(best.chars().count()) / 3).max(1)).then_some(best)
}

/// How many letters have to be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let changed = corner + usize::from(letter != *other);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognized() {
        for (text, near) in [
            ("splits", Some("split")),
            ("Merge", Some("merge")),
            ("replica", Some("replicas")),
            ("colour", None),
        ] {
            assert_eq!(nearest(text, &["split", "merge", "replicas"]), near, "{text}");
        }
    }
}
