//! Times for requests of a kind of which an account may make only so many: one after the other, whoever asks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Deals out times, each this long behind the one before.
#[derive(Debug)]
pub(crate) struct Slots {
    every: Duration,
    /// How many may be due at once after a pause.
    burst: u32,
    last: Mutex<Option<Instant>>,
}

impl Slots {
    /// `burst` at once, and then one in each `every`.
    pub(crate) fn new(every: Duration, burst: u32) -> Self {
        Self {
            every,
            burst,
            last: Mutex::new(None),
        }
    }

    /// The next free time, `now` at the earliest. It is the caller's, used or not.
    pub(crate) fn take(&self, now: Instant) -> Instant {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = self.every * self.burst.saturating_sub(1);
        let earliest = now.checked_sub(saved).unwrap_or(now);
        let slot = last.map_or(earliest, |last| earliest.max(last + self.every));
        *last = Some(slot);
        slot.max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dealt_out_one_after_the_other() {
        let slots = Slots::new(Duration::from_millis(200), 3);
        let start = Instant::now() + Duration::from_secs(60);
        let mut take = |at: u64| {
            let now = start + Duration::from_millis(at);
            (slots.take(now) - start).as_millis()
        };
        // Three at once, then one in each 200 ms; a pause saves three again and no more.
        assert_eq!([0, 0, 0, 0, 0].map(&mut take), [0, 0, 0, 200, 400]);
        assert_eq!(
            [500, 5_000, 5_000, 5_000, 5_000].map(&mut take),
            [600, 5_000, 5_000, 5_000, 5_200]
        );
    }
}
