//! From text to a manifest.

use crate::types::KinesisExperiment;

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {message}")]
pub struct LoadError {
    /// Where the text comes from.
    pub file: String,
    /// What is wrong with it, with line and column.
    pub message: String,
}

/// Reads one manifest; `file` is only for messages.
///
/// # Errors
/// When the text is no YAML or no manifest.
pub fn load(text: &str, file: &str) -> Result<KinesisExperiment, LoadError> {
    serde_saphyr::from_str(text).map_err(|error| LoadError {
        file: file.to_owned(),
        message: error.to_string(),
    })
}
