//! How fast one shard may be read: calls and bytes per second. Pure: the time comes in.

use std::time::Duration;

use kinex_core::time::Moment;

/// Two token buckets that hold one second's worth each.
///
/// Bytes are paid after the read, when their number is known. The bucket may then be in debt, and the next read waits
/// until it is paid off; that is how Kinesis itself counts.
#[derive(Debug)]
pub(crate) struct Bucket {
    calls: Tokens,
    bytes: Tokens,
}

impl Bucket {
    pub(crate) fn new(calls_per_second: u32, bytes_per_second: u32, now: Moment) -> Self {
        Self {
            calls: Tokens::full(calls_per_second, now),
            bytes: Tokens::full(bytes_per_second, now),
        }
    }

    /// How long to wait before the next call; zero: call now.
    pub(crate) fn wait(&mut self, now: Moment) -> Duration {
        self.calls.until(1.0, now).max(self.bytes.until(0.0, now))
    }

    /// A call is made now.
    pub(crate) fn called(&mut self, now: Moment) {
        self.calls.pay(1.0, now);
    }

    /// A call that was made at `called` brought this many bytes. They count from then on, however long they took to come.
    pub(crate) fn received(&mut self, bytes: usize, called: Moment) {
        self.bytes.pay(bytes as f64, called);
    }

    /// Other readers of the shard use its quota: nothing is left of this second.
    pub(crate) fn throttled(&mut self, now: Moment) {
        self.calls.refill(now);
        self.calls.level = self.calls.level.min(0.0);
    }
}

#[derive(Debug)]
struct Tokens {
    per_second: f64,
    level: f64,
    at: Moment,
}

impl Tokens {
    fn full(per_second: u32, now: Moment) -> Self {
        Self {
            per_second: f64::from(per_second),
            level: f64::from(per_second),
            at: now,
        }
    }

    fn refill(&mut self, now: Moment) {
        let earned = now.since(self.at).as_secs_f64() * self.per_second;
        self.level = (self.level + earned).min(self.per_second);
        self.at = self.at.max(now);
    }

    fn until(&mut self, wanted: f64, now: Moment) -> Duration {
        self.refill(now);
        let missing = (wanted - self.level).max(0.0);
        // Rounded up, so that who waits this long finds the tokens there.
        Duration::from_nanos((missing / self.per_second * 1e9).ceil() as u64)
    }

    fn pay(&mut self, tokens: f64, now: Moment) {
        self.refill(now);
        self.level -= tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls as fast as allowed, each with as many bytes, and says when each call was made, in milliseconds.
    fn check(calls: u32, bytes_per_second: u32, each: usize, expected: &[u64]) {
        let mut now = Moment::millis(1_000);
        let mut bucket = Bucket::new(calls, bytes_per_second, now);
        let mut found = Vec::new();
        for _ in expected {
            let wait = bucket.wait(now);
            now = now + wait;
            assert!(
                bucket.wait(now) <= Duration::from_nanos(2),
                "who waited long enough may call"
            );
            found.push(now.since(Moment::millis(1_000)).as_millis() as u64);
            bucket.called(now);
            bucket.received(each, now);
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn five_calls_go_at_once_and_then_one_each_fifth_of_a_second() {
        check(5, 2_000_000, 0, &[0, 0, 0, 0, 0, 200, 400, 600]);
    }

    #[test]
    fn a_read_of_ten_megabytes_is_paid_off_before_the_next() {
        check(5, 2_000_000, 10_000_000, &[0, 4_000, 9_000, 14_000]);
    }

    #[test]
    fn what_is_saved_up_is_one_second_at_most() {
        let mut bucket = Bucket::new(5, 100, Moment::ZERO);
        let later = Moment::millis(3_600_000);
        for _ in 0..5 {
            assert_eq!(bucket.wait(later), Duration::ZERO);
            bucket.called(later);
        }
        assert_eq!(bucket.wait(later), Duration::from_millis(200));
    }

    #[test]
    fn the_time_that_a_read_takes_pays_off_its_bytes() {
        let called = Moment::millis(1_000);
        let mut bucket = Bucket::new(5, 2_000_000, called);
        assert_eq!(bucket.wait(called), Duration::ZERO);
        bucket.called(called);
        let came = Moment::millis(4_500);
        bucket.received(10_000_000, called);
        // Of ten million bytes two were saved up and seven were earned while they came.
        assert_eq!(bucket.wait(came), Duration::from_millis(500));
    }

    #[test]
    fn a_throttled_reader_waits_for_a_call() {
        let mut bucket = Bucket::new(5, 100, Moment::ZERO);
        bucket.throttled(Moment::ZERO);
        assert_eq!(bucket.wait(Moment::ZERO), Duration::from_millis(200));
    }
}
