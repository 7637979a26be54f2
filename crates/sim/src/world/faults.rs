//! What goes wrong, and when it stops.

use std::time::Duration;

use kinex_core::id::{ShardId, WorkerId};
use kinex_core::member::Event;

use super::{Happening, World};
use crate::history::Entry;
use crate::network::between;
use crate::process::Process;
use crate::scenario::{Fault, Net};

impl World<'_> {
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.record(Entry::Fault(format!("{fault:?}")));
        match fault {
            Fault::Start(worker) => self.start(worker),
            Fault::Crash { worker, witness, again } => self.crash(worker, witness, again),
            Fault::Pause { worker, lasts } => {
                if let Some(process) = self.running(worker).filter(|process| !self.processes[*process].paused) {
                    self.processes[process].paused = true;
                    self.after(lasts, Happening::Resume(process));
                }
            }
            Fault::Depart { worker, how, again } => {
                if let Some(process) = self.running(worker) {
                    self.processes[process].again = again;
                    self.tell(process, Event::Depart(how));
                }
            }
            Fault::RemoveRow(worker) => {
                self.database.workers.remove(&WorkerId::from(format!("w{worker}")));
            }
            Fault::Hang { worker, lasts } => {
                let until = self.now + lasts;
                self.of_running(worker, |process| process.hangs_until = until);
            }
            Fault::Cut { worker, lasts } => {
                let until = self.now + lasts;
                self.of_running(worker, |process| process.cut_until = until);
            }
            Fault::Mute { worker, lasts } => {
                let until = self.now + lasts;
                self.of_running(worker, |process| process.mute_until = until);
            }
            Fault::Split(nth) => self.split(nth),
        }
    }

    pub(super) fn of_running(&mut self, worker: usize, change: impl FnOnce(&mut Process)) {
        if let Some(process) = self.running(worker) {
            change(&mut self.processes[process]);
        }
    }

    pub(super) fn crash(&mut self, worker: usize, witness: bool, again: Option<Duration>) {
        let Some(process) = self.running(worker) else { return };
        let actor = &mut self.processes[process];
        actor.alive = false;
        actor.consumers.clear();
        actor.stalled.clear();
        let identity = actor.identity.clone();
        if witness {
            let span = between(&mut self.rng, Duration::from_millis(10), Duration::from_millis(500));
            self.after(span, Happening::Witness(identity));
        }
        if let Some(again) = again {
            self.after(again, Happening::Revive(worker));
        }
    }

    /// The process wakes: what came meanwhile and what it was about to do happen now, in any order.
    pub(super) fn resume(&mut self, process: usize) {
        let actor = &mut self.processes[process];
        if !actor.alive || !actor.paused {
            return;
        }
        actor.paused = false;
        let inbox = std::mem::take(&mut actor.inbox);
        let stalled = std::mem::take(&mut actor.stalled);
        let keys: Vec<ShardId> = actor.consumers.keys().cloned().collect();
        for key in keys {
            self.activated(process, &key);
        }
        for event in inbox {
            let span = between(&mut self.rng, Duration::ZERO, Duration::from_millis(3));
            self.after(span, Happening::Tell(process, event));
        }
        for happening in stalled {
            let span = between(&mut self.rng, Duration::ZERO, Duration::from_millis(3));
            self.after(span, happening);
        }
        self.schedule_wake(process);
    }

    /// The faults are over, and whoever fell starts again.
    pub(super) fn calm_down(&mut self) {
        self.record(Entry::Fault("calm".to_owned()));
        self.calm = true;
        self.net = Net::CALM;
        let now = self.now;
        for process in 0..self.processes.len() {
            let actor = &mut self.processes[process];
            actor.hangs_until = actor.hangs_until.min(now);
            actor.cut_until = actor.cut_until.min(now);
            actor.mute_until = actor.mute_until.min(now);
            self.resume(process);
        }
        if self.scenario.storm.is_some() {
            for worker in 0..self.scenario.workers {
                if self.running(worker).is_none() {
                    self.start(worker);
                }
            }
        }
    }
}
