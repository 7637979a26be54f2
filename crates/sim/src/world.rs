//! The scheduler: virtual time, one happening after the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use kinex_core::id::{Epoch, ShardId, WorkerId};
use kinex_core::lease::{Checkpoint, Lease, LeaseWrite, Process as Identity};
use kinex_core::member::{Action, Event, Exit, Hold, Member, Note, Profile, Reply, Request, RequestId, Written};
use kinex_core::time::Moment;
use kinex_core::worker::WorkerWrite;
use oorandom::Rand64;

use crate::checks::{self, Violation};
use crate::consumer::{Consumer, Shard, Work, behind, up_to};
use crate::database::Database;
use crate::history::{Entry, History, Who};
use crate::network::{Fate, between, chance, fate};
use crate::process::{Clock, Process};
use crate::scenario::{Fault, Net, Scenario};
use crate::storm;

/// What one run gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Everything that happened.
    pub history: History,
    /// What should not have.
    pub violations: Vec<Violation>,
    /// Figures.
    pub stats: Stats,
}

/// Figures of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Requests by kind, over the whole run.
    pub requests: BTreeMap<&'static str, u64>,
    /// Requests of the members in the quiet time at the end, per second (checkpoints of processors not counted).
    pub requests_per_second: f64,
    /// Leases that came from a worker that was alive: by a yield or by a forced take.
    pub moves: usize,
    /// From the last scripted fault to the last time that a shard came to be delivered by another process.
    pub settled_after: Duration,
    /// Records delivered.
    pub delivered: u64,
    /// Records delivered once more.
    pub duplicates: u64,
}

/// Something that is due.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A member's deadline; the number tells a later deadline from an outdated one.
    Wake(usize, u64),
    /// A request goes on the wire.
    Leave(usize, Call, Fate),
    /// A request reaches the tables.
    Arrive(usize, Call, Fate),
    /// The next page of a scan is read, behind this key.
    Page(usize, Call, Fate, Option<ShardId>, Vec<Lease>),
    /// An answer reaches its process.
    Answer(usize, Call, Reply),
    /// An event reaches its member.
    Tell(usize, Event),
    /// A processor looks for records.
    Tick(usize, Hold),
    /// A processor has finished its batch.
    Finish(usize, Hold),
    /// Something goes wrong.
    Strike(Fault),
    /// The next random fault.
    Storm,
    /// A process wakes from its sleep.
    Resume(usize),
    /// Somebody who knows says that a process has ended.
    Witness(Identity),
    /// A worker starts unless it runs.
    Revive(usize),
    /// Rows for new shards.
    Sync(Vec<ShardId>, ShardId),
    /// The row of a finished shard goes.
    Sweep(ShardId),
    /// Nothing goes wrong any more.
    Calm,
}

/// A request, and who in the process sent it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) sender: Sender,
    pub(crate) request: Request,
    pub(crate) sent: Moment,
}

#[derive(Clone, Debug)]
pub(crate) enum Sender {
    Member(RequestId),
    Processor(Hold),
}

pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) rng: Rand64,
    pub(crate) now: Duration,
    net: Net,
    pub(crate) calm: bool,
    queue: BinaryHeap<Reverse<(Duration, u64, u64)>>,
    due: BTreeMap<u64, Happening>,
    scheduled: u64,
    database: Database,
    pub(crate) shards: Vec<Shard>,
    pub(crate) processes: Vec<Process>,
    pub(crate) history: History,
    requests: BTreeMap<&'static str, u64>,
    quiet_requests: u64,
}

