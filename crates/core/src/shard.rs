//! How the records of one shard are consumed while its lease is held: one transition table.
//!
//! # Expected flow
//! The shell makes a [`Consumer`] when it is told to start a hold, carries out the [`Effect`]s in their order, and
//! reports each happening by [`Consumer::on`]. One effect of a kind that reports back is under way at a time.
//!
//! # Guarantees
//! No record is handed to the processor at or after the end of the window, after a drain was asked for, or after the
//! hold is over. Records are never skipped unless the user's code says so: what failed is given again. The calls of a
//! processor do not overlap; it gets at most one of `shard_ended`, `shutdown_requested`, `lease_lost`.
//!
//! # Caveats
//! Checkpoints that the processor writes on its own are not seen here. What counts as *processed* is every record of a
//! batch whose call returned well; the final checkpoint of a clean drain is the last of them. A batch that was
//! interrupted or failed counts as not processed at all, and comes again as a whole.

mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use table::step;

use crate::lease::{Checkpoint, Position};
use crate::member::StopReason;
use crate::time::Moment;

/// The user records of one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The last of them; `None`: there are none.
    pub last: Option<Position>,
    /// The shard has ended, and these are its last ones.
    pub end: bool,
}

/// A call of the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Before the first record.
    Initialize,
    /// With records.
    Process(Batch),
    /// To decide what becomes of records whose call fails every time.
    Poisoned {
        /// The records.
        batch: Batch,
        /// How often their call has failed in a row.
        failures: u32,
    },
    /// Every record of the closed shard is processed.
    ShardEnded,
}

/// What a consumer does next; each can be done again when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Call the processor.
    Call(Call),
    /// Get an iterator behind the last record that was processed.
    Seek,
    /// Read the next batch, no sooner than pace and memory allow.
    Fetch,
    /// Write that the shard is processed to its end.
    Close,
}

/// Where a consumer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The work is under way.
    Busy {
        /// The work.
        work: Work,
        /// How often it has failed.
        failures: u32,
    },
    /// The work failed and is done again after a pause.
    Pausing {
        /// The work.
        work: Work,
        /// How often it has failed.
        failures: u32,
    },
    /// The processor failed too often: nothing more is delivered, nothing is skipped, the lease is kept until
    /// [`Event::Resumed`].
    Halted {
        /// The call that failed.
        call: Call,
    },
    /// The window is over: nothing is delivered until it is extended.
    Lapsed {
        /// The next work.
        work: Work,
        /// How often it has failed.
        failures: u32,
        /// It began inside the window and has not come back.
        under_way: bool,
    },
    /// The lease is asked for; what is in the processor's or the table's hands is waited for.
    Finishing {
        /// That work.
        work: Work,
    },
    /// The processor has been asked to make its work durable.
    Settling,
    /// Nothing is in flight, and that is reported. The hold still is.
    Drained {
        /// Whether the processor had its last call.
        told: bool,
    },
    /// The hold is over.
    Over,
}

/// What becomes of records whose call fails every time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgment {
    /// The call is made again.
    Retry,
    /// Nothing more is delivered until somebody resumes the shard.
    Halt,
    /// They count as processed.
    Skip,
    /// They are given in smaller batches, of which this is the first, so that one bad record does not decide for the
    /// good ones around it.
    Narrow(Batch),
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The call of the processor returned well.
    Called,
    /// It is decided what becomes of the records of [`Call::Poisoned`].
    Judged(Judgment),
    /// Somebody wants a shard that failed to go on now.
    Resumed {
        /// The window is over.
        lapsed: bool,
    },
    /// The iterator is there.
    Sought,
    /// A batch is there.
    Fetched(Batch),
    /// The iterator is too old.
    Expired,
    /// The end of the shard is written.
    Closed,
    /// The work under way failed. (A call that was interrupted failed.)
    Failed,
    /// The pause is over.
    PauseOver,
    /// The end of the window has come.
    WindowOver,
    /// The window is longer now.
    Extended,
    /// The lease is asked for.
    DrainAsked,
    /// The drain takes too long.
    DrainTimedOut,
    /// The hold is over.
    Stopped(StopReason),
}

