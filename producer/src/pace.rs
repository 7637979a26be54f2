//! How many records may be sent by now: a token bucket that is told the time.

use std::time::Duration;

use kinex_core::time::Moment;

/// What may be caught up with after a stall, in seconds of the rate; the average stays the rate.
const BURST: f64 = 0.25;

/// A token bucket: one token is one record.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    rate: f64,
    tokens: f64,
    at: Moment,
}

impl Pace {
    /// An empty bucket that fills from now on with `rate` tokens per second (0: never).
    pub(crate) fn new(rate: f64, now: Moment) -> Self {
        Self {
            rate,
            tokens: 0.0,
            at: now,
        }
    }

    /// Another rate from now on.
    pub(crate) fn set_rate(&mut self, rate: f64, now: Moment) {
        self.fill(now);
        self.rate = rate;
        self.tokens = self.tokens.min(self.capacity());
    }

    /// Whole tokens that there are.
    pub(crate) fn available(&mut self, now: Moment) -> usize {
        self.fill(now);
        self.tokens as usize
    }

    /// Takes as many as were [`available`](Self::available).
    pub(crate) fn take(&mut self, tokens: usize) {
        self.tokens = (self.tokens - tokens as f64).max(0.0);
    }

    /// When there will be a whole token; `None`: never at this rate.
    pub(crate) fn next(&self) -> Option<Moment> {
        let lacking = (1.0 - self.tokens).max(0.0);
        (self.rate > 0.0).then(|| self.at + Duration::from_secs_f64((lacking / self.rate).min(3_600.0)))
    }

    fn fill(&mut self, now: Moment) {
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * self.rate).min(self.capacity());
        self.at = self.at.max(now);
    }

    fn capacity(&self) -> f64 {
        (self.rate * BURST).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records sent in each second when the bucket is looked at every 10 ms.
    fn check(rates: &[f64], expected: &[usize]) {
        let mut pace = Pace::new(rates[0], Moment::ZERO);
        let mut sent = Vec::new();
        for (second, rate) in rates.iter().enumerate() {
            let start = Moment::millis(1_000 * second as u64);
            pace.set_rate(*rate, start);
            let mut count = 0;
            for step in 1..=100 {
                let tokens = pace.available(start + Duration::from_millis(10 * step));
                pace.take(tokens);
                count += tokens;
            }
            sent.push(count);
        }
        for (sent, expected) in sent.iter().zip(expected) {
            // Where a second begins and ends in the middle of a token.
            assert!(
                sent.abs_diff(*expected) <= 1,
                "{rates:?} sends {sent}, expected {expected}"
            );
        }
    }

    #[test]
    fn the_rate_is_held_and_may_change() {
        check(&[40.0, 40.0, 40.0], &[40, 40, 40]);
        check(&[1.0, 1_000.0, 0.0, 7.0], &[1, 1_000, 0, 7]);
        check(&[0.5, 0.5, 0.5, 0.5], &[0, 1, 0, 1]);
    }

    #[test]
    fn a_stall_is_not_caught_up_with_in_full() {
        let mut pace = Pace::new(100.0, Moment::ZERO);
        assert_eq!(pace.available(Moment::millis(60_000)), 25);
    }

    #[test]
    fn the_next_token_is_announced() {
        let mut pace = Pace::new(2.0, Moment::ZERO);
        assert_eq!(pace.next(), Some(Moment::millis(500)));
        assert_eq!(pace.available(Moment::millis(250)), 0);
        assert_eq!(pace.next(), Some(Moment::millis(500)));
        pace.set_rate(0.0, Moment::millis(300));
        assert_eq!(pace.next(), None);
    }
}
