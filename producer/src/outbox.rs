//! Which records go into the next request: numbers, lanes, retries. Told the time, draws nothing.
//!
//! # Guarantees
//! Records of one lane enter the stream in the order of their numbers: a request holds at most one record of a lane, and
//! while one waits for its retry no later one is sent. A number is sent again only when it is certain that the stream
//! does not have it.

use std::collections::BTreeMap;
use std::time::Duration;

use kinex_core::audit::Lane;
use kinex_core::time::Moment;

/// The pause before the first retry of a record; it doubles with each one.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// A record by its lane and number.
pub(crate) type Numbered = (Lane, u64);

/// The records that are still to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    /// The next number of each lane.
    next: Vec<u64>,
    /// Where the round of the lanes has come to.
    at: Lane,
    stride: Lane,
    retries: BTreeMap<Lane, Retry>,
    /// How many numbers may still be given out.
    left: u64,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    n: u64,
    attempts: u32,
    due: Moment,
    under_way: bool,
}

impl Outbox {
    /// Nothing sent yet; at most `records` shall be.
    pub(crate) fn new(lanes: Lane, records: u64) -> Self {
        Self {
            next: vec![0; lanes as usize],
            at: 0,
            stride: stride(lanes),
            retries: BTreeMap::new(),
            left: records,
        }
    }

    /// The records of the next request: those whose retry is due, then up to `fresh` new ones, `most` in all.
    /// Returns them with how many of them are new.
    pub(crate) fn batch(&mut self, now: Moment, fresh: usize, most: usize) -> (Vec<Numbered>, usize) {
        let mut batch = Vec::new();
        for (lane, retry) in &mut self.retries {
            if batch.len() < most && retry.due <= now && !retry.under_way {
                retry.under_way = true;
                batch.push((*lane, retry.n));
            }
        }
        let lanes = self.next.len();
        let again = batch.len();
        let mut looked = 0;
        while looked < lanes && batch.len() < most && batch.len() - again < fresh && self.left > 0 {
            let lane = self.at;
            self.at = ((u64::from(lane) + u64::from(self.stride)) % lanes as u64) as Lane;
            looked += 1;
            if self.retries.contains_key(&lane) {
                continue;
            }
            let n = &mut self.next[lane as usize];
            batch.push((lane, *n));
            *n += 1;
            self.left -= 1;
        }
        let new = batch.len() - again;
        (batch, new)
    }

    /// The stream has it, or may have it: it is never sent again.
    pub(crate) fn settled(&mut self, (lane, n): Numbered) {
        if self.retries.get(&lane).is_some_and(|retry| retry.n == n) {
            self.retries.remove(&lane);
        }
    }

    /// The stream does not have it: it is sent again after a pause.
    pub(crate) fn refused(&mut self, (lane, n): Numbered, now: Moment) {
        let attempts = self.retries.get(&lane).map_or(0, |retry| retry.attempts);
        let pause = PAUSE.saturating_mul(1 << attempts.min(16)).min(PAUSE_MAX);
        let retry = Retry {
            n,
            attempts: attempts + 1,
            due: now + pause,
            under_way: false,
        };
        self.retries.insert(lane, retry);
    }

    /// When the next retry is due.
    pub(crate) fn next_retry(&self) -> Option<Moment> {
        self.retries.values().map(|retry| retry.due).min()
    }

    /// No number is given out any more.
    pub(crate) fn finish(&mut self) {
        self.left = 0;
    }

    /// Whether every number was given out and every record is settled.
    pub(crate) fn done(&self) -> bool {
        self.left == 0 && self.retries.is_empty()
    }

    /// Whether a new record could be sent, if there is a token for it.
    pub(crate) fn open(&self) -> bool {
        self.left > 0 && self.retries.len() < self.next.len()
    }
}

/// The hash key of a lane: the middle of its equal share of all hash keys.
pub(crate) fn hash_key(lane: Lane, lanes: Lane) -> u128 {
    let share = u128::MAX / u128::from(lanes.max(1));
    share * u128::from(lane) + share / 2
}