/// What the shell shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Begin the work, and report [`Event::Called`], [`Event::Sought`], [`Event::Fetched`], [`Event::Expired`],
    /// [`Event::Closed`] or [`Event::Failed`].
    Begin(Work),
    /// Report [`Event::PauseOver`] after this long.
    Wait(Duration),
    /// Cancel the call of the processor that is under way; unless it has returned by then, it reports
    /// [`Event::Failed`].
    Interrupt,
    /// Give up the read that is under way: nothing of it may be reported any more, and its iterator is worth nothing.
    DropRead,
    /// Ask the processor to make its work durable, and report [`Event::Called`] or [`Event::Failed`].
    RequestShutdown,
    /// Tell the member that nothing is in flight. `clean`: everything processed counts as done and is the final
    /// checkpoint; otherwise the last written checkpoint stands.
    ReportDrained {
        /// Whether the processor agreed.
        clean: bool,
    },
    /// Tell the member that the shard is at its end and the checkpoint says so.
    ReportEnded,
    /// Tell the processor that the lease is lost.
    TellLost,
    /// Somebody must look at this shard: the call has failed once more than [`RetryPolicy::retries`], or a multiple of
    /// that. It goes on all the same.
    Alarm(Call),
    /// Somebody must look at this shard: nothing more is delivered. Give up the memory that it takes.
    Halt(Call),
    /// Nothing more comes; drop the processor.
    Finish,
}

/// How often a failing processor is called again, and the pauses between attempts of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// After so many retries in a row there is an alarm, and records are judged ([`Call::Poisoned`]). Reads and writes
    /// are tried for as long as the lease is held.
    pub retries: u32,
    /// Whether another call than that with records halts the shard then, instead of being made again for ever.
    pub halts: bool,
    /// The pause before the first retry; it doubles with each one.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl RetryPolicy {
    /// Whether so many failures in a row need somebody's attention.
    pub fn exhausted_by(&self, failures: u32) -> bool {
        failures.is_multiple_of(self.retries.saturating_add(1))
    }

    /// The pause after so many failures.
    pub fn pause_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.pause.saturating_mul(1 << doublings).min(self.pause_max)
    }
}

/// The consumer of one shard under one hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    state: State,
    behind: Checkpoint,
    until: Moment,
    policy: RetryPolicy,
}

impl Consumer {
    /// A consumer that reads behind `checkpoint` inside a window that ends at `until`, and what it does first.
    pub fn start(checkpoint: Checkpoint, until: Moment, policy: RetryPolicy) -> (Self, Vec<Effect>) {
        let work = Work::Call(Call::Initialize);
        let consumer = Self {
            state: State::Busy {
                work: work.clone(),
                failures: 0,
            },
            behind: checkpoint,
            until,
            policy,
        };
        (consumer, vec![Effect::Begin(work)])
    }

    /// Something happened at `now`. When the window has ended by then, that is taken into account first.
    pub fn on(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if now >= self.until && event != Event::WindowOver {
            effects = self.apply(Event::WindowOver);
        }
        effects.extend(self.apply(event));
        effects
    }

    /// Somebody wants a shard that failed to go on now.
    pub fn resume(&mut self, now: Moment) -> Vec<Effect> {
        let lapsed = now >= self.until;
        self.on(now, Event::Resumed { lapsed })
    }

    /// The window ends at `until` now.
    pub fn extend(&mut self, now: Moment, until: Moment) -> Vec<Effect> {
        self.until = self.until.max(until);
        if now >= self.until {
            return Vec::new();
        }
        self.apply(Event::Extended)
    }

    /// When [`Event::WindowOver`] is due.
    pub fn deadline(&self) -> Moment {
        self.until
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Where reading goes on: behind the last record that was processed, or behind the lease's checkpoint before that.
    ///
    /// Behind a position inside an aggregated record lie the rest of that record: read *at* its sequence number and
    /// drop what is not behind the position.
    pub fn behind(&self) -> &Checkpoint {
        &self.behind
    }

    fn apply(&mut self, event: Event) -> Vec<Effect> {
        if let (Event::Called | Event::Judged(Judgment::Skip), Some(last)) = (&event, in_hand(&self.state)) {
            self.behind = Checkpoint::At(last.clone());
        }
        let (state, effects) = step(self.state.clone(), event, &self.policy);
        self.state = state;
        effects
    }
}

/// The last record in the processor's hands.
fn in_hand(state: &State) -> Option<&Position> {
    let work = match state {
        State::Busy { work, .. } | State::Finishing { work } => work,
        State::Lapsed {
            work, under_way: true, ..
        } => work,
        _ => return None,
    };
    match work {
        Work::Call(Call::Process(batch) | Call::Poisoned { batch, .. }) => batch.last.as_ref(),
        _ => None,
    }
}
