//! What one process does with one lease, as a table of transitions.
//!
//! The table knows no time and sends nothing: the member tells it what is true now, and it says what the shell has to do.

use crate::lease::Checkpoint;

/// What a process does with a lease that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was delivered yet, and nothing may be until a write of the lease row succeeds.
    Unproved,
    /// Records are delivered until the window ends.
    Delivering,
    /// The window ended. Delivery rests until a renewal of the lease row succeeds.
    Lapsed,
    /// The processor finishes what is in flight; until the drain timeout the window may grow, and nothing new is delivered.
    Draining(Why),
    /// Nothing is in flight any more; the write that gives the lease away is due.
    Drained(Why, Option<Checkpoint>),
}

/// Why a lease is given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Another worker asked for it.
    Asked,
    /// This worker leaves, and nobody is there to ask.
    Release,
    /// This worker leaves, and a process of its name comes back for the lease.
    Reserve,
}

/// What came to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A renewal or a take of the row succeeded, and its window is open.
    Proved,
    /// The window ended.
    WindowOver,
    /// The row says that another worker has asked.
    Asked,
    /// The worker leaves.
    Leave(Why),
    /// The processor is idle, and this is its last progress since the last checkpoint.
    Idle(Option<Checkpoint>),
    /// The write that gives the lease away succeeded.
    Given,
    /// The row is another process's, or gone.
    Lost,
    /// The shard is finished.
    Ended,
    /// The process must stop.
    Evicted,
}

/// What the shell has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Deliver, from the checkpoint or from where it stopped.
    Deliver,
    /// Finish what is in flight.
    Drain,
    /// Stop: the lease is lost.
    StopLost,
    /// Stop: the lease is given away in good order.
    StopGiven(Why),
    /// Stop: the process must end.
    StopEvicted,
    /// Nothing to stop: it has stopped by itself.
    Forget,
}

/// The next state (`None`: the lease is no more this process's) and what the shell has to do.
pub fn step(state: State, input: Input) -> (Option<State>, Effect) {
    use Effect as Do;
    use Input as In;
    use State::{Delivering, Drained, Draining, Lapsed, Unproved};

    match (state, input) {
        // However far it came, these end it.
        (_, In::Lost) => (None, Do::StopLost),
        (_, In::Evicted) => (None, Do::StopEvicted),
        (_, In::Ended) => (None, Do::Forget),
        (Drained(why, _), In::Given) => (None, Do::StopGiven(why)),
        // Only Drained gives away, so that no progress is forgotten.
        (state, In::Given) => (Some(state), Do::Nothing),

        (Unproved, In::Proved) => (Some(Delivering), Do::Deliver),
        (Unproved, In::Asked) => (Some(Drained(Why::Asked, None)), Do::Nothing),
        (Unproved, In::Leave(why)) => (Some(Drained(why, None)), Do::Nothing),
        (Unproved, In::WindowOver | In::Idle(_)) => (Some(Unproved), Do::Nothing),

        (Delivering, In::Proved) => (Some(Delivering), Do::Deliver),
        (Delivering, In::WindowOver) => (Some(Lapsed), Do::Nothing),
        (Delivering, In::Idle(_)) => (Some(Delivering), Do::Nothing),

        (Lapsed, In::Proved) => (Some(Delivering), Do::Deliver),
        (Lapsed, In::WindowOver | In::Idle(_)) => (Some(Lapsed), Do::Nothing),

        (Delivering | Lapsed, In::Asked) => (Some(Draining(Why::Asked)), Do::Drain),
        (Delivering | Lapsed, In::Leave(why)) => (Some(Draining(why)), Do::Drain),

        // An ask comes before this worker's own wish to be rid of the lease.
        (Draining(_), In::Asked) => (Some(Draining(Why::Asked)), Do::Nothing),
        (Drained(_, at), In::Asked) => (Some(Drained(Why::Asked, at)), Do::Nothing),
        (Draining(why), In::Idle(at)) => (Some(Drained(why, at)), Do::Nothing),
        // Nothing brings delivery back: not a renewal that was under way when the ask came, and not the asker's death.
        // (The yield may have been sent, and may succeed whenever somebody asks. A dead asker's lease is soon taken.)
        (state @ (Draining(_) | Drained(..)), In::Proved | In::WindowOver | In::Leave(_)) => (Some(state), Do::Nothing),
        (state @ Drained(..), In::Idle(_)) => (Some(state), Do::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn every_state_meets_every_input() {
        let states = [
            State::Unproved,
            State::Delivering,
            State::Lapsed,
            State::Draining(Why::Asked),
            State::Draining(Why::Release),
            State::Drained(Why::Asked, None),
            State::Drained(Why::Reserve, None),
        ];
        let inputs = [
            Input::Proved,
            Input::WindowOver,
            Input::Asked,
            Input::Leave(Why::Release),
            Input::Idle(Some(Checkpoint::TrimHorizon)),
            Input::Given,
            Input::Lost,
            Input::Ended,
            Input::Evicted,
        ];
        let mut table = String::new();
        for state in &states {
            for input in &inputs {
                let (next, effect) = step(state.clone(), input.clone());
                let next = next.map_or("over".to_owned(), |next| format!("{next:?}"));
                writeln!(table, "{state:?} + {input:?} => {next}, {effect:?}").unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }
}
