//! Spans of time as people write them: `500ms`, `30s`, `2m`, `1h30m`.

use std::time::Duration;

/// The text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a span of time such as 500ms, 30s, 2m or 1h30m")]
pub struct NotADuration(String);

/// Reads hours, minutes, seconds and milliseconds, in this order, each at most once and as a whole number.
///
/// # Errors
/// When the text is anything else, or more than a year.
pub fn parse_duration(text: &str) -> Result<Duration, NotADuration> {
    let refused = || NotADuration(text.chars().take(40).collect());
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"hms".contains(&byte));
    if !plain {
        return Err(refused());
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    let span = span.unsigned_abs();
    if span > Duration::from_secs(10 * 366 * 24 * 3_600) {
        Err(refused())
    } else {
        Ok(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_as_people_write_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("1m500ms", 60_500),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "30", "-5s", "1.5s", "soon", "30 s", "99999999h", "PT30S", "5s2m"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}
