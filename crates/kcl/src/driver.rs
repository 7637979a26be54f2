//! The thread that keeps the leases: it carries out what the [`Member`] decides and hands every answer back in.
//!
//! It has a runtime of its own, and every request to the tables goes out from here, so that a processor that blocks
//! the user's runtime never stops a renewal.

mod actions;
mod binding;
mod checkpoints;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kinex_core::id::WorkerId;
use kinex_core::lease::Process;
use kinex_core::member::{Event, Exit, Hold, Member, Profile, Reply, RequestId, StopReason};
use kinex_core::time::Moment;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::binding::Bound;
use self::checkpoints::Queue;
use crate::budget::Budget;
use crate::clock;
use crate::config::WorkerConfig;
use crate::control::Control;
use crate::events::WorkerEvent;
use crate::message::Message;
use crate::ports::{LeaseStore, StreamMismatch, StreamReader};
use crate::processor::ProcessorFactory;
use crate::reporter::Reporter;
use crate::request::CheckpointWritten;
use crate::syncer::{self, Syncer};
use crate::worker::{Ended, Error};

/// Consumers get this much longer than their own limit before the driver speaks for them.
const GRACE: Duration = Duration::from_secs(1);

/// Everything that a driver is made of.
pub(crate) struct Setup<S, R, F> {
    pub(crate) store: Arc<S>,
    pub(crate) stream: Arc<R>,
    pub(crate) factory: Arc<F>,
    pub(crate) process: Process,
    pub(crate) started: String,
    pub(crate) address: Option<String>,
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) inbox: mpsc::Receiver<Message>,
    pub(crate) sender: mpsc::Sender<Message>,
    pub(crate) reporter: Reporter,
    /// Where the processors run.
    pub(crate) processors: Handle,
    /// Stop at once, as in a crash.
    pub(crate) crash: CancellationToken,
}

/// Runs until the member says that it is over.
pub(crate) async fn drive<S: LeaseStore, R: StreamReader, F: ProcessorFactory>(
    setup: Setup<S, R, F>,
) -> Result<Ended, Error> {
    let mut setup = setup;
    let crash = setup.crash.clone();
    tokio::select! {
        bound = binding::bind(&mut setup) => match bound? {
            Bound::Stream => {}
            Bound::Leave => return Ok(Ended::default()),
        },
        () = crash.cancelled() => return Ok(Ended::default()),
    }
    let mut driver = Driver::new(setup);
    tokio::select! {
        ended = driver.run() => ended,
        () = crash.cancelled() => Ok(Ended::default()),
    }
}

struct Driver<S, R, F> {
    member: Member,
    store: Arc<S>,
    stream: Arc<R>,
    factory: Arc<F>,
    process: Process,
    config: Arc<WorkerConfig>,
    inbox: mpsc::Receiver<Message>,
    sender: mpsc::Sender<Message>,
    reporter: Reporter,
    budget: Budget,
    processors: Handle,
    holds: BTreeMap<Hold, Held>,
    /// Consumers, also those whose holds are over and that are still telling their processors.
    consumers: JoinSet<()>,
    consumer_of: BTreeMap<Id, Hold>,
    requests: JoinSet<Finished>,
    /// The leases that each worker has by its row.
    counts: BTreeMap<WorkerId, u32>,
    syncing: mpsc::Sender<syncer::Ask>,
    rank: watch::Sender<Option<usize>>,
    hung: BTreeSet<kinex_core::id::ShardId>,
    exit: Option<Exit>,
}

/// A lease that this process has.
struct Held {
    hold: Arc<Hold>,
    control: Arc<Control>,
    consumer: AbortHandle,
    checkpoints: Queue,
    /// The consumer has been asked to drain and has not answered.
    drain_until: Option<Moment>,
    /// The slow call that was told of: when it began, and how long it must take to be told of again.
    slow: Option<(Moment, Duration)>,
    /// The member says that the lease is lost, and whether the shard's end was written before that is not known yet.
    lost: bool,
}

/// A request that has come to its end.
enum Finished {
    Reply(RequestId, Reply),
    Checkpoint(Arc<Hold>, CheckpointWritten),
    /// The syncer ends only with the driver.
    Syncer,
}

