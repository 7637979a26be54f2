//! Keeps one hot line of code from filling the log: so many lines a second, then one that says how many are left out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Lines of one place in the code per window.
const LINES: u32 = 20;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(1);

/// Places that are watched; more than the program has.
const PLACES_MAX: usize = 10_000;

/// A format whose WARN and ERROR lines are limited per place in the code. The first line after a flood has a field
/// `suppressed` with the number of lines left out.
#[derive(Debug)]
pub(super) struct Calm<F> {
    inner: F,
    json: bool,
    places: Mutex<BTreeMap<(&'static str, u32), Window>>,
}

/// The lines of a place in its present window.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl Window {
    /// Whether a line at `now` is written, and how many before it were not.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.lines = 0;
        }
        if self.lines >= LINES {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl<F> Calm<F> {
    pub(super) fn new(inner: F, json: bool) -> Self {
        Self {
            inner,
            json,
            places: Mutex::default(),
        }
    }

    fn admit(&self, place: (&'static str, u32), now: Instant) -> Option<u64> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        let fresh = Window {
            since: now,
            lines: 0,
            suppressed: 0,
        };
        places.entry(place).or_insert(fresh).admit(now)
    }
}

impl<S, N, F> FormatEvent<S, N> for Calm<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        if *meta.level() > Level::WARN {
            return self.inner.format_event(context, writer, event);
        }
        let place = (meta.file().unwrap_or(meta.target()), meta.line().unwrap_or(0));
        match self.admit(place, Instant::now()) {
            None => Ok(()),
            Some(0) => self.inner.format_event(context, writer, event),
            Some(suppressed) => {
                let mut line = String::new();
                self.inner.format_event(context, Writer::new(&mut line), event)?;
                writer.write_str(&noted(&line, suppressed, self.json))
            }
        }
    }
}

/// The line with one more field.
fn noted(line: &str, suppressed: u64, json: bool) -> String {
    let line = line.trim_end_matches('\n');
    match line.strip_suffix('}').filter(|_| json) {
        Some(open) => format!("{open},\"suppressed\":{suppressed}}}\n"),
        None => format!("{line} suppressed={suppressed}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let calm = Calm::new((), false);
        let start = Instant::now();
        let place = ("a.rs", 1);
        let written = (0..1_000).filter(|_| calm.admit(place, start).is_some()).count();
        assert_eq!(written, LINES as usize);
        assert_eq!(calm.admit(("a.rs", 2), start), Some(0), "another place");
        let later = start + WINDOW;
        assert_eq!(calm.admit(place, later), Some(1_000 - u64::from(LINES)));
        assert_eq!(calm.admit(place, later), Some(0), "said once");
    }

    #[test]
    fn the_count_is_one_more_field() {
        assert_eq!(noted("WARN x: slow a=1\n", 7, false), "WARN x: slow a=1 suppressed=7\n");
        assert_eq!(
            noted("{\"level\":\"WARN\"}\n", 7, true),
            "{\"level\":\"WARN\",\"suppressed\":7}\n"
        );
    }
}
