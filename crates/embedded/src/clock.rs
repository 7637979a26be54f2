//! Where the endpoints take their time from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The time that the Kinesis model sees: stamps of records, expiry of iterators, rates, retention.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's wall clock. When it is set back, time goes on for the model at the pace of the monotonic clock until
    /// the wall clock has caught up.
    #[default]
    System,
    /// A clock that only its owner moves.
    Virtual(VirtualClock),
}

impl Clock {
    /// Milliseconds since the Unix epoch.
    pub(crate) fn now_millis(&self) -> u64 {
        match self {
            Self::System => SystemTime::UNIX_EPOCH.elapsed().map_or(0, millis),
            Self::Virtual(clock) => clock.now_millis(),
        }
    }
}

/// Turns a wall clock that somebody may set back into a time that always goes on.
#[derive(Debug, Default)]
pub(crate) struct Steady(Option<(u64, Instant)>);

impl Steady {
    /// The time, given what both clocks show now: the wall clock's, unless that lies behind what has passed since the last
    /// call.
    pub(crate) fn now_millis(&mut self, wall: u64, monotonic: Instant) -> u64 {
        let (now, at) = match self.0 {
            None => (wall, monotonic),
            Some((last, at)) => {
                let passed = monotonic.saturating_duration_since(at);
                let least = last.saturating_add(millis(passed));
                if wall >= least {
                    (wall, monotonic)
                } else {
                    // Parts of a millisecond are kept for the next call.
                    let whole = Duration::from_millis(millis(passed));
                    (least, at + whole)
                }
            }
        };
        self.0 = Some((now, at));
        now
    }
}

/// A clock that stands still until it is advanced. Clones are the same clock.
#[derive(Clone)]
pub struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// A clock that shows this many milliseconds since the Unix epoch.
    pub fn at_millis(millis: u64) -> Self {
        Self(Arc::new(AtomicU64::new(millis)))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_millis(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualClock({} ms)", self.now_millis())
    }
}

/// Whole milliseconds of a duration; as many as fit.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_when_the_wall_clock_is_set_back() {
        let start = Instant::now();
        let mut steady = Steady::default();
        let mut now = |wall, passed| steady.now_millis(wall, start + Duration::from_micros(passed));
        assert_eq!(now(3_600_000, 0), 3_600_000);
        assert_eq!(now(3_600_100, 100_000), 3_600_100);
        // An hour back: two calls within a millisecond each must not lose it.
        assert_eq!(now(200, 100_600), 3_600_100);
        assert_eq!(now(200, 101_200), 3_600_101);
        assert_eq!(now(1_200, 1_100_000), 3_601_100);
        // The wall clock is right again, or ahead.
        assert_eq!(now(3_602_000, 2_000_000), 3_602_000);
        assert_eq!(now(9_000_000, 2_000_001), 9_000_000);
    }
}
