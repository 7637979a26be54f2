//! Every state, every event, and what follows.

use super::{Batch, Call, Effect, Event, Judgment, RetryPolicy, State, Work};

/// The state after an event, and what to do then. An event that means nothing in a state (the late answer to something
/// that no longer matters) changes nothing.
pub fn step(state: State, event: Event, policy: &RetryPolicy) -> (State, Vec<Effect>) {
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Over, _) => (S::Over, vec![]),

        // The hold is over. A processor that has not had its last call gets it now.
        (S::Drained { told: true }, E::Stopped(_)) => (S::Over, vec![Effect::Finish]),
        (S::Settling, E::Stopped(_)) => (S::Over, vec![Effect::Interrupt, Effect::Finish]),
        (state, E::Stopped(_)) => (
            S::Over,
            [interrupt(&state), vec![Effect::TellLost, Effect::Finish]].concat(),
        ),

        // Work inside the window.
        (S::Busy { work, failures }, E::Failed) => failed(work, failures.saturating_add(1), policy),
        (S::Busy { work, failures }, E::WindowOver) => {
            let state = S::Lapsed {
                work,
                failures,
                under_way: true,
            };
            let effects = interrupt(&state);
            (state, effects)
        }
        (S::Busy { work, .. }, E::DrainAsked) => finishing(work),
        (
            S::Busy {
                work: Work::Call(Call::Poisoned { batch, failures }),
                ..
            },
            E::Judged(judgment @ (Judgment::Retry | Judgment::Halt)),
        ) => match judgment {
            Judgment::Retry => pausing(Work::Call(Call::Process(batch)), failures, policy),
            _ => halted(Call::Process(batch)),
        },
        (S::Busy { work, failures }, event) => match follows(&work, event) {
            Next::Work(work) => begin(work, 0),
            Next::Ended => ended(),
            Next::Same => (S::Busy { work, failures }, vec![]),
        },

        // A pause after a failure.
        (S::Pausing { work, failures }, E::PauseOver | E::Resumed { .. }) => begin(work, failures),
        (S::Pausing { work, failures }, E::WindowOver) => (
            S::Lapsed {
                work,
                failures,
                under_way: false,
            },
            vec![],
        ),
        (S::Pausing { work, .. }, E::DrainAsked) => at_rest(work),
        (state @ S::Pausing { .. }, _) => (state, vec![]),

        // Too many failures. The window is of no interest here: nothing is delivered anyhow.
        (S::Halted { call }, E::DrainAsked) => at_rest(Work::Call(call)),
        (S::Halted { call }, E::Resumed { lapsed: false }) => begin(resumed(call), 0),
        (S::Halted { call }, E::Resumed { lapsed: true }) => {
            let state = S::Lapsed {
                work: resumed(call),
                failures: 0,
                under_way: false,
            };
            (state, vec![])
        }
        (state @ S::Halted { .. }, _) => (state, vec![]),

        // Outside the window. What began inside it may still come back, and counts.
        (
            S::Lapsed {
                work,
                failures,
                under_way,
            },
            E::Extended,
        ) => {
            if under_way {
                (S::Busy { work, failures }, vec![])
            } else {
                begin(work, failures)
            }
        }
        (S::Lapsed { work, under_way, .. }, E::DrainAsked) => {
            if under_way {
                finishing(work)
            } else {
                at_rest(work)
            }
        }
        (
            S::Lapsed {
                work: Work::Call(Call::Poisoned { batch, failures }),
                under_way: true,
                ..
            },
            E::Judged(judgment @ (Judgment::Retry | Judgment::Halt)),
        ) => match judgment {
            Judgment::Retry => {
                let state = S::Lapsed {
                    work: Work::Call(Call::Process(batch)),
                    failures,
                    under_way: false,
                };
                (state, vec![])
            }
            _ => halted(Call::Process(batch)),
        },
        (
            S::Lapsed {
                work,
                failures,
                under_way: true,
            },
            event,
        ) => match (follows(&work, event.clone()), event) {
            (Next::Work(work), _) => (
                S::Lapsed {
                    work,
                    failures: 0,
                    under_way: false,
                },
                vec![],
            ),
            (Next::Ended, _) => ended(),
            // It was interrupted: that is not the processor's fault and not counted.
            (Next::Same, event) => (
                S::Lapsed {
                    work,
                    failures,
                    under_way: event != E::Failed,
                },
                vec![],
            ),
        },
        (state @ S::Lapsed { .. }, _) => (state, vec![]),

        // A drain. Once asked for, nothing new is given to the processor.
        (
            S::Finishing {
                work: Work::Call(Call::ShardEnded),
            },
            E::Called,
        ) => (S::Finishing { work: Work::Close }, vec![Effect::Begin(Work::Close)]),
        (S::Finishing { work: Work::Close }, E::Closed) => ended(),
        (S::Finishing { work: Work::Call(_) }, E::Called | E::Judged(_)) => settling(),
        (S::Finishing { work }, E::Failed) => at_rest(work),
        (state @ S::Finishing { .. }, E::WindowOver) => {
            let effects = interrupt(&state);
            (state, effects)
        }
        // A write comes back by itself, and whether the shard has ended must be known.
        (state @ S::Finishing { work: Work::Close }, E::DrainTimedOut) => (state, vec![]),
        (S::Finishing { work }, E::DrainTimedOut) => {
            let effects = interrupt(&S::Finishing { work });
            (
                S::Drained { told: false },
                [effects, vec![Effect::ReportDrained { clean: false }]].concat(),
            )
        }
        (state @ S::Finishing { .. }, _) => (state, vec![]),
        (S::Settling, E::Called) => drained(true, true),
        (S::Settling, E::Failed) => drained(true, false),
        (S::Settling, E::DrainTimedOut) => (
            S::Drained { told: true },
            vec![Effect::Interrupt, Effect::ReportDrained { clean: false }],
        ),
        (S::Settling, _) => (S::Settling, vec![]),

        // An extension that was under way when the drain ended brings nothing back.
        (state @ S::Drained { .. }, _) => (state, vec![]),
    }
}

