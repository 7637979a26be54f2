//! Whether the process still does its work, for the liveness probe: a part that stands still is helped by nothing but a new
//! process. No client.
//!
//! Every part that must go round for as long as the process lives says so each time it does. An API server or an endpoint
//! that does not answer stops none of them: their tries end, and failing is going round as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A part that has not gone round for so long stands still: each of its waits has a limit that is a third of this or less.
pub(crate) const STILL: Duration = Duration::from_secs(180);

/// The parts of the process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Watchdog(Arc<Mutex<Parts>>);

#[derive(Default)]
struct Parts {
    next: u64,
    turns: BTreeMap<u64, (String, Instant)>,
}

impl Watchdog {
    /// A part that goes round from now on, until it is dropped.
    pub(crate) fn part(&self, what: &str) -> Part {
        let mut parts = self.parts();
        let number = parts.next;
        parts.next += 1;
        parts.turns.insert(number, (what.to_owned(), Instant::now()));
        Part {
            watchdog: self.clone(),
            number,
        }
    }

    /// The part that stands still.
    pub(crate) fn stalled(&self, now: Instant) -> Option<String> {
        let parts = self.parts();
        let times = parts.turns.values();
        let mut times = times.map(|(what, at)| (what, now.saturating_duration_since(*at)));
        let (what, time) = times.find(|(_, time)| *time >= STILL)?;
        Some(format!("{what}: nothing for {} s", time.as_secs()))
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the process.
pub(crate) struct Part {
    watchdog: Watchdog,
    number: u64,
}

impl Part {
    /// It has gone round.
    pub(crate) fn turns(&self) {
        if let Some((_, at)) = self.watchdog.parts().turns.get_mut(&self.number) {
            *at = Instant::now();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.watchdog.parts().turns.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_that_stands_still_is_named_until_it_turns_or_ends() {
        let watchdog = Watchdog::default();
        let (first, second) = (watchdog.part("first"), watchdog.part("second"));
        let later = Instant::now() + STILL + Duration::from_secs(1);
        assert_eq!(watchdog.stalled(Instant::now()), None);
        let said = watchdog.stalled(later).expect("both stand still");
        assert!(said.starts_with("first: nothing for 18"), "{said}");
        drop(first);
        assert!(watchdog.stalled(later).is_some_and(|said| said.starts_with("second")));
        second.turns();
        assert_eq!(watchdog.stalled(Instant::now() + STILL / 2), None);
        drop(second);
        assert_eq!(watchdog.stalled(later), None);
    }
}
