//! The table as text, and what it promises over any history.

mod random;

use std::fmt::Write;
use std::time::Duration;

use super::*;

const POLICY: RetryPolicy = RetryPolicy {
    retries: 2,
    pause: Duration::from_millis(100),
    pause_max: Duration::from_secs(1),
};

#[test]
fn every_state_and_event() {
    let mut text = String::new();
    for state in states() {
        writeln!(text, "{state:?}").unwrap();
        for event in events() {
            let (next, effects) = step(state.clone(), event.clone(), &POLICY);
            if next != state || !effects.is_empty() {
                writeln!(text, "    {event:?} -> {next:?} {effects:?}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(text);
}

fn batch(last: Option<u128>, end: bool) -> Batch {
    let position = |sequence: u128| Position {
        sequence: sequence.into(),
        sub: 0,
    };
    Batch {
        last: last.map(position),
        end,
    }
}

fn works() -> Vec<Work> {
    let calls = [
        Call::Initialize,
        Call::Process(batch(Some(1), false)),
        Call::Process(batch(Some(2), true)),
        Call::ShardEnded,
    ];
    calls
        .into_iter()
        .map(Work::Call)
        .chain([Work::Seek, Work::Fetch, Work::Close])
        .collect()
}

fn states() -> Vec<State> {
    let mut states = Vec::new();
    for work in works() {
        for failures in [0, 2] {
            states.push(State::Busy {
                work: work.clone(),
                failures,
            });
        }
        states.push(State::Pausing {
            work: work.clone(),
            failures: 1,
        });
        for under_way in [false, true] {
            states.push(State::Lapsed {
                work: work.clone(),
                failures: 1,
                under_way,
            });
        }
        match work {
            Work::Call(call) => {
                states.push(State::Finishing {
                    work: Work::Call(call.clone()),
                });
                states.push(State::Halted { call });
            }
            Work::Close => states.push(State::Finishing { work }),
            Work::Seek | Work::Fetch => {}
        }
    }
    states.extend([
        State::Settling,
        State::Drained { told: false },
        State::Drained { told: true },
        State::Over,
    ]);
    states
}

fn events() -> Vec<Event> {
    vec![
        Event::Called,
        Event::Sought,
        Event::Fetched(batch(None, false)),
        Event::Fetched(batch(Some(3), false)),
        Event::Fetched(batch(Some(3), true)),
        Event::Fetched(batch(None, true)),
        Event::Expired,
        Event::Closed,
        Event::Failed,
        Event::PauseOver,
        Event::WindowOver,
        Event::Extended,
        Event::DrainAsked,
        Event::DrainTimedOut,
        Event::Stopped(StopReason::Lost),
    ]
}
