//! The time of a service, by what its responses say.
//!
//! This machine's clock may be minutes off, and a position in time that is off loses records. Each response carries the
//! time at which it was made, in whole seconds; what has passed since it came is measured by a clock that nobody sets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// The machine that made a response and the one that stamps a record may differ a little.
const MARGIN: Duration = Duration::from_secs(1);

/// The last time that a service told; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceClock(Arc<Mutex<Option<(i64, Instant)>>>);

impl ServiceClock {
    /// Takes in the header `Date` of a response that has just come.
    pub(crate) fn note(&self, date: Option<&str>) {
        let Some(date) = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok()) else {
            return;
        };
        let Ok(millis) = date.to_millis() else { return };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((millis, Instant::now()));
    }

    /// Milliseconds since 1970 that have certainly passed at the service; `None` before it told the time.
    pub(crate) fn at_least_millis(&self, now: Instant) -> Option<i64> {
        let (millis, at) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = i64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(0);
        Some(millis + passed - i64::try_from(MARGIN.as_millis()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_the_last_response_and_stays_a_margin_behind() {
        let clock = ServiceClock::default();
        assert_eq!(clock.at_least_millis(Instant::now()), None);
        clock.note(Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        let noted = Instant::now();
        let later = clock.at_least_millis(noted + Duration::from_secs(60)).expect("a time");
        // 08:50:37, less the margin of a second. However slow the machine is, no second minute has passed.
        assert!((784_111_836_000..784_111_896_000).contains(&later), "{later}");
    }

    #[test]
    fn a_date_that_is_none_changes_nothing() {
        let clock = ServiceClock::default();
        clock.note(Some("tomorrow"));
        clock.note(None);
        assert_eq!(clock.at_least_millis(Instant::now()), None);
    }
}
