//! The settings of the protocol, and which of them go together.

use std::time::Duration;

use crate::balance::Policy;
use crate::worker::RenewalMode;

/// Settings of the protocol; validated by [`Config::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// F: how long a silent worker counts as alive.
    pub failover_after: Duration,
    /// How often windows are renewed; less than F (default F/3).
    pub renew_every: Duration,
    /// What is taken off a window for clocks that run at different rates (default F/100).
    pub margin: Duration,
    /// P: how often the workers' rows are read.
    pub poll_every: Duration,
    /// S: how long the set of workers must stand still before leases move; at least P.
    pub settle_for: Duration,
    /// How long an owner may finish what is in flight when a lease is asked for or the worker leaves; less than
    /// `handoff_timeout`.
    pub drain_timeout: Duration,
    /// How long an asker waits for a yield before it takes the lease; more than F.
    pub handoff_timeout: Duration,
    /// How often an asker looks whether the lease was yielded.
    pub handoff_poll: Duration,
    /// How many takes and asks may be under way together.
    pub moves_in_flight: usize,
    /// How windows are renewed.
    pub renewal: RenewalMode,
    /// How leases come to be even.
    pub strategy: Strategy,
    /// Limits on what one worker may get.
    pub policy: Policy,
    /// `false`: a child shard is read as soon as it is seen. `true`: only when all of its parents are finished.
    pub parents_first: bool,
    /// The rules that keep one owner; all of them, outside the test of the tests.
    #[doc(hidden)]
    pub rules: Rules,
}

impl Default for Config {
    fn default() -> Self {
        let failover_after = Duration::from_secs(10);
        Self {
            failover_after,
            renew_every: failover_after / 3,
            margin: failover_after / 100,
            poll_every: Duration::from_secs(1),
            settle_for: Duration::from_millis(1_200),
            // Less than the time that the asker waits, so that a slow processor still hands over in good order.
            drain_timeout: Duration::from_secs(20),
            handoff_timeout: Duration::from_secs(30),
            handoff_poll: Duration::from_millis(250),
            moves_in_flight: 32,
            renewal: RenewalMode::PerWorker,
            strategy: Strategy::Balanced,
            policy: Policy::default(),
            parents_first: false,
            rules: Rules::default(),
        }
    }
}

/// How leases come to be even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Every worker computes the same plan and takes what comes to it: one round, fewest moves.
    Balanced,
    /// Every worker steals at most one lease from the fullest worker in each interval; orphans are adopted at once.
    Stealing {
        /// The interval.
        every: Duration,
    },
}

/// Two settings that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{low_name}` ({low:?}) must be {relation} `{high_name}` ({high:?})")]
pub struct Mismatch {
    low_name: &'static str,
    low: Duration,
    relation: &'static str,
    high_name: &'static str,
    high: Duration,
}

impl Config {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// [`Mismatch`] with the names and values of the first two settings that do not go together.
    pub fn check(&self) -> Result<(), Mismatch> {
        let less = |low_name, low, high_name, high| {
            (low < high).then_some(()).ok_or(Mismatch {
                low_name,
                low,
                relation: "less than",
                high_name,
                high,
            })
        };
        let nothing = Duration::ZERO;
        less("zero", nothing, "renew_every", self.renew_every)?;
        less("zero", nothing, "poll_every", self.poll_every)?;
        less("zero", nothing, "handoff_poll", self.handoff_poll)?;
        less("renew_every", self.renew_every, "failover_after", self.failover_after)?;
        let slack = self.failover_after - self.renew_every;
        less("margin", self.margin, "failover_after - renew_every", slack)?;
        less("poll_every", self.poll_every, "failover_after", self.failover_after)?;
        less(
            "poll_every * 1.1 (its jitter)",
            self.poll_every * 11 / 10,
            "settle_for",
            self.settle_for,
        )?;
        less(
            "failover_after",
            self.failover_after,
            "handoff_timeout",
            self.handoff_timeout,
        )?;
        less(
            "drain_timeout",
            self.drain_timeout,
            "handoff_timeout",
            self.handoff_timeout,
        )?;
        less(
            "handoff_poll",
            self.handoff_poll,
            "handoff_timeout",
            self.handoff_timeout,
        )?;
        match self.strategy {
            Strategy::Stealing { every } => less("zero", nothing, "strategy: every", every),
            Strategy::Balanced => Ok(()),
        }
    }
}

/// Switches for the rules that keep one owner, so that a test can show that each is needed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Rule 1: a window runs from the send of the write that renewed it.
    pub window_from_send: bool,
    /// Rule 2: dead is who shows the same beat to a read that was sent F after that beat was first seen.
    pub dead_by_late_read: bool,
    /// Rule 3: the lease row is read first, the owner's beat after it.
    pub beat_after_row: bool,
    /// Rule 4: a lapsed window is never revived by a beat.
    pub renew_after_lapse: bool,
    /// Rule 5: a new owner writes before it delivers.
    pub write_before_delivery: bool,
    /// Rule 6: a lease that is asked for is never extended.
    pub freeze_when_asked: bool,
    /// Rule 7: a dead asker does not make an orphan.
    pub asker_is_no_owner: bool,
    /// Rule 6: an owner that was asked keeps its windows by writes of the row while it finishes its batch.
    pub extend_when_asked: bool,
    /// Rule 8: a forced take waits for the hand-off timeout.
    pub patient_handoff: bool,
    /// Rule 8: a forced take also waits until the row's counter has stood still for the failover time.
    pub take_still_row: bool,
    /// Rule 3: an owner without a worker row is dead only when the lease's counter has stood still as well.
    pub counter_is_life: bool,
    /// Rule 10: one name, one process.
    pub one_process_per_name: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            window_from_send: true,
            dead_by_late_read: true,
            beat_after_row: true,
            renew_after_lapse: true,
            write_before_delivery: true,
            freeze_when_asked: true,
            asker_is_no_owner: true,
            extend_when_asked: true,
            patient_handoff: true,
            take_still_row: true,
            counter_is_life: true,
            one_process_per_name: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config), expected: &str) {
        let mut config = Config::default();
        change(&mut config);
        let found = config
            .check()
            .err()
            .map_or(String::new(), |mismatch| mismatch.to_string());
        assert_eq!(found, expected);
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        let secs = Duration::from_secs;
        check(|_| {}, "");
        check(
            |config| config.renew_every = secs(10),
            "`renew_every` (10s) must be less than `failover_after` (10s)",
        );
        check(
            |config| config.handoff_timeout = secs(8),
            "`failover_after` (10s) must be less than `handoff_timeout` (8s)",
        );
        check(
            |config| config.drain_timeout = secs(30),
            "`drain_timeout` (30s) must be less than `handoff_timeout` (30s)",
        );
        check(
            |config| config.settle_for = secs(1),
            "`poll_every * 1.1 (its jitter)` (1.1s) must be less than `settle_for` (1s)",
        );
        check(
            |config| config.margin = secs(7),
            "`margin` (7s) must be less than `failover_after - renew_every` (6.666666667s)",
        );
        check(
            |config| config.strategy = Strategy::Stealing { every: secs(0) },
            "`zero` (0ns) must be less than `strategy: every` (0ns)",
        );
    }
}
