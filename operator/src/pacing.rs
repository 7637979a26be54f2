//! What was refused is not tried again at once: no write goes round in a loop. No client.

use std::time::{Duration, Instant};

/// From the first refusal to the next try.
const PAUSE: Duration = Duration::from_secs(1);
/// At most: ten tries a minute, and what is allowed again is done soon.
const PAUSE_MAX: Duration = Duration::from_secs(6);

/// The last refusal of something that is tried again and again.
#[derive(Debug)]
pub(crate) struct Pacing<T>(Option<Refusal<T>>);

#[derive(Debug)]
struct Refusal<T> {
    why: T,
    at: Instant,
    pause: Duration,
}

impl<T> Default for Pacing<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone> Pacing<T> {
    /// Why it was refused, when it is too early to try again.
    pub(crate) fn holds(&self, now: Instant) -> Option<T> {
        let refusal = self.0.as_ref()?;
        (now.saturating_duration_since(refusal.at) < refusal.pause).then(|| refusal.why.clone())
    }

    /// It was refused.
    pub(crate) fn refused(&mut self, why: T, now: Instant) {
        let before = self.0.as_ref().map(|refusal| refusal.pause);
        self.0 = Some(Refusal {
            why,
            at: now,
            pause: before.map_or(PAUSE, |pause| (pause * 2).min(PAUSE_MAX)),
        });
    }

    /// It was done, or need not be done any more.
    pub(crate) fn done(&mut self) {
        self.0 = None;
    }

    /// Whether it is long since it was refused: nobody tries it any more.
    pub(crate) fn stale(&self, now: Instant) -> bool {
        self.0
            .as_ref()
            .is_none_or(|refusal| now.saturating_duration_since(refusal.at) > PAUSE_MAX * 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_always_refused_is_tried_ten_times_a_minute_at_most() {
        let mut pacing = Pacing::default();
        let (mut tries, mut now) = ([0_u32; 2], Instant::now());
        for minute in &mut tries {
            for _ in 0..600 {
                if pacing.holds(now).is_none() {
                    pacing.refused("no", now);
                    *minute += 1;
                }
                now += Duration::from_millis(100);
            }
        }
        assert_eq!(tries, [12, 10]);
        pacing.done();
        assert_eq!(pacing.holds(now), None);
    }
}
