//! How a hold gets on: what the gauges, the probes and the state of a shard are made of. Pure: the time comes in.

use std::time::Duration;

use kinex_core::time::Moment;

/// A shard whose processor has had the same call for this long is blocked: nothing more is delivered from it until the
/// call returns.
const BLOCKED_AFTER: Duration = Duration::from_secs(10);

/// A shard whose reads have failed for this long cannot be read: longer than the longest pause between two attempts.
const UNREADABLE_AFTER: Duration = Duration::from_secs(10);

/// A reader that is this much later than it can ever be stands still.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// How a hold gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    started: Moment,
    /// When the last good read came.
    read: Option<Moment>,
    /// The last attempt to read failed.
    failing: bool,
    /// The closed shard has been read to its end.
    complete: bool,
    /// Which reader it is: one that was told to end may still have a word to say.
    reader: u64,
    /// The reader gets on by itself until then at the latest; nothing while it waits for the processor, or is not there.
    due: Option<Moment>,
    /// When the call under way was made.
    called: Option<Moment>,
    /// When the oldest record in hand arrived at the stream.
    arrived: Option<Moment>,
}

impl Progress {
    pub(crate) fn starting(now: Moment) -> Self {
        Self {
            started: now,
            read: None,
            failing: false,
            complete: false,
            reader: 0,
            due: None,
            called: None,
            arrived: None,
        }
    }

    /// A good read came; `complete`: it was the last one of a closed shard.
    pub(crate) fn read(&mut self, now: Moment, complete: bool) {
        (self.read, self.failing, self.complete) = (Some(now), false, complete);
    }

    /// An attempt to read failed.
    pub(crate) fn read_failed(&mut self) {
        self.failing = true;
    }

    /// Another reader begins, or there is none from here on. Says how to name it.
    pub(crate) fn next_reader(&mut self) -> u64 {
        self.reader += 1;
        self.due = None;
        self.reader
    }

    /// Until when this reader gets on by itself; `None`: it waits for the processor.
    pub(crate) fn reader_due(&mut self, reader: u64, due: Option<Moment>) {
        if reader == self.reader {
            self.due = due;
        }
    }

    /// A call of the processor is made.
    pub(crate) fn called(&mut self, now: Moment) {
        self.called = Some(now);
    }

    /// The call is over, well or not.
    pub(crate) fn returned(&mut self) {
        self.called = None;
    }

    /// Records are in hand, the oldest of which arrived then; `None`: they are processed or let go.
    pub(crate) fn in_hand(&mut self, arrived: Option<Moment>) {
        self.arrived = arrived;
    }

    /// How long the last good read lies back, or the start where there was none. A shard that is read to its end needs
    /// no more reads.
    pub(crate) fn since_read(&self, now: Moment) -> Duration {
        if self.complete {
            return Duration::ZERO;
        }
        now.since(self.read.unwrap_or(self.started))
    }

    /// How long the processor has had the call that it is in.
    pub(crate) fn since_processed(&self, now: Moment) -> Option<Duration> {
        self.called.map(|called| now.since(called))
    }

    /// How old the shard's oldest unprocessed record can be, by all that is known.
    pub(crate) fn behind(&self, said_millis: Option<u64>, now: Moment) -> Duration {
        let in_hand = self.arrived.map_or(Duration::ZERO, |arrived| now.since(arrived));
        Duration::from_millis(said_millis.unwrap_or(0))
            .max(self.since_read(now))
            .max(in_hand)
    }

    pub(crate) fn blocked(&self, now: Moment) -> bool {
        self.since_processed(now).is_some_and(|since| since >= BLOCKED_AFTER)
    }

    pub(crate) fn unreadable(&self, now: Moment) -> bool {
        self.failing && self.since_read(now) >= UNREADABLE_AFTER
    }

    /// Whether the reader stands still although nothing keeps it; `None` while something does.
    pub(crate) fn stalled(&self, now: Moment) -> Option<bool> {
        self.due.map(|due| now.since(due) >= STALLED_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::millis((1_000 + seconds) * 1_000)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_shard_is_as_far_behind_as_the_largest_of_three_figures_says() {
        let mut progress = Progress::starting(at(0));
        assert_eq!(progress.behind(None, at(7)), seconds(7), "never read");
        progress.read(at(10), false);
        assert_eq!(progress.behind(Some(0), at(11)), seconds(1), "the age of the last read");
        assert_eq!(progress.behind(Some(5_000), at(11)), seconds(5), "what Kinesis said");
        progress.in_hand(Some(at(2)));
        assert_eq!(
            progress.behind(Some(5_000), at(11)),
            seconds(9),
            "the oldest record in hand"
        );
        progress.in_hand(None);
        progress.read(at(12), true);
        assert_eq!(progress.behind(Some(0), at(500)), seconds(0), "read to its end");
    }

    #[test]
    fn a_shard_whose_reads_fail_is_unreadable_after_ten_seconds_until_a_good_one() {
        let mut progress = Progress::starting(at(0));
        assert!(!progress.unreadable(at(60)), "nothing has failed");
        progress.read(at(60), false);
        progress.read_failed();
        assert!(!progress.unreadable(at(69)));
        assert!(progress.unreadable(at(70)));
        progress.read(at(71), false);
        assert!(!progress.unreadable(at(71)));
    }

    #[test]
    fn a_call_blocks_its_shard_after_ten_seconds_until_it_is_over() {
        let mut progress = Progress::starting(at(0));
        assert_eq!(progress.since_processed(at(100)), None, "idle is not blocked");
        progress.called(at(100));
        assert_eq!(progress.since_processed(at(109)), Some(seconds(9)));
        assert!(!progress.blocked(at(109)));
        assert!(progress.blocked(at(110)));
        progress.returned();
        assert!(!progress.blocked(at(110)));
    }

    #[test]
    fn a_reader_stalls_a_minute_after_it_was_due_and_never_while_it_waits_for_its_processor() {
        let mut progress = Progress::starting(at(0));
        assert_eq!(progress.stalled(at(10_000)), None);
        let reader = progress.next_reader();
        progress.reader_due(reader, Some(at(30)));
        assert_eq!(progress.stalled(at(89)), Some(false));
        assert_eq!(progress.stalled(at(90)), Some(true));
        progress.reader_due(reader, None);
        assert_eq!(progress.stalled(at(90)), None);
        progress.reader_due(reader, Some(at(30)));
        progress.next_reader();
        progress.reader_due(reader, Some(at(31)));
        assert_eq!(progress.stalled(at(200)), None, "it was told to end");
    }
}
