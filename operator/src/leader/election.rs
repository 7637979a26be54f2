//! Who leads, decided from what was read of the Lease. No client, no clock.
//!
//! As in client-go's leader election, no clock of another machine is trusted: a Lease is taken over when this process
//! itself has seen it stand still for as long as it lasts. The times in the Lease are for people.
//! <https://pkg.go.dev/k8s.io/client-go/tools/leaderelection>

use std::time::Duration;

use tokio::time::Instant;

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long the others wait for a holder that they do not hear of.
    pub(crate) lasting: Duration,
    /// How long a holder acts after the send of its last successful write. The rest of `lasting` is for what it sent and
    /// what is still on its way.
    pub(crate) sure: Duration,
    /// From one renewal to the next.
    pub(crate) renew_every: Duration,
    /// From one try to the next, and between two reads of those who wait.
    pub(crate) retry_every: Duration,
    /// How long one request may take.
    pub(crate) request: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lasting: Duration::from_secs(15),
            sure: Duration::from_secs(10),
            renew_every: Duration::from_secs(4),
            retry_every: Duration::from_secs(2),
            request: Duration::from_secs(3),
        }
    }
}

/// The Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Who holds it; `None`: nobody.
    pub(crate) holder: Option<String>,
    /// How long it lasts, by its holder.
    pub(crate) lasting: Duration,
    /// How often the holder has changed.
    pub(crate) transitions: i32,
    /// The resource version. A write names it, so that of two writers one is refused.
    pub(crate) version: String,
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is no Lease: create it.
    Create,
    /// It is this process's: renew it.
    Renew,
    /// Nobody holds it any more: take it.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// One process's view of the election.
#[derive(Debug)]
pub(crate) struct Election {
    identity: String,
    timing: Timing,
    /// The version of the Lease that was read last, and when it was read first.
    seen: Option<(String, Instant)>,
}

impl Election {
    pub(crate) fn new(identity: &str, timing: Timing) -> Self {
        Self {
            identity: identity.to_owned(),
            timing,
            seen: None,
        }
    }

    /// What to do about a Lease that was read at `now`.
    pub(crate) fn step(&mut self, now: Instant, record: Option<&Record>) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Create;
        };
        let since = match &self.seen {
            Some((version, since)) if *version == record.version => *since,
            _ => {
                self.seen = Some((record.version.clone(), now));
                now
            }
        };
        match &record.holder {
            Some(holder) if *holder == self.identity => Step::Renew,
            None => Step::Take,
            // A holder with a shorter time than ours is from an older version: both must have passed.
            Some(_) if now >= since + record.lasting.max(self.timing.lasting) => Step::Take,
            Some(_) => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: Option<&str>, version: &str) -> Record {
        Record {
            holder: holder.map(str::to_owned),
            lasting: Duration::from_secs(15),
            transitions: 0,
            version: version.to_owned(),
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_was_seen_to_stand_still() {
        let mut election = Election::new("b", Timing::default());
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let held = record(Some("a"), "1");
        assert_eq!(election.step(start, None), Step::Create);
        assert_eq!(election.step(after(0), Some(&held)), Step::Wait);
        assert_eq!(election.step(after(14), Some(&held)), Step::Wait);
        // Renewed: the time begins again.
        let renewed = record(Some("a"), "2");
        assert_eq!(election.step(after(15), Some(&renewed)), Step::Wait);
        assert_eq!(election.step(after(29), Some(&renewed)), Step::Wait);
        assert_eq!(election.step(after(30), Some(&renewed)), Step::Take);
        assert_eq!(election.step(after(31), Some(&record(None, "3"))), Step::Take);
        assert_eq!(election.step(after(32), Some(&record(Some("b"), "4"))), Step::Renew);
    }

    #[test]
    fn a_holder_that_lasts_longer_is_given_its_time() {
        let mut election = Election::new("b", Timing::default());
        let start = Instant::now();
        let held = Record {
            lasting: Duration::from_secs(60),
            ..record(Some("a"), "1")
        };
        election.step(start, Some(&held));
        assert_eq!(election.step(start + Duration::from_secs(59), Some(&held)), Step::Wait);
        assert_eq!(election.step(start + Duration::from_secs(60), Some(&held)), Step::Take);
    }

    #[test]
    fn a_holder_is_sure_for_less_than_the_others_wait() {
        let timing = Timing::default();
        assert!(timing.sure + timing.request < timing.lasting);
        // Two renewals may fail.
        assert!(timing.renew_every + (timing.request + timing.retry_every) < timing.sure);
    }
}
