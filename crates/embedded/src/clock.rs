//! Where the endpoints take their time from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The time that the Kinesis model sees: stamps of records, expiry of iterators, rates, retention.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's wall clock. A step backwards stands still for the model until the clock has caught up.
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
