//! Requests: on the wire, at the tables, and their answers.

use std::time::Duration;

use kinex_core::id::ShardId;
use kinex_core::lease::{Lease, LeaseWrite};
use kinex_core::member::{Event, Reply, Request, Written};

use super::{Call, Happening, Sender, World};
use crate::history::Entry;
use crate::network::{Fate, between, chance, fate};

impl World<'_> {
    pub(super) fn call(&mut self, process: usize, sender: Sender, request: Request) {
        let kind = kind(&request);
        *self.requests.entry(kind).or_default() += 1;
        if kind != "checkpoint" && self.now >= self.end() - self.scenario.quiet_for {
            self.quiet_requests += 1;
        }
        let mut fate = fate(&mut self.rng, &self.net);
        let actor = &self.processes[process];
        let muted = self.now < actor.mute_until && kind == "beat";
        if self.now < actor.cut_until || muted {
            fate.arrives_after = None;
            fate.timeout = fate.timeout.or(Some(self.net.timeout));
        }
        if matches!(sender, Sender::Processor(_)) {
            // A checkpoint that lands after a later one of its epoch would take it back; only the records' order, which
            // the model of a store cannot compare, could tell. So checkpoints arrive soon or never, and are always
            // given up in time for the next.
            fate.arrives_after = fate.arrives_after.map(|span| span.min(Duration::from_millis(500)));
            fate.timeout = Some(self.net.timeout);
        }
        let call = Call {
            sender,
            request,
            sent: actor.clock.local(self.now),
        };
        if let Some(timeout) = fate.timeout {
            self.after(timeout, Happening::Answer(process, call.clone(), Reply::Failed));
        }
        self.after(fate.leaves_after, Happening::Leave(process, call, fate));
    }

    pub(super) fn leave(&mut self, process: usize, call: Call, fate: Fate) {
        let actor = &mut self.processes[process];
        let processor = matches!(call.sender, Sender::Processor(_));
        if actor.paused && !processor {
            return actor.stalled.push(Happening::Leave(process, call, fate));
        }
        // A checkpoint that lands after a later one is beyond what the processors' model can tell: see `call`.
        if processor && (actor.paused || !actor.alive) {
            return;
        }
        if let Some(arrives) = fate.arrives_after {
            self.after(arrives, Happening::Arrive(process, call, fate));
        }
    }

    pub(super) fn arrive(&mut self, process: usize, call: Call, fate: Fate) {
        let reply = match &call.request {
            Request::OpenGroup(renewal) => self.database.open_group(*renewal),
            Request::Members => self.database.members(),
            Request::MembersPresent => self.database.members_present(),
            Request::Worker(id) => Reply::Worker(self.database.workers.get(id).cloned()),
            Request::Leases => return self.page(process, call, fate, None, Vec::new()),
            Request::Lease(key) => Reply::Lease(self.database.leases.get(key).cloned()),
            Request::WriteLease(write) => Reply::LeaseWritten(self.write_lease(process, write)),
            Request::WriteWorker(write) => Reply::WorkerWritten(self.database.write_worker(write)),
        };
        self.reply(process, call, fate, reply);
    }

    pub(super) fn reply(&mut self, process: usize, call: Call, fate: Fate, reply: Reply) {
        if let Some(answered) = fate.answered_after {
            self.after(answered, Happening::Answer(process, call, reply));
        }
    }

    pub(super) fn page(
        &mut self,
        process: usize,
        call: Call,
        fate: Fate,
        behind: Option<ShardId>,
        mut rows: Vec<Lease>,
    ) {
        const PAGE: usize = 8;
        let reader = self.processes[process].identity.worker.clone();
        if chance(&mut self.rng, self.net.page_fails) {
            return self.reply(process, call, fate, Reply::Failed);
        }
        let next: Vec<Lease> = self
            .database
            .leases
            .values()
            .filter(|row| behind.as_ref().is_none_or(|behind| row.key > *behind))
            .take(PAGE)
            .cloned()
            .collect();
        let last = next.last().map(|row| row.key.clone()).filter(|_| next.len() == PAGE);
        for row in next {
            let stale = chance(&mut self.rng, self.net.stale);
            let old = self.database.stale(&row.key, &reader).filter(|_| stale).cloned();
            rows.push(old.unwrap_or(row));
        }
        match last {
            Some(last) => {
                let late = if chance(&mut self.rng, self.net.slow) { 2_000 } else { 4 };
                let span = between(&mut self.rng, Duration::from_millis(1), Duration::from_millis(late));
                self.after(span, Happening::Page(process, call, fate, Some(last), rows));
            }
            None => self.reply(process, call, fate, Reply::Leases(rows)),
        }
    }

    pub(super) fn write_lease(&mut self, process: usize, write: &LeaseWrite) -> Written<Lease> {
        let change = self.database.write_lease(write);
        let writer = self.processes[process].identity.clone();
        match &change.written {
            Written::Done(after) => self.record(Entry::Lease {
                writer: writer.worker,
                incarnation: writer.incarnation,
                write: write.kind(),
                before: change.before.map(Box::new),
                after: after.clone().map(Box::new),
            }),
            Written::Refused(_) => self.record(Entry::Refused {
                writer: writer.worker,
                write: write.kind(),
                shard: write.key().clone(),
            }),
        }
        change.written
    }

    pub(super) fn answer(&mut self, process: usize, call: Call, reply: Reply) {
        let actor = &mut self.processes[process];
        if !actor.alive {
            return;
        }
        match &call.sender {
            Sender::Member(id) => {
                let id = *id;
                self.tell(process, Event::Reply { id, reply });
            }
            Sender::Processor(_) if actor.paused => actor.stalled.push(Happening::Answer(process, call, reply)),
            Sender::Processor(hold) => {
                let hold = hold.clone();
                self.saved(process, &hold, &call, reply);
            }
        }
    }
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::OpenGroup(_) => "open-group",
        Request::Members => "members",
        Request::MembersPresent => "members-present",
        Request::Worker(_) => "worker",
        Request::Leases => "leases",
        Request::Lease(_) => "lease",
        Request::WriteLease(write) => write.kind(),
        Request::WriteWorker(write) => write.kind(),
    }
}