impl<S: LeaseStore, R: StreamReader, F: ProcessorFactory> Driver<S, R, F> {
    fn new(setup: Setup<S, R, F>) -> Self {
        let Setup {
            store,
            stream,
            factory,
            process,
            started,
            address,
            config,
            inbox,
            sender,
            reporter,
            processors,
            crash: _,
        } = setup;
        let profile = Profile {
            process: process.clone(),
            hard_cap: config.max_leases,
            address,
            started,
        };
        let (syncing, asks) = mpsc::channel(syncer::ASKS);
        let (rank, my_rank) = watch::channel(None);
        let mut requests = JoinSet::new();
        let syncer = Syncer::new(
            Arc::clone(&store),
            Arc::clone(&stream),
            Arc::clone(&config),
            reporter.clone(),
            sender.clone(),
            asks,
            my_rank,
        );
        requests.spawn(async move {
            syncer.run().await;
            Finished::Syncer
        });
        Self {
            member: Member::new(config.protocol.clone(), profile, clock::now()),
            budget: Budget::new(config.memory_max),
            store,
            stream,
            factory,
            process,
            config,
            inbox,
            sender,
            reporter,
            processors,
            holds: BTreeMap::new(),
            consumers: JoinSet::new(),
            consumer_of: BTreeMap::new(),
            requests,
            counts: BTreeMap::new(),
            syncing,
            rank,
            hung: BTreeSet::new(),
            exit: None,
        }
    }

    async fn run(&mut self) -> Result<Ended, Error> {
        let reporter = self.reporter.clone();
        let replaced = reporter.replaced();
        tokio::pin!(replaced);
        loop {
            let now = clock::now();
            self.reporter.update(|status| status.turned = Some(now));
            if now >= self.member.deadline() {
                let actions = self.member.poll(now);
                self.carry_out(actions);
            }
            self.speak_for_the_hung(now);
            self.report_slow_calls(now);
            if let Some(exit) = self.exit.take() {
                return self.leave(exit).await;
            }
            let backstop = self.holds.values().filter_map(|held| held.drain_until).min();
            let wake = [Some(self.member.deadline()), backstop].into_iter().flatten().min();
            tokio::select! {
                // Answers first: a renewal that has come back must not wait behind a queue of messages.
                biased;
                Some(finished) = self.requests.join_next() => self.finished(finished),
                Some(ended) = self.consumers.join_next_with_id(), if !self.consumers.is_empty() => self.consumer_ended(ended),
                mismatch = &mut replaced => return Err(self.stop_at_once(mismatch).await),
                Some(message) = self.inbox.recv() => self.message(message),
                () = clock::sleep_until(wake) => {}
            }
        }
    }

    fn happened(&mut self, event: Event) {
        let actions = self.member.on(clock::now(), event);
        self.carry_out(actions);
    }

