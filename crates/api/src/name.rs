//! What an experiment may be called: one rule for the API server and for `kinex validate`.
//!
//! Tables, pods and a Service are named after an experiment, and each has bounds of its own.

/// The rule of the definition. Tables of DynamoDB have three characters at least, a Service begins with a letter, and pod
/// names are worker ids. The pattern is the one of [`is_valid`].
pub(crate) const RULE: &str = "self.metadata.name.matches('^[a-z][-a-z0-9]{1,38}[a-z0-9]$')";

/// What the rule says.
pub(crate) const MESSAGE: &str = "metadata.name must have 3 to 40 of a-z, 0-9 and -, begin with a letter, and end with a letter or digit: tables, pods and a Service are named after it";

/// What the API server puts behind `generateName`, as far as its length goes.
pub(crate) const GENERATED_SUFFIX: &str = "xxxxx";

/// Whether a name keeps the rule.
pub(crate) fn is_valid(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=40).contains(&name.len())
        && name.bytes().all(plain)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
}