/// What follows work that came back.
enum Next {
    Work(Work),
    Ended,
    /// The event is not an answer to this work.
    Same,
}

fn follows(work: &Work, event: Event) -> Next {
    match (work, event) {
        (Work::Call(Call::Initialize), Event::Called) => Next::Work(Work::Seek),
        (Work::Call(Call::Process(batch)), Event::Called)
        | (Work::Call(Call::Poisoned { batch, .. }), Event::Judged(Judgment::Skip)) => Next::Work(if batch.end {
            Work::Call(Call::ShardEnded)
        } else {
            Work::Fetch
        }),
        (Work::Call(Call::Poisoned { .. }), Event::Judged(Judgment::Narrow(first))) => {
            Next::Work(Work::Call(Call::Process(first)))
        }
        (Work::Call(Call::ShardEnded), Event::Called) => Next::Work(Work::Close),
        (Work::Seek, Event::Sought) => Next::Work(Work::Fetch),
        (Work::Fetch, Event::Fetched(Batch { last: None, end: false })) => Next::Work(Work::Fetch),
        (Work::Fetch, Event::Fetched(Batch { last: None, end: true })) => Next::Work(Work::Call(Call::ShardEnded)),
        (Work::Fetch, Event::Fetched(batch)) => Next::Work(Work::Call(Call::Process(batch))),
        (Work::Fetch, Event::Expired) => Next::Work(Work::Seek),
        (Work::Close, Event::Closed) => Next::Ended,
        _ => Next::Same,
    }
}

fn begin(work: Work, failures: u32) -> (State, Vec<Effect>) {
    let effects = vec![Effect::Begin(work.clone())];
    (State::Busy { work, failures }, effects)
}

fn failed(work: Work, failures: u32, policy: &RetryPolicy) -> (State, Vec<Effect>) {
    let Work::Call(call) = work else {
        return pausing(work, failures, policy);
    };
    if !policy.exhausted_by(failures) {
        return pausing(Work::Call(call), failures, policy);
    }
    let alarm = vec![Effect::Alarm(call.clone())];
    let (state, effects) = match call {
        Call::Process(batch) => begin(Work::Call(Call::Poisoned { batch, failures }), 0),
        Call::Initialize | Call::ShardEnded if policy.halts => return halted(call),
        // Who decides about records fails himself; nothing is decided for him.
        call => pausing(Work::Call(call), failures, policy),
    };
    (state, [alarm, effects].concat())
}

fn pausing(work: Work, failures: u32, policy: &RetryPolicy) -> (State, Vec<Effect>) {
    let effects = vec![Effect::Wait(policy.pause_after(failures))];
    (State::Pausing { work, failures }, effects)
}

fn halted(call: Call) -> (State, Vec<Effect>) {
    (State::Halted { call: call.clone() }, vec![Effect::Halt(call)])
}

/// What a halted shard begins with: its records were given up and are read again.
fn resumed(call: Call) -> Work {
    match call {
        Call::Process(_) | Call::Poisoned { .. } => Work::Seek,
        call => Work::Call(call),
    }
}

/// A drain was asked for while the work is under way: reads are given up, calls and writes are waited for.
fn finishing(work: Work) -> (State, Vec<Effect>) {
    match work {
        Work::Seek | Work::Fetch => {
            let (state, effects) = settling();
            (state, [vec![Effect::DropRead], effects].concat())
        }
        work => (State::Finishing { work }, vec![]),
    }
}

/// A drain was asked for and nothing is under way (any more).
fn at_rest(work: Work) -> (State, Vec<Effect>) {
    match work {
        // It never began, or has had its last call: there is nothing to make durable, and nothing to be sure of.
        Work::Call(Call::Initialize) => drained(false, false),
        Work::Call(Call::ShardEnded) => drained(true, false),
        // The processor agreed to the end; the next owner finds nothing behind the last record and says so.
        Work::Close => drained(true, true),
        Work::Call(Call::Process(_) | Call::Poisoned { .. }) | Work::Seek | Work::Fetch => settling(),
    }
}

fn settling() -> (State, Vec<Effect>) {
    (State::Settling, vec![Effect::RequestShutdown])
}

fn drained(told: bool, clean: bool) -> (State, Vec<Effect>) {
    (State::Drained { told }, vec![Effect::ReportDrained { clean }])
}

fn ended() -> (State, Vec<Effect>) {
    (State::Over, vec![Effect::ReportEnded, Effect::Finish])
}

/// A call of the processor that is under way is cancelled.
fn interrupt(state: &State) -> Vec<Effect> {
    match state {
        State::Busy {
            work: Work::Call(_), ..
        }
        | State::Finishing { work: Work::Call(_) }
        | State::Lapsed {
            work: Work::Call(_),
            under_way: true,
            ..
        } => vec![Effect::Interrupt],
        _ => vec![],
    }
}
