//! Rates: a bucket that refills continuously and holds what one second lets through.

/// How much may pass per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    per_second: i64,
    /// Thousandths of a unit, so that a millisecond refills a whole number of them. Below zero after a large read.
    level: i64,
    at_millis: u64,
}

impl Bucket {
    /// A full bucket.
    pub(super) const fn full(per_second: u32) -> Self {
        Self {
            per_second: per_second as i64,
            level: per_second as i64 * 1_000,
            at_millis: 0,
        }
    }

    /// Whether so many units may pass now.
    pub(super) fn has(&mut self, units: u64, now: u64) -> bool {
        self.refill(now);
        self.level >= thousandths(units)
    }

    /// Whether the last large read is paid off.
    pub(super) fn is_paid_off(&mut self, now: u64) -> bool {
        self.refill(now);
        self.level > 0
    }

    /// Lets units pass, below zero if need be: who comes next waits for longer.
    pub(super) fn take(&mut self, units: u64, now: u64) {
        self.refill(now);
        self.level = self.level.saturating_sub(thousandths(units));
    }

    fn refill(&mut self, now: u64) {
        let passed = i64::try_from(now.saturating_sub(self.at_millis)).unwrap_or(i64::MAX);
        self.level = self
            .level
            .saturating_add(passed.saturating_mul(self.per_second))
            .min(self.per_second * 1_000);
        self.at_millis = self.at_millis.max(now);
    }
}

fn thousandths(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_calls_pass_at_once_and_then_one_every_200_ms() {
        let mut bucket = Bucket::full(5);
        let passed: Vec<u64> = (1_000..2_000)
            .step_by(50)
            .flat_map(|now| std::iter::repeat_n(now, 5))
            .filter(|&now| {
                let passes = bucket.has(1, now);
                if passes {
                    bucket.take(1, now);
                }
                passes
            })
            .collect();
        assert_eq!(passed, [1_000, 1_000, 1_000, 1_000, 1_000, 1_200, 1_400, 1_600, 1_800]);
    }

    #[test]
    fn a_read_of_10_mib_at_2_mib_per_second_blocks_for_four_seconds() {
        let mut bucket = Bucket::full(2 << 20);
        bucket.take(10 << 20, 1_000);
        assert!(!bucket.is_paid_off(5_000));
        assert!(bucket.is_paid_off(5_001));
    }

    #[test]
    fn a_clock_that_steps_back_refills_nothing() {
        let mut bucket = Bucket::full(1);
        bucket.take(1, 10_000);
        assert!(!bucket.has(1, 9_000));
        assert!(!bucket.has(1, 10_999));
        assert!(bucket.has(1, 11_000));
    }
}
