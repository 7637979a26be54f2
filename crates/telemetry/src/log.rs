//! Logs: on stderr, as fields, without color codes, and without floods.

mod flood;

use std::io;
use std::str::FromStr;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::fmt::{self, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

use self::flood::Calm;

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
pub fn init(filter: Option<&str>, how: Format) -> Result<(), Error> {
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
    let layer = fmt::layer().with_writer(io::stderr);
    let layer = match how {
        Format::Text => layer.event_format(Calm::new(format(), false)).boxed(),
        Format::Json => layer
            .fmt_fields(JsonFields::new())
            .event_format(Calm::new(format().json().flatten_event(true), true))
            .boxed(),
    };
    registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|_| Error::Twice)
}

/// Whether a line cannot hold the body of a request.
fn harmless(meta: &Metadata<'_>) -> bool {
    tame(*meta.level(), meta.target())
}

fn tame(level: Level, target: &str) -> bool {
    let wire = ["aws_", "hyper", "h2", "rustls", "reqwest"];
    level <= Level::INFO || !wire.iter().any(|library| target.starts_with(library))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_never_logged_in_detail() {
        for target in [
            "aws_smithy_runtime::client::http",
            "aws_config",
            "hyper::proto::h1",
            "rustls::client",
        ] {
            assert!(!tame(Level::DEBUG, target) && !tame(Level::TRACE, target), "{target}");
            assert!(tame(Level::INFO, target) && tame(Level::ERROR, target), "{target}");
        }
        assert!(tame(Level::TRACE, "kinex_kcl::driver"));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = init(Some("info,=,x=loud"), Format::Text).unwrap_err().to_string();
        assert!(error.contains("x=loud"), "{error}");
        assert!("yaml".parse::<Format>().unwrap_err().to_string().contains("json"));
    }
}