/// The step of the round: about the golden part of the lanes, so that records that follow each other are far apart and
/// every shard gets its share soon; without a common divisor, so that the round visits every lane.
fn stride(lanes: Lane) -> Lane {
    let golden = (f64::from(lanes) * 0.618) as Lane;
    (golden.max(1)..=lanes.max(1))
        .find(|step| gcd(*step, lanes) == 1)
        .unwrap_or(1)
}

fn gcd(a: Lane, b: Lane) -> Lane {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const START: Moment = Moment::ZERO;

    #[test]
    fn every_lane_gets_a_record_before_any_gets_two() {
        for lanes in [1, 2, 3, 7, 20, 255, 256, 1_000] {
            let mut outbox = Outbox::new(lanes, u64::MAX);
            let (batch, new) = outbox.batch(START, 5_000, 5_000);
            assert_eq!((batch.len(), new), (lanes as usize, lanes as usize), "{lanes} lanes");
            assert_eq!(
                batch.iter().map(|(lane, _)| *lane).collect::<BTreeSet<_>>().len(),
                lanes as usize
            );
            assert!(batch.iter().all(|(_, n)| *n == 0));
            assert!(outbox.batch(START, 5_000, 5_000).0.iter().all(|(_, n)| *n == 1));
        }
    }

    #[test]
    fn any_forty_records_in_a_row_reach_every_fortieth_of_the_hash_keys_but_a_few() {
        let mut outbox = Outbox::new(256, u64::MAX);
        let (batch, _) = outbox.batch(START, 40, 500);
        let parts: BTreeSet<u128> = batch
            .iter()
            .map(|(lane, _)| hash_key(*lane, 256) / (u128::MAX / 40))
            .collect();
        assert!(parts.len() >= 30, "{} of 40", parts.len());
    }

    #[test]
    fn a_refused_record_holds_its_lane_back_and_no_other() {
        let mut outbox = Outbox::new(3, u64::MAX);
        let (batch, _) = outbox.batch(START, 3, 10);
        for record in &batch {
            if record.0 == 1 {
                outbox.refused(*record, START);
            } else {
                outbox.settled(*record);
            }
        }
        let lanes = |batch: &[Numbered]| batch.iter().copied().collect::<BTreeSet<_>>();
        let (batch, new) = outbox.batch(START, 10, 10);
        assert_eq!((lanes(&batch), new), (BTreeSet::from([(0, 1), (2, 1)]), 2));
        assert_eq!(outbox.next_retry(), Some(Moment::millis(100)));

        let (batch, new) = outbox.batch(Moment::millis(100), 1, 10);
        assert_eq!((batch[0], new), ((1, 0), 1), "the retry comes first");
        assert!(outbox.batch(Moment::millis(100), 0, 10).0.is_empty(), "it is under way");
        outbox.refused((1, 0), Moment::millis(100));
        assert_eq!(outbox.next_retry(), Some(Moment::millis(300)), "the pause doubles");
        outbox.settled((1, 0));
        assert!(lanes(&outbox.batch(Moment::millis(300), 3, 10).0).contains(&(1, 1)));
    }

    #[test]
    fn no_more_records_are_made_than_were_asked_for() {
        let mut outbox = Outbox::new(4, 6);
        assert_eq!(outbox.batch(START, 10, 10).1, 4);
        let (batch, new) = outbox.batch(START, 10, 10);
        assert_eq!(new, 2);
        outbox.refused(batch[0], START);
        assert!(!outbox.done() && !outbox.open());
        outbox.settled(batch[0]);
        assert!(outbox.done());
    }

    #[test]
    fn lanes_have_equal_shares_of_the_hash_keys() {
        assert_eq!(hash_key(0, 1), u128::MAX / 2);
        let share = u128::MAX / 256;
        for lane in 0..256 {
            let key = hash_key(lane, 256);
            assert_eq!(key / share, u128::from(lane), "lane {lane}");
        }
    }
}
