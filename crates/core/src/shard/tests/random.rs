//! Random histories of one consumer: a shell that answers late, fails, loses its window and is asked for the lease.
//! A failing case is printed with its seed, and `PROPTEST_RNG_SEED` takes one.

use proptest::prelude::*;

use super::*;

/// The shard has these records, then its end.
const RECORDS: u128 = 6;

struct Shell {
    consumer: Consumer,
    now: u64,
    /// What was begun and has not reported.
    under_way: Vec<Work>,
    settling: bool,
    pausing: bool,
    /// Where the iterator stands; the next record is this one.
    cursor: u128,
    processed: Vec<u128>,
    drain_asked: bool,
    reported: Vec<Effect>,
    last_calls: u32,
    over: bool,
}

impl Shell {
    fn new() -> Self {
        let (consumer, effects) = Consumer::start(Checkpoint::TrimHorizon, Moment::millis(100), POLICY);
        let mut shell = Self {
            consumer,
            now: 0,
            under_way: vec![],
            settling: false,
            pausing: false,
            cursor: 1,
            processed: vec![],
            drain_asked: false,
            reported: vec![],
            last_calls: 0,
            over: false,
        };
        shell.carry_out(effects);
        shell
    }

    fn act(&mut self, act: u8) {
        match act {
            0..=9 => self.answer(act < 8),
            10 => self.now += 41,
            11 | 12 => {
                let (now, until) = (self.moment(), Moment::millis(self.now + 100));
                if !self.drain_asked || matches!(self.consumer.state(), State::Drained { .. }) {
                    let effects = self.consumer.extend(now, until);
                    self.carry_out(effects);
                }
            }
            13 => self.happened(Event::WindowOver),
            14 => self.expire(),
            15 => {
                self.drain_asked = true;
                self.happened(Event::DrainAsked);
            }
            16 => self.happened(Event::DrainTimedOut),
            18 => {
                let effects = self.consumer.resume(self.moment());
                // The pause that was waited for is not waited for any more.
                self.pausing = false;
                self.carry_out(effects);
            }
            _ => self.happened(Event::Stopped(StopReason::Lost)),
        }
    }

    fn moment(&self) -> Moment {
        Moment::millis(self.now)
    }

    /// Whatever is under way comes back.
    fn answer(&mut self, well: bool) {
        if self.pausing {
            self.pausing = false;
            return self.happened(Event::PauseOver);
        }
        if self.settling {
            self.settling = false;
            return self.happened(if well { Event::Called } else { Event::Failed });
        }
        let Some(work) = self.under_way.pop() else { return };
        if !well {
            return self.happened(Event::Failed);
        }
        match work {
            Work::Call(Call::Poisoned { batch, .. }) => {
                let last = number(batch.last.as_ref().unwrap());
                let first = self.processed.last().copied().unwrap_or(0) + 1;
                let judgment = match (first < last, self.now % 3) {
                    (true, _) => {
                        self.cursor = first + 1;
                        Judgment::Narrow(super::batch(Some(first), false))
                    }
                    (false, 0) => Judgment::Skip,
                    (false, 1) => Judgment::Retry,
                    (false, _) => Judgment::Halt,
                };
                if judgment == Judgment::Skip {
                    self.note_processed(batch.last.as_ref().unwrap());
                }
                self.happened(Event::Judged(judgment));
            }
            Work::Call(call) => {
                if let Call::Process(Batch { last: Some(last), .. }) = call {
                    self.note_processed(&last);
                }
                self.happened(Event::Called);
            }
            Work::Seek => {
                self.cursor = match self.consumer.behind() {
                    Checkpoint::At(position) => number(position) + 1,
                    _ => 1,
                };
                self.happened(Event::Sought);
            }
            Work::Fetch => {
                let last = (self.cursor + 1).min(RECORDS);
                let batch = batch((self.cursor <= RECORDS).then_some(last), last == RECORDS);
                self.cursor = last + 1;
                self.happened(Event::Fetched(batch));
            }
            Work::Close => self.happened(Event::Closed),
        }
    }

