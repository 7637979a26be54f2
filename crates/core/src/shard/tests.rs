//! The table as text, and what it promises over any history.

mod random;

use std::fmt::Write;
use std::time::Duration;

use super::*;

const POLICY: RetryPolicy = RetryPolicy {
    retries: 2,
    halts: true,
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

#[test]
fn without_halts_a_failing_call_is_made_again_for_ever_with_an_alarm_now_and_then() {
    let policy = RetryPolicy { halts: false, ..POLICY };
    let mut alarms = Vec::new();
    let (mut state, mut pause) = (
        State::Busy {
            work: Work::Call(Call::Initialize),
            failures: 0,
        },
        Duration::ZERO,
    );
    for failure in 1..=12 {
        let (next, effects) = step(state, Event::Failed, &policy);
        for effect in effects {
            match effect {
                Effect::Alarm(_) => alarms.push(failure),
                Effect::Wait(wait) => {
                    assert!(pause <= wait && wait <= POLICY.pause_max, "{wait:?} after {pause:?}");
                    pause = wait;
                }
                other => panic!("{other:?}"),
            }
        }
        state = step(next, Event::PauseOver, &policy).0;
    }
    assert_eq!(alarms, [3, 6, 9, 12]);
    assert_eq!(pause, POLICY.pause_max);
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
        Call::Poisoned {
            batch: batch(Some(1), false),
            failures: 3,
        },
        Call::Poisoned {
            batch: batch(Some(2), true),
            failures: 3,
        },
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
        Event::Judged(Judgment::Retry),
        Event::Judged(Judgment::Halt),
        Event::Judged(Judgment::Skip),
        Event::Judged(Judgment::Narrow(batch(Some(0), false))),
        Event::Resumed { lapsed: false },
        Event::Resumed { lapsed: true },
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
