//! What becomes of a request: when it arrives, whether it does, and when its sender hears of it.

use std::time::Duration;

use oorandom::Rand64;

use crate::scenario::Net;

/// The way of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// From the decision to the wire; a process that sleeps meanwhile sends when it wakes.
    pub(crate) leaves_after: Duration,
    /// From the wire to the table; `None`: never.
    pub(crate) arrives_after: Option<Duration>,
    /// From the table back; `None`: never.
    pub(crate) answered_after: Option<Duration>,
    /// When the sender gives up; `None`: it waits.
    pub(crate) timeout: Option<Duration>,
}

/// Draws the way of a request.
pub(crate) fn fate(rng: &mut Rand64, net: &Net) -> Fate {
    let hop = |rng: &mut Rand64| between(rng, Duration::from_millis(1), Duration::from_millis(9));
    let late = |rng: &mut Rand64| between(rng, Duration::from_millis(50), net.late);
    let lost = chance(rng, net.lost);
    let reply_lost = chance(rng, net.reply_lost);
    let arrives = if chance(rng, net.slow) { late(rng) } else { hop(rng) };
    let answered = if chance(rng, net.slow_reply) {
        late(rng)
    } else {
        hop(rng)
    };
    let patient = !lost && !reply_lost && chance(rng, 500);
    Fate {
        leaves_after: Duration::from_micros(rng.rand_range(0..2_000)),
        arrives_after: (!lost).then_some(arrives),
        answered_after: (!reply_lost).then_some(answered),
        timeout: (!patient).then_some(net.timeout),
    }
}

/// True in so many cases of 1,000.
pub(crate) fn chance(rng: &mut Rand64, of_thousand: u64) -> bool {
    rng.rand_range(0..1_000) < of_thousand
}

/// A span from `low` to less than `high`; `low` when there is nothing between.
pub(crate) fn between(rng: &mut Rand64, low: Duration, high: Duration) -> Duration {
    let (low, high) = (micros(low), micros(high));
    Duration::from_micros(if high > low { rng.rand_range(low..high) } else { low })
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
