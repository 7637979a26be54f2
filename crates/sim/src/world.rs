//! The scheduler: virtual time, one happening after the other.

mod end;
mod faults;
mod processes;
mod processors;
mod requests;
mod shards;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use kinex_core::id::ShardId;
use kinex_core::lease::{Lease, Process as Identity};
use kinex_core::member::{Event, Hold, Reply, Request, RequestId};
use kinex_core::time::Moment;
use kinex_core::worker::WorkerWrite;
use oorandom::Rand64;

use crate::checks::{self, Violation};
use crate::consumer::Shard;
use crate::database::Database;
use crate::history::{Entry, History};
use crate::network::{Fate, between};
use crate::process::Process;
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
    /// Batches that were given up before they were processed.
    pub cut: u64,
    /// Rows of the workers' table at the end.
    pub worker_rows: usize,
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
    /// The window of a batch in flight may have ended.
    WindowEnd(usize, Hold),
    /// A processor has had its time to come to a rest.
    DrainTimeout(usize, Hold),
    /// The foreign owner renews its leases.
    Foreign,
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
    pub(crate) database: Database,
    pub(crate) shards: Vec<Shard>,
    pub(crate) processes: Vec<Process>,
    pub(crate) history: History,
    requests: BTreeMap<&'static str, u64>,
    quiet_requests: u64,
    /// The leases of the foreign owner: the counter that it wrote last, and the end of the window that this opened.
    pub(crate) foreign: BTreeMap<ShardId, (u64, Duration)>,
}

/// Plays one seed.
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let mut world = World::new(scenario, seed);
    world.play();
    let (violations, mut stats) = checks::all(scenario, &world.history, &world.final_view());
    stats.requests_per_second = world.quiet_requests as f64 / scenario.quiet_for.as_secs_f64();
    stats.requests = world.requests;
    stats.worker_rows = world.database.workers.len();
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
            foreign: BTreeMap::new(),
        };
        for _ in 0..scenario.shards {
            let id = world.open_shard(Vec::new());
            world.make_row(&id, &[]);
        }
        world.foreign_begins();
        world.database.leave_behind(scenario.departed);
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
        let batch = self.scenario.slow.map_or(Duration::ZERO, |slow| slow.longest);
        self.end() - Duration::from_secs(8) - batch * 2
    }

    pub(crate) fn after(&mut self, span: Duration, happening: Happening) {
        self.at(self.now + span, happening);
    }

    pub(crate) fn at(&mut self, at: Duration, happening: Happening) {
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
            Happening::WindowEnd(process, hold) => self.window_end(process, hold),
            Happening::DrainTimeout(process, hold) => self.drain_timeout(process, hold),
            Happening::Foreign => self.foreign_renews(),
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
}
