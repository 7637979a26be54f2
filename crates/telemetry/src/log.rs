//! Logs: on stderr, as fields, without colour codes.

use std::io;
use std::str::FromStr;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(Error::Format(other.to_owned())),
        }
    }
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the name of a format.
    #[error("`{0}` is not a log format: expected text or json")]
    Format(String),
    /// The filter cannot be read.
    #[error("the log filter `{filter}` cannot be read: {reason}; an example: info,kinex_kcl=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong.
        reason: String,
    },
    /// Somebody did it before.
    #[error("logging is already set up")]
    Twice,
}

/// Sends the logs of this process to stderr.
///
/// `filter` is a list of directives (`info,kinex_kcl=debug`); without it `RUST_LOG` counts, and without that `info`.
/// Lines of the HTTP and AWS libraries below INFO are never written, whatever the filter says: they hold the bodies of
/// requests, and so records and credentials.
///
/// # Errors
/// When the filter cannot be read, or logging is already set up.
pub fn init(filter: Option<&str>, format: Format) -> Result<(), Error> {
    let from_env = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let directives = filter
        .map(str::to_owned)
        .or(from_env)
        .unwrap_or_else(|| "info".to_owned());
    let wanted = EnvFilter::try_new(&directives).map_err(|error| Error::Filter {
        filter: directives,
        reason: error.to_string(),
    })?;
    let filter = wanted.and(filter_fn(harmless));
    let layer = match format {
        Format::Text => fmt::layer().with_writer(io::stderr).boxed(),
        Format::Json => fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
    };
    registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|_| Error::Twice)
}

/// Whether a line cannot hold the body of a request.
fn harmless(meta: &Metadata<'_>) -> bool {
    let wire = ["aws_", "hyper", "h2", "rustls", "reqwest"];
    *meta.level() <= Level::INFO || !wire.iter().any(|library| meta.target().starts_with(library))
}