    fn finished(&mut self, finished: Result<Finished, JoinError>) {
        match finished {
            Ok(Finished::Reply(id, reply)) => {
                if let Reply::Members { workers, .. } = &reply {
                    self.counts = workers.iter().map(|row| (row.id.clone(), row.leases)).collect();
                }
                let members = matches!(reply, Reply::Members { .. });
                self.happened(Event::Reply { id, reply });
                if members {
                    self.show_workers();
                }
            }
            Ok(Finished::Checkpoint(hold, written)) => self.checkpoint_written(&hold, written),
            Ok(Finished::Syncer) => {}
            // A panic in here is a bug of the store or of this crate: stop everything rather than go on half alive.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => panic!("a request was cancelled: {error}"),
            },
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Checkpoint {
                hold,
                checkpoint,
                children,
                reply,
            } => self.checkpoint(&hold, checkpoint, children, reply),
            Message::Sync { ended, children, reply } => {
                // Full: the answer is an error, and the consumer asks again.
                let _ = self.syncing.try_send(syncer::Ask { ended, children, reply });
            }
            Message::LineageChanged => self.happened(Event::LineageChanged),
            Message::Drained { hold, checkpoint, hung } => self.drained(&hold, checkpoint, hung),
            Message::ShardEnded { hold } => {
                if let Some(held) = self.holds.remove(&*hold) {
                    self.forget(&held.hold);
                }
                self.happened(Event::ShardEnded {
                    hold: hold.as_ref().clone(),
                });
            }
            Message::Resume { shard, reply } => {
                let held = self.holds.values().find(|held| held.hold.key == shard);
                if let Some(held) = held {
                    held.control.resume();
                }
                // Nobody waits: the caller has gone.
                let _ = reply.send(held.is_some());
            }
            Message::Depart(departure) => {
                self.reporter.update(|status| status.departing = true);
                self.happened(Event::Depart(departure));
            }
        }
    }

    fn drained(&mut self, hold: &Hold, checkpoint: Option<kinex_core::lease::Checkpoint>, hung: bool) {
        // After the driver has spoken for it, a consumer has nothing to add.
        let Some(held) = self.holds.get_mut(hold).filter(|held| held.drain_until.is_some()) else {
            return;
        };
        held.drain_until = None;
        if hung {
            self.hung.insert(hold.key.clone());
        }
        self.happened(Event::Drained {
            hold: hold.clone(),
            checkpoint,
        });
    }

    /// A processor that blocks the runtime blocks its consumer as well. Its lease goes without a final checkpoint.
    fn speak_for_the_hung(&mut self, now: Moment) {
        let late = |held: &Held| held.drain_until.is_some_and(|at| at <= now);
        let hung: Vec<_> = self
            .holds
            .values()
            .filter(|held| late(held))
            .map(|held| Arc::clone(&held.hold))
            .collect();
        for hold in hung {
            self.reporter.emit(WorkerEvent::DrainTimedOut {
                shard: hold.key.clone(),
                epoch: hold.fence.epoch,
            });
            self.drained(&hold, None, true);
        }
    }

    /// From here and not from the consumer: a processor that blocks the runtime blocks its consumer as well.
    fn report_slow_calls(&mut self, now: Moment) {
        for held in self.holds.values_mut() {
            let Some((call, began)) = held.control.call() else {
                continue;
            };
            let after = match held.slow {
                Some((told, after)) if told == began => after,
                _ => self.config.slow_call_after,
            };
            let running = now.since(began);
            if running < after {
                continue;
            }
            held.slow = Some((began, running * 2));
            self.reporter.emit(WorkerEvent::ProcessorSlow {
                shard: held.hold.key.clone(),
                call,
                running_millis: u64::try_from(running.as_millis()).unwrap_or(u64::MAX),
            });
        }
    }

    fn consumer_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        match ended {
            Ok((id, ())) => {
                self.consumer_of.remove(&id);
            }
            Err(error) => {
                // A bug of this crate: the shard stands still, and says so.
                let hold = self.consumer_of.remove(&error.id());
                if let Some(hold) = hold.filter(|hold| self.holds.contains_key(hold)) {
                    self.reporter.emit(WorkerEvent::ShardHalted {
                        shard: hold.key,
                        call: "consume",
                        error: error.to_string(),
                    });
                }
            }
        }
    }

    fn show_workers(&mut self) {
        let workers = self.member.workers();
        let rank = workers.iter().position(|worker| *worker == self.process.worker);
        let mine = u32::try_from(self.holds.len()).unwrap_or(u32::MAX);
        let count = |worker: &WorkerId| {
            if *worker == self.process.worker {
                mine
            } else {
                self.counts.get(worker).copied().unwrap_or(0)
            }
        };
        let workers = workers.iter().map(|worker| (worker.clone(), count(worker))).collect();
        self.reporter.update(|status| status.workers = workers);
        self.rank.send_replace(rank);
    }

    /// The stream is another one: nothing is written any more, not even that this worker leaves.
    async fn stop_at_once(&mut self, mismatch: StreamMismatch) -> Error {
        self.requests.shutdown().await;
        self.rest().await;
        Error::StreamReplaced(mismatch)
    }

    /// Nobody is heard any more; whoever waits for an answer is told so, and the processors hear how it ended.
    async fn rest(&mut self) {
        self.reporter.update(|status| status.turned = None);
        for held in std::mem::take(&mut self.holds).into_values() {
            held.control.stop(StopReason::Lost);
        }
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        let told = async { while self.consumers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.config.protocol.drain_timeout + GRACE, told).await;
    }

    /// The member has stopped every hold; the consumers tell their processors.
    async fn leave(&mut self, exit: Exit) -> Result<Ended, Error> {
        self.rest().await;
        match exit {
            Exit::Departed => Ok(Ended {
                hung: std::mem::take(&mut self.hung),
            }),
            Exit::NameInUse(row) => Err(Error::NameInUse(row)),
            Exit::Replaced(by) => Err(Error::Replaced {
                worker: self.process.worker.clone(),
                by,
            }),
            Exit::RenewalModeDiffers { table, mine } => Err(Error::RenewalModeDiffers { table, mine }),
        }
    }
}