    fn expire(&mut self) {
        if self.under_way.pop_if(|work| *work == Work::Fetch).is_some() {
            self.happened(Event::Expired);
        }
    }

    fn note_processed(&mut self, last: &Position) {
        let from = self.processed.last().copied().unwrap_or(0) + 1;
        self.processed.extend(from..=number(last));
    }

    fn happened(&mut self, event: Event) {
        let effects = self.consumer.on(self.moment(), event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert!(!self.over, "{effect:?} after the end");
            match effect {
                Effect::Begin(work) => {
                    assert!(
                        self.under_way.is_empty() && !self.settling,
                        "{work:?} beside {:?}",
                        self.under_way
                    );
                    assert!(
                        self.now < self.consumer.deadline().since_origin().as_millis() as u64 || work == Work::Close
                    );
                    if let Work::Call(Call::Process(batch)) = &work {
                        assert!(!self.drain_asked, "records after a drain was asked for");
                        let first = self.processed.last().copied().unwrap_or(0) + 1;
                        let last = number(batch.last.as_ref().unwrap());
                        assert!((first..=first + 1).contains(&last), "{last} does not follow {first}");
                    }
                    if work == Work::Call(Call::ShardEnded) {
                        assert_eq!(self.processed.len() as u128, RECORDS, "the end before the last record");
                    }
                    self.under_way.push(work);
                }
                Effect::RequestShutdown => {
                    assert!(self.under_way.is_empty(), "a call beside {:?}", self.under_way);
                    self.settling = true;
                    self.last_calls += 1;
                }
                Effect::TellLost => self.last_calls += 1,
                Effect::DropRead => self.under_way.retain(|work| !matches!(work, Work::Seek | Work::Fetch)),
                Effect::Wait(_) => self.pausing = true,
                Effect::Interrupt if matches!(self.consumer.state(), State::Drained { .. } | State::Over) => {
                    self.under_way.clear();
                    self.settling = false;
                }
                Effect::Interrupt => {}
                Effect::ReportDrained { .. } => self.reported.push(effect),
                Effect::ReportEnded => {
                    assert_eq!(self.processed.len() as u128, RECORDS);
                    self.reported.push(effect);
                }
                Effect::Alarm(_) => {}
                Effect::Halt(_) => assert!(self.under_way.is_empty(), "{:?} after the halt", self.under_way),
                Effect::Finish => self.over = true,
            }
        }
        assert!(self.last_calls <= 1, "a processor had two last calls");
    }
}

fn number(position: &Position) -> u128 {
    position.sequence.as_str().parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn records_come_in_order_inside_the_window_and_none_is_skipped(acts in prop::collection::vec(0_u8..19, 0..60)) {
        let mut shell = Shell::new();
        for act in acts {
            // The end of the hold is rarer than anything else.
            shell.act(if act == 17 && !shell.now.is_multiple_of(3) { 10 } else { act });
        }
    }

    #[test]
    fn when_the_trouble_ends_every_record_is_processed_and_the_end_reported(acts in prop::collection::vec(prop_oneof![9 => 0_u8..15, 1 => Just(18)], 0..60)) {
        let mut shell = Shell::new();
        for act in acts {
            shell.act(act);
        }
        for _ in 0..60 {
            shell.act(11);
            shell.act(0);
        }
        let halted = matches!(shell.consumer.state(), State::Halted { .. });
        prop_assert!(halted || shell.reported == [Effect::ReportEnded], "{:?} {:?}", shell.consumer.state(), shell.reported);
        prop_assert_eq!(shell.over, !halted);
    }

    #[test]
    fn a_drain_is_always_reported(acts in prop::collection::vec(prop_oneof![9 => 0_u8..15, 1 => Just(18)], 0..40)) {
        let mut shell = Shell::new();
        for act in acts {
            shell.act(act);
        }
        if shell.over {
            return Ok(());
        }
        shell.act(15);
        for _ in 0..8 {
            shell.act(0);
        }
        prop_assert_eq!(shell.reported.len(), 1, "{:?}", shell.consumer.state());
    }
}