/// Plays one seed.
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let mut world = World::new(scenario, seed);
    world.play();
    let (violations, mut stats) = checks::all(scenario, &world.history, &world.final_view());
    stats.requests_per_second = world.quiet_requests as f64 / scenario.quiet_for.as_secs_f64();
    stats.requests = world.requests;
    Outcome {
        history: world.history,
        violations,
        stats,
    }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let mut world = Self {
            scenario,
            rng: Rand64::new(u128::from(seed)),
            now: Duration::ZERO,
            net: scenario.net,
            calm: false,
            queue: BinaryHeap::new(),
            due: BTreeMap::new(),
            scheduled: 0,
            database: Database::default(),
            shards: Vec::new(),
            processes: Vec::new(),
            history: History::default(),
            requests: BTreeMap::new(),
            quiet_requests: 0,
        };
        for _ in 0..scenario.shards {
            let id = world.open_shard(Vec::new());
            world.make_row(&id, &[]);
        }
        for worker in 0..scenario.workers {
            let at = between(&mut world.rng, Duration::ZERO, Duration::from_secs(1));
            world.at(at, Happening::Revive(worker));
        }
        for (at, fault) in &scenario.script {
            world.at(*at, Happening::Strike(*fault));
        }
        if scenario.storm.is_some() {
            world.at(Duration::from_secs(5), Happening::Storm);
        }
        world.at(scenario.faults_for, Happening::Calm);
        world
    }

    fn play(&mut self) {
        let end = self.end();
        while let Some(Reverse((at, _, number))) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            if let Some(happening) = self.due.remove(&number) {
                self.happens(happening);
            }
        }
        self.now = end;
    }

    pub(crate) fn end(&self) -> Duration {
        self.scenario.faults_for + self.scenario.converge_in + self.scenario.quiet_for
    }

    /// When the last record is produced; the rest of the run drains the stream.
    fn last_record(&self) -> Duration {
        self.end() - Duration::from_secs(8)
    }

    pub(crate) fn after(&mut self, span: Duration, happening: Happening) {
        self.at(self.now + span, happening);
    }

    fn at(&mut self, at: Duration, happening: Happening) {
        self.scheduled += 1;
        // What happens at the same moment happens in any order.
        let tie = self.rng.rand_u64();
        self.queue.push(Reverse((at, tie, self.scheduled)));
        self.due.insert(self.scheduled, happening);
    }

    pub(crate) fn record(&mut self, entry: Entry) {
        self.history.entries.push((self.now, entry));
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(process, number) => self.wake(process, number),
            Happening::Leave(process, call, fate) => self.leave(process, call, fate),
            Happening::Arrive(process, call, fate) => self.arrive(process, call, fate),
            Happening::Page(process, call, fate, behind, rows) => self.page(process, call, fate, behind, rows),
            Happening::Answer(process, call, reply) => self.answer(process, call, reply),
            Happening::Tell(process, event) => self.tell(process, event),
            Happening::Tick(process, hold) => self.tick(process, &hold),
            Happening::Finish(process, hold) => self.finish(process, hold),
            Happening::Strike(fault) => self.strike(fault),
            Happening::Storm => storm::strike(self),
            Happening::Resume(process) => self.resume(process),
            Happening::Witness(identity) => {
                let _ = self.database.write_worker(&WorkerWrite::End { process: identity });
            }
            Happening::Revive(worker) => {
                if self.running(worker).is_none() {
                    self.start(worker);
                }
            }
            Happening::Sync(children, parent) => self.sync(&children, &parent),
            Happening::Sweep(shard) => self.sweep(&shard),
            Happening::Calm => self.calm_down(),
        }
    }

    // ---- processes -------------------------------------------------------------------------------------------------

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
            address: self.scenario.pokes.then(|| format!("w{worker}")),
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

    fn schedule_wake(&mut self, process: usize) {
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

    fn wake(&mut self, process: usize, number: u64) {
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

    fn act(&mut self, process: usize, actions: Vec<Action>) {
        for action in actions {
            self.carry_out(process, action);
        }
        if self.processes[process].alive {
            self.schedule_wake(process);
        }
    }

    fn carry_out(&mut self, process: usize, action: Action) {
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
                    self.idle_if_drained(process, &hold);
                }
            }
            Action::Stop { hold, .. } => {
                if self.consumer(process, &hold).is_some() {
                    self.ended(process, &hold);
                    self.processes[process].consumers.remove(&hold.key);
                }
            }
            Action::Poke { address } => {
                let target = (0..self.scenario.workers * 2 + 4).find(|worker| format!("w{worker}") == address);
                if let Some(target) = target.and_then(|worker| self.running(worker))
                    && (self.calm || chance(&mut self.rng, 800))
                {
                    self.after(Duration::from_millis(2), Happening::Tell(target, Event::Poked));
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

    fn exited(&mut self, process: usize, exit: &Exit) {
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

    // ---- requests --------------------------------------------------------------------------------------------------

    fn call(&mut self, process: usize, sender: Sender, request: Request) {
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

    fn leave(&mut self, process: usize, call: Call, fate: Fate) {
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

    fn arrive(&mut self, process: usize, call: Call, fate: Fate) {
        let reply = match &call.request {
            Request::OpenGroup(renewal) => self.database.open_group(*renewal),
            Request::Members => self.database.members(),
            Request::Worker(id) => Reply::Worker(self.database.workers.get(id).cloned()),
            Request::Leases => return self.page(process, call, fate, None, Vec::new()),
            Request::Lease(key) => Reply::Lease(self.database.leases.get(key).cloned()),
            Request::WriteLease(write) => Reply::LeaseWritten(self.write_lease(process, write)),
            Request::WriteWorker(write) => Reply::WorkerWritten(self.database.write_worker(write)),
        };
        self.reply(process, call, fate, reply);
    }

    fn reply(&mut self, process: usize, call: Call, fate: Fate, reply: Reply) {
        if let Some(answered) = fate.answered_after {
            self.after(answered, Happening::Answer(process, call, reply));
        }
    }

    fn page(&mut self, process: usize, call: Call, fate: Fate, behind: Option<ShardId>, mut rows: Vec<Lease>) {
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

    fn write_lease(&mut self, process: usize, write: &LeaseWrite) -> Written<Lease> {
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

    fn answer(&mut self, process: usize, call: Call, reply: Reply) {
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

    // ---- processors ------------------------------------------------------------------------------------------------

    fn consumer(&mut self, process: usize, hold: &Hold) -> Option<&mut Consumer> {
        let consumer = self.processes[process].consumers.get_mut(&hold.key)?;
        (consumer.hold == *hold).then_some(consumer)
    }

    fn extend(&mut self, process: usize, hold: &Hold, until: Moment) {
        let was = self.processes[process].delivers(&hold.key, self.now);
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        consumer.until = until;
        consumer.work = Work::Running;
        if !was {
            self.activated(process, &hold.key);
        }
        self.tick_soon(process, hold, Duration::ZERO);
    }

    /// The process may deliver the shard from now on: who else may?
    fn activated(&mut self, process: usize, key: &ShardId) {
        if !self.processes[process].delivers(key, self.now) {
            return;
        }
        let others = self.processes.iter().enumerate().filter(|(other, _)| *other != process);
        let rivals: Vec<Who> = others
            .filter(|(_, other)| other.delivers(key, self.now))
            .filter_map(|(_, other)| other.who(key))
            .collect();
        let actor = &self.processes[process];
        let by = actor.who(key).expect("it delivers the shard");
        let until = actor.clock.world(actor.consumers[key].until);
        let shard = key.clone();
        self.record(Entry::OwnStart {
            by,
            shard,
            until,
            rivals,
        });
    }

    fn ended(&mut self, process: usize, hold: &Hold) {
        if let Some(by) = self.processes[process].who(&hold.key) {
            let shard = hold.key.clone();
            self.record(Entry::OwnEnd { by, shard });
        }
    }

    fn tick_soon(&mut self, process: usize, hold: &Hold, span: Duration) {
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        if !consumer.ticking && consumer.in_flight.is_none() {
            consumer.ticking = true;
            self.after(span, Happening::Tick(process, hold.clone()));
        }
    }

    /// Reads and hands out a batch, while the window is open.
    fn tick(&mut self, process: usize, hold: &Hold) {
        const BATCH: u64 = 10;
        let now = self.now;
        if !self.processes[process].alive {
            return;
        }
        if self.processes[process].paused {
            return self.processes[process]
                .stalled
                .push(Happening::Tick(process, hold.clone()));
        }
        let (rate, stops) = (self.scenario.rate, self.last_record());
        let Some(shard) = self.shards.iter().find(|shard| shard.id == hold.key).cloned() else {
            return;
        };
        let local = self.processes[process].clock.local(now);
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        consumer.ticking = false;
        if consumer.work != Work::Running || local >= consumer.until || consumer.in_flight.is_some() {
            return;
        }
        let (from, to) = (
            consumer.next,
            shard.records(now, rate, stops).min(consumer.next + BATCH),
        );
        if to > from {
            consumer.in_flight = Some(to);
            let by = self.processes[process].who(&hold.key).expect("it has the consumer");
            let shard = hold.key.clone();
            self.record(Entry::Deliver { by, shard, from, to });
            let work = between(&mut self.rng, Duration::from_millis(5), Duration::from_millis(150));
            let ready = (now + work).max(self.processes[process].hangs_until);
            self.at(ready, Happening::Finish(process, hold.clone()));
        } else if shard.closed.is_some() {
            self.save(process, hold, Checkpoint::ShardEnd);
            self.tick_soon(process, hold, Duration::from_millis(800));
        } else {
            self.tick_soon(process, hold, Duration::from_millis(500));
        }
    }

    fn finish(&mut self, process: usize, hold: Hold) {
        let actor = &mut self.processes[process];
        if !actor.alive {
            return;
        }
        if actor.paused {
            return actor.stalled.push(Happening::Finish(process, hold));
        }
        if self.now < actor.hangs_until {
            let at = actor.hangs_until;
            return self.at(at, Happening::Finish(process, hold));
        }
        let save = chance(&mut self.rng, 250);
        let Some(consumer) = self.consumer(process, &hold) else {
            return;
        };
        let Some(to) = consumer.in_flight.take() else { return };
        consumer.next = to;
        let draining = consumer.work != Work::Running;
        if draining {
            self.idle_if_drained(process, &hold);
        } else {
            if save {
                self.save(process, &hold, up_to(to));
            }
            self.tick_soon(process, &hold, Duration::from_millis(300));
        }
    }

    /// Writes a checkpoint, one at a time.
    fn save(&mut self, process: usize, hold: &Hold, checkpoint: Checkpoint) {
        let children = self
            .shards
            .iter()
            .find(|shard| shard.id == hold.key)
            .map(|shard| shard.children.clone());
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        if consumer.saving.is_some() {
            return;
        }
        consumer.saving = Some(checkpoint.clone());
        let ended = checkpoint == Checkpoint::ShardEnd;
        let write = LeaseWrite::Checkpoint {
            key: hold.key.clone(),
            by: hold.fence.clone(),
            checkpoint,
            children: children.filter(|_| ended).unwrap_or_default().into_iter().collect(),
        };
        self.call(process, Sender::Processor(hold.clone()), Request::WriteLease(write));
    }

    /// A checkpoint was answered.
    fn saved(&mut self, process: usize, hold: &Hold, call: &Call, reply: Reply) {
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        let Request::WriteLease(LeaseWrite::Checkpoint { checkpoint, .. }) = &call.request else {
            return;
        };
        if consumer.saving.as_ref() != Some(checkpoint) {
            return;
        }
        consumer.saving = None;
        if let Reply::LeaseWritten(written) = reply {
            if let Written::Done(_) = &written {
                consumer.saved = behind(checkpoint).min(consumer.next);
                if *checkpoint == Checkpoint::ShardEnd {
                    return self.shard_ended(process, hold.clone());
                }
            }
            let (hold, sent) = (hold.clone(), call.sent);
            self.tell(process, Event::Checkpointed { hold, sent, written });
        }
        self.idle_if_drained(process, hold);
    }

    fn shard_ended(&mut self, process: usize, hold: Hold) {
        self.ended(process, &hold);
        self.processes[process].consumers.remove(&hold.key);
        self.database.bump_lineage();
        self.after(Duration::from_secs(1), Happening::Sweep(hold.key.clone()));
        self.tell(process, Event::ShardEnded { hold });
    }

    fn idle_if_drained(&mut self, process: usize, hold: &Hold) {
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        if consumer.work != Work::Draining || consumer.in_flight.is_some() || consumer.saving.is_some() {
            return;
        }
        consumer.work = Work::Idle;
        let checkpoint = consumer.progress();
        let hold = hold.clone();
        let span = between(&mut self.rng, Duration::ZERO, Duration::from_millis(2));
        self.after(span, Happening::Tell(process, Event::Drained { hold, checkpoint }));
    }

    // ---- shards ----------------------------------------------------------------------------------------------------

    fn open_shard(&mut self, parents: Vec<ShardId>) -> ShardId {
        let id = ShardId::from(format!("shard-{:04}", self.shards.len()));
        self.shards.push(Shard {
            id: id.clone(),
            opened: self.now,
            closed: None,
            children: Vec::new(),
        });
        let shard = id.clone();
        self.record(Entry::Opened { shard, parents });
        id
    }

    fn make_row(&mut self, id: &ShardId, parents: &[ShardId]) {
        let epoch = Epoch(self.rng.rand_range(1..1_000_000));
        let mut row = Lease::unowned(id.clone(), Checkpoint::TrimHorizon, epoch);
        row.parents.extend(parents.iter().cloned());
        let _ = self.database.write_lease(&LeaseWrite::Create(Box::new(row)));
    }

    fn split(&mut self, nth: usize) {
        let open: Vec<usize> = (0..self.shards.len())
            .filter(|at| self.shards[*at].closed.is_none())
            .collect();
        let Some(parent) = open.get(nth % open.len().max(1)).copied() else {
            return;
        };
        let parent_id = self.shards[parent].id.clone();
        self.shards[parent].closed = Some(self.now);
        let records = self.shards[parent].records(self.now, self.scenario.rate, self.last_record());
        let shard = parent_id.clone();
        self.record(Entry::Closed { shard, records });
        let children: Vec<ShardId> = (0..2).map(|_| self.open_shard(vec![parent_id.clone()])).collect();
        self.shards[parent].children.clone_from(&children);
        self.after(Duration::from_millis(300), Happening::Sync(children, parent_id));
    }

    /// What the shard syncer of some worker does.
    fn sync(&mut self, children: &[ShardId], parent: &ShardId) {
        for child in children {
            self.make_row(child, std::slice::from_ref(parent));
        }
        self.database.bump_lineage();
        let anybody = self.processes.iter().position(|process| process.alive);
        if let Some(process) = anybody {
            self.tell(process, Event::LineageChanged);
        }
    }

    fn sweep(&mut self, shard: &ShardId) {
        if let Some(row) = self.database.leases.get(shard) {
            let (key, epoch) = (shard.clone(), row.epoch);
            let _ = self.database.write_lease(&LeaseWrite::Delete { key, epoch });
            self.database.bump_lineage();
        }
    }

    // ---- faults ----------------------------------------------------------------------------------------------------

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

    fn of_running(&mut self, worker: usize, change: impl FnOnce(&mut Process)) {
        if let Some(process) = self.running(worker) {
            change(&mut self.processes[process]);
        }
    }

    fn crash(&mut self, worker: usize, witness: bool, again: Option<Duration>) {
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
    fn resume(&mut self, process: usize) {
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
    fn calm_down(&mut self) {
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

    // ---- the end ---------------------------------------------------------------------------------------------------

    /// What is true at the end, for the checks.
    fn final_view(&self) -> checks::Final {
        let rate = self.scenario.rate;
        let live: Vec<usize> = (0..self.processes.len()).filter(|p| self.processes[*p].alive).collect();
        checks::Final {
            produced: self
                .shards
                .iter()
                .map(|shard| (shard.id.clone(), shard.records(self.now, rate, self.last_record())))
                .collect(),
            open: self
                .shards
                .iter()
                .filter(|shard| shard.closed.is_none())
                .map(|shard| shard.id.clone())
                .collect(),
            live: live
                .iter()
                .map(|process| self.processes[*process].identity.clone())
                .collect(),
            delivering: live
                .iter()
                .flat_map(|process| {
                    let actor = &self.processes[*process];
                    let keys = actor.consumers.keys().filter(|key| actor.delivers(key, self.now));
                    keys.map(|key| (key.clone(), actor.identity.worker.clone()))
                })
                .collect(),
            rows: self.database.leases.clone(),
        }
    }
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::OpenGroup(_) => "open-group",
        Request::Members => "members",
        Request::Worker(_) => "worker",
        Request::Leases => "leases",
        Request::Lease(_) => "lease",
        Request::WriteLease(write) => write.kind(),
        Request::WriteWorker(write) => write.kind(),
    }
}
