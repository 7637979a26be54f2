//! A line of limited bandwidth: bytes go through it one after the other.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A line; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    bps: NonZeroU64,
    /// When what was sent so far is through.
    free: Arc<Mutex<Option<Instant>>>,
}

impl Line {
    pub(crate) fn new(bps: NonZeroU64) -> Self {
        let free = Arc::default();
        Self { bps, free }
    }

    pub(crate) const fn bps(&self) -> u64 {
        self.bps.get()
    }

    /// Sends bytes that are there since `from`; returns when they are through.
    pub(crate) fn send(&self, bytes: usize, from: Instant) -> Instant {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bps.get());
        let lasts = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let start = free.map_or(from, |free| free.max(from));
        // A line so slow that its end has no time is as good as one of a year.
        let through = start
            .checked_add(lasts)
            .unwrap_or(start + Duration::from_secs(31_536_000));
        *free = Some(through);
        through
    }
}

/// The lines of one connection, by the id of their rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Arc<Mutex<BTreeMap<u64, Line>>>);

impl Lines {
    /// The line of a rule.
    pub(crate) fn of(&self, rule: u64, bps: NonZeroU64) -> Line {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.entry(rule).or_insert_with(|| Line::new(bps)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_queue_behind_each_other_at_the_rate_of_the_line() {
        let line = Line::new(NonZeroU64::new(1_000).unwrap());
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(line.send(500, start), after(500));
        assert_eq!(line.clone().send(500, start), after(1_000));
        assert_eq!(line.send(100, after(5_000)), after(5_100));
    }

    #[test]
    fn an_endless_transfer_has_an_end() {
        let line = Line::new(NonZeroU64::MIN);
        let start = Instant::now();
        assert!(line.send(usize::MAX, start) > start);
        assert!(line.send(usize::MAX, start) > start);
    }
}
