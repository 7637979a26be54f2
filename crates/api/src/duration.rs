//! A span of time as text in a manifest: `500ms`, `30s`, `2m`, `1h30m`.

use std::borrow::Cow;
use std::time::Duration;

use kinex_core::experiment::{assertion, parse_duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A span of time as it is written. [`DurationText::get`] reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationText(String);

impl DurationText {
    /// What the schema asks of the text. All digits together are less than ten years.
    pub const PATTERN: &str = "^([0-9]{1,4}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?([0-9]{1,11}ms)?$";

    /// Takes any text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The span of time.
    ///
    /// # Errors
    /// A sentence that says what a span of time looks like.
    pub fn get(&self) -> Result<Duration, String> {
        let span = parse_duration(&self.0).map_err(|error| error.to_string())?;
        if assertion::matches(Self::PATTERN, &self.0) {
            Ok(span)
        } else {
            Err(format!(
                "`{}` is longer than a span of time can be: 9999h, 999999m, 99999999s",
                self.0
            ))
        }
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 32, "pattern": Self::PATTERN })
    }
}
