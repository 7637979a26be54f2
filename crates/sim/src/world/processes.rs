//! Processes: they start, are called at their deadlines, and their actions are carried out.

use std::collections::BTreeMap;
use std::time::Duration;

use kinex_core::id::WorkerId;
use kinex_core::lease::Process as Identity;
use kinex_core::member::{Action, Event, Exit, Member, Note, Profile};

use super::{Happening, Sender, World};
use crate::consumer::{Consumer, Work};
use crate::history::Entry;
use crate::network::{between, chance};
use crate::process::{Clock, Process};

impl World<'_> {
    /// The newest living process of a worker.
    pub(crate) fn running(&self, worker: usize) -> Option<usize> {
        self.processes
            .iter()
            .rposition(|process| process.worker == worker && process.alive)
    }

    pub(crate) fn start(&mut self, worker: usize) {
        let number = self.processes.len();
        let identity = Identity {
            worker: WorkerId::from(format!("w{worker}")),
            incarnation: format!("i{number}").into(),
        };
        let drift = self.scenario.drift_ppm;
        let ppm = self.rng.rand_range(0..drift * 2 + 1) as i64 - drift as i64;
        let clock = Clock {
            offset: Duration::from_millis(self.rng.rand_range(0..1_000_000)),
            ppm,
        };
        let profile = Profile {
            process: identity.clone(),
            hard_cap: None,
            address: None,
            started: format!("{:?}", self.now),
        };
        let member = Member::new(self.scenario.config.clone(), profile, clock.local(self.now));
        self.record(Entry::Started(identity.worker.clone(), identity.incarnation.clone()));
        self.processes.push(Process {
            worker,
            identity,
            member,
            clock,
            alive: true,
            paused: false,
            inbox: Vec::new(),
            stalled: Vec::new(),
            consumers: BTreeMap::new(),
            hangs_until: Duration::ZERO,
            cut_until: Duration::ZERO,
            mute_until: Duration::ZERO,
            again: None,
            wake: 0,
        });
        self.schedule_wake(number);
    }

    pub(super) fn schedule_wake(&mut self, process: usize) {
        let actor = &mut self.processes[process];
        actor.wake += 1;
        let number = actor.wake;
        let deadline = actor.clock.world(actor.member.deadline());
        if deadline < Duration::MAX {
            // A busy machine is a little late, now and then a lot.
            let busy = if chance(&mut self.rng, 20) { 200 } else { 3 };
            let late = between(&mut self.rng, Duration::ZERO, Duration::from_millis(busy));
            let at = deadline.max(self.now) + late;
            self.at(at, Happening::Wake(process, number));
        }
    }

    pub(super) fn wake(&mut self, process: usize, number: u64) {
        let actor = &mut self.processes[process];
        if !actor.alive || actor.paused || actor.wake != number {
            return;
        }
        let local = actor.clock.local(self.now);
        let actions = actor.member.poll(local);
        self.act(process, actions);
    }

    pub(crate) fn tell(&mut self, process: usize, event: Event) {
        let actor = &mut self.processes[process];
        if !actor.alive {
            return;
        }
        if actor.paused {
            return actor.inbox.push(event);
        }
        let local = actor.clock.local(self.now);
        let actions = actor.member.on(local, event);
        self.act(process, actions);
    }

    pub(super) fn act(&mut self, process: usize, actions: Vec<Action>) {
        for action in actions {
            self.carry_out(process, action);
        }
        if self.processes[process].alive {
            self.schedule_wake(process);
        }
    }

    pub(super) fn carry_out(&mut self, process: usize, action: Action) {
        let worker = self.processes[process].identity.worker.clone();
        match action {
            Action::Send { id, request } => self.call(process, Sender::Member(id), request),
            Action::Start { hold, lease, until } => {
                let consumer = Consumer::start(hold.clone(), &lease.checkpoint, until);
                self.processes[process].consumers.insert(hold.key.clone(), consumer);
                self.activated(process, &hold.key);
                self.tick_soon(process, &hold, Duration::ZERO);
            }
            Action::Extend { hold, until } => self.extend(process, &hold, until),
            Action::Drain { hold } => {
                if let Some(consumer) = self.consumer(process, &hold) {
                    consumer.work = Work::Draining;
                    let at = self.drain_ends(process);
                    self.at(at, Happening::DrainTimeout(process, hold.clone()));
                    self.idle_if_drained(process, &hold);
                }
            }
            Action::Stop { hold, .. } => {
                if self.consumer(process, &hold).is_some() {
                    self.ended(process, &hold);
                    self.processes[process].consumers.remove(&hold.key);
                }
            }
            Action::Note(Note::Planned { coming, .. }) => self.record(Entry::Plan { worker, coming }),
            Action::Note(Note::Moved { key, reason, .. }) => self.record(Entry::Moved {
                worker,
                shard: key,
                reason,
            }),
            Action::Note(_) => {}
            Action::Exit(exit) => self.exited(process, &exit),
        }
    }

    /// When a processor that is asked now must be at rest; who speaks for one that hangs waits a second more.
    fn drain_ends(&self, process: usize) -> Duration {
        let actor = &self.processes[process];
        let local = actor.clock.local(self.now) + self.scenario.config.drain_timeout;
        let hangs = self.now < actor.hangs_until;
        actor.clock.world(local) + Duration::from_secs(u64::from(hangs))
    }

    pub(super) fn exited(&mut self, process: usize, exit: &Exit) {
        let actor = &mut self.processes[process];
        actor.alive = false;
        actor.consumers.clear();
        let (identity, worker, again) = (actor.identity.clone(), actor.worker, actor.again);
        let text = match exit {
            Exit::Departed => "departed".to_owned(),
            Exit::NameInUse(row) => format!("name in use by {}", row.incarnation),
            Exit::Replaced(row) => format!("replaced by {:?}", row.as_ref().map(|row| &row.incarnation)),
            Exit::RenewalModeDiffers { .. } => "renewal mode differs".to_owned(),
        };
        self.record(Entry::Exited(identity.worker, identity.incarnation, text));
        let again = if *exit == Exit::Departed {
            again
        } else {
            Some(Duration::from_secs(3))
        };
        if let Some(again) = again {
            self.after(again, Happening::Revive(worker));
        }
    }
}
