//! The stream, and the processor of one shard in one process.

use std::time::Duration;

use kinex_core::id::ShardId;
use kinex_core::lease::{Checkpoint, Position};
use kinex_core::member::Hold;
use kinex_core::time::Moment;

/// A shard of the model stream: records come at a steady rate while it is open.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) opened: Duration,
    pub(crate) closed: Option<Duration>,
    pub(crate) children: Vec<ShardId>,
}

impl Shard {
    /// How many records it has.
    pub(crate) fn records(&self, now: Duration, rate: f64, stops: Duration) -> u64 {
        let end = self.closed.unwrap_or(stops).min(stops).min(now);
        (end.saturating_sub(self.opened).as_secs_f64() * rate) as u64
    }
}

/// What a processor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Reads and processes while the window is open.
    Running,
    /// Finishes what is in flight.
    Draining,
    /// Has nothing in flight and was asked to stay so.
    Idle,
}

/// The processor of one shard.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) hold: Hold,
    /// The end of the window, on the process's clock.
    pub(crate) until: Moment,
    pub(crate) work: Work,
    /// The next record to read.
    pub(crate) next: u64,
    /// Behind the last record that a checkpoint is known to cover.
    pub(crate) saved: u64,
    /// Records up to there are being processed.
    pub(crate) in_flight: Option<u64>,
    /// When they are processed.
    pub(crate) ready: Duration,
    /// A checkpoint up to there is being written.
    pub(crate) saving: Option<Checkpoint>,
    /// A look for records is due.
    pub(crate) ticking: bool,
}

impl Consumer {
    pub(crate) fn start(hold: Hold, checkpoint: &Checkpoint, until: Moment) -> Self {
        let next = behind(checkpoint);
        Self {
            hold,
            until,
            work: Work::Running,
            next,
            saved: next,
            in_flight: None,
            ready: Duration::ZERO,
            saving: None,
            ticking: false,
        }
    }

    /// Whether records may be handed out at this moment of the process's clock.
    pub(crate) fn active(&self, now: Moment) -> bool {
        let working = match self.work {
            Work::Running => true,
            Work::Draining => self.in_flight.is_some(),
            Work::Idle => false,
        };
        working && now < self.until
    }

    /// How far it came since the last checkpoint.
    pub(crate) fn progress(&self) -> Option<Checkpoint> {
        (self.next > self.saved).then(|| up_to(self.next))
    }
}

/// The checkpoint that covers the records before `next`.
pub(crate) fn up_to(next: u64) -> Checkpoint {
    next.checked_sub(1).map_or(Checkpoint::TrimHorizon, |last| {
        Checkpoint::At(Position {
            sequence: u128::from(last).into(),
            sub: 0,
        })
    })
}

/// The first record that a checkpoint does not cover; of a finished shard [`u64::MAX`].
pub(crate) fn behind(checkpoint: &Checkpoint) -> u64 {
    match checkpoint {
        Checkpoint::At(position) => position.sequence.as_str().parse::<u64>().map_or(0, |last| last + 1),
        Checkpoint::ShardEnd => u64::MAX,
        Checkpoint::Latest | Checkpoint::TrimHorizon | Checkpoint::AtTimestamp | Checkpoint::Since(_) => 0,
    }
}
