//! The consumer of one hold: carries out what the table of [`kinex_core::shard`] says and reports back.

mod work;

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kinex_core::id::{SequenceNumber, ShardId};
use kinex_core::lease::Lease;
use kinex_core::member::Hold;
use kinex_core::shard::{Batch, Call as Work, Consumer as Table, Effect, Event, RetryPolicy, State, Work as Step};
use kinex_core::time::Moment;
use tokio::sync::mpsc;

use crate::call::{Call, Failure, Job, Outcome};
use crate::checkpointer::{CheckpointError, Checkpointer};
use crate::clock;
use crate::config::InitialPosition;
use crate::control::Control;
use crate::deaggregate::{Deaggregator, RecordFilter};
use crate::events::WorkerEvent;
use crate::fetch::{Ahead, Fetched, Source, Stuck};
use crate::message::{Lineage, Message};
use crate::poison::PoisonAction;
use crate::ports::{ChildShard, Fault, ShardIterator, StreamReader};
use crate::processor::{ProcessorFactory, Record, RecordBatch, ShardStart};
use crate::reporter::Reporter;
use crate::worker::HoldState;

/// Everything that a consumer is made of.
pub(crate) struct Setup<R, F> {
    pub(crate) hold: Arc<Hold>,
    pub(crate) lease: Lease,
    pub(crate) control: Arc<Control>,
    pub(crate) source: Source<R>,
    pub(crate) factory: Arc<F>,
    pub(crate) filter: RecordFilter,
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) initial_position: InitialPosition,
    pub(crate) policy: RetryPolicy,
    pub(crate) on_poison: PoisonAction,
    pub(crate) drain_timeout: Duration,
}

/// Consumes a shard until its hold is over.
pub(crate) async fn consume<R: StreamReader, F: ProcessorFactory>(setup: Setup<R, F>) {
    let (consumer, effects) = Consumer::new(setup);
    consumer.run(effects).await;
}

struct Consumer<R, F: ProcessorFactory> {
    table: Table,
    hold: Arc<Hold>,
    control: Arc<Control>,
    reporter: Reporter,
    source: Arc<Source<R>>,
    factory: Arc<F>,
    filter: RecordFilter,
    inbox: mpsc::Sender<Message>,
    initial_position: InitialPosition,
    drain_timeout: Duration,
    start: Arc<ShardStart>,
    checkpointer: Checkpointer,
    on_poison: PoisonAction,
    /// Here, or in the hands of `call`; the next call makes one when there is none.
    processor: Option<F::Processor>,
    call: Option<Call<F::Processor>>,
    last_failure: Option<Failure>,
    request: Option<Request>,
    ahead: Option<Ahead>,
    deaggregator: Option<Deaggregator>,
    batch: Option<Arc<RecordBatch>>,
    /// The rest of a batch that failed, which is given one by one; and whether the shard ends with it.
    one_by_one: VecDeque<Record>,
    ends_with_them: bool,
    children: BTreeSet<ShardId>,
    /// What the last read said of the shards that follow.
    named: BTreeSet<ChildShard>,
    /// Where reading begins when the row said LATEST.
    since: Option<i64>,
    /// The record that reading must find first; another one means that records are gone.
    expected: Option<SequenceNumber>,
    /// Whether everything in the shard had been read shortly before that.
    read_all_before: bool,
    /// The checkpoint is no place in the stream any more.
    from_horizon: bool,
    /// The stream has forgotten the shard.
    gone: bool,
    /// The end of the window that the table was told of.
    lapsed_at: Option<Moment>,
    pause_until: Option<Moment>,
    drain_until: Option<Moment>,
    hung: bool,
    over: bool,
}

/// A request under way; dropping it gives it up.
enum Request {
    /// Write down which time LATEST is.
    Begin(Pending<Result<i64, CheckpointError>>),
    Seek(Pending<Result<ShardIterator, Fault>>),
    Fetch,
    /// The batch that fails is given one by one, and this is the first of it.
    Narrow(Batch),
    /// Are the records outside of the shard's range meant for another shard?
    Placement(Pending<Result<bool, Fault>>),
    /// The stream does not know the shard: is it gone?
    Probe(Pending<Result<Lineage, CheckpointError>>),
    Close(Pending<Result<BTreeSet<ShardId>, CheckpointError>>),
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the loop woke up for.
enum Wake<P> {
    Called(Option<P>, Outcome),
    Begun(Result<i64, CheckpointError>),
    Sought(Result<ShardIterator, Fault>),
    Fetched(Result<Fetched, Stuck>),
    Placed(Result<bool, Fault>),
    /// The last read has more records.
    Unfold,
    Narrowed(Batch),
    /// The shard has no records any more.
    Gone,
    Probed(Result<Lineage, CheckpointError>),
    Closed(Result<BTreeSet<ShardId>, CheckpointError>),
    Changed,
}

impl<R: StreamReader, F: ProcessorFactory> Consumer<R, F> {
    fn new(setup: Setup<R, F>) -> (Self, Vec<Effect>) {
        let Setup {
            hold,
            lease,
            control,
            source,
            factory,
            filter,
            inbox,
            initial_position,
            policy,
            on_poison,
            drain_timeout,
        } = setup;
        let (table, effects) = Table::start(lease.checkpoint.clone(), control.until(), policy);
        let start = ShardStart {
            shard: hold.key.clone(),
            epoch: hold.fence.epoch,
            checkpoint: lease.checkpoint.clone(),
            parents: lease.parents.clone(),
            hash_range: lease.hash_range,
        };
        let consumer = Self {
            table,
            checkpointer: Checkpointer::new(Arc::clone(&hold), lease.checkpoint, inbox.clone()),
            processor: None,
            on_poison,
            reporter: source.reporter.clone(),
            hold,
            control,
            source: Arc::new(source),
            factory,
            filter,
            inbox,
            initial_position,
            drain_timeout,
            start: Arc::new(start),
            call: None,
            last_failure: None,
            request: None,
            ahead: None,
            deaggregator: None,
            batch: None,
            one_by_one: VecDeque::new(),
            ends_with_them: false,
            children: lease.children,
            named: BTreeSet::new(),
            since: None,
            expected: None,
            read_all_before: false,
            from_horizon: false,
            gone: false,
            lapsed_at: None,
            pause_until: None,
            drain_until: None,
            hung: false,
            over: false,
        };
        (consumer, effects)
    }

    async fn run(mut self, effects: Vec<Effect>) {
        self.carry_out(effects).await;
        while !self.over {
            let mut wake = self.wake().await;
            // Whatever the orders are, the call that has come back is over and its processor is here.
            let returned = match &mut wake {
                Wake::Called(processor, _) => self.take_back(processor.take()),
                _ => "-",
            };
            self.obey().await;
            match wake {
                Wake::Changed => {}
                Wake::Called(_, outcome) => self.called(returned, outcome).await,
                Wake::Begun(answer) => self.begun(answer).await,
                Wake::Sought(answer) => self.sought(answer).await,
                Wake::Fetched(answer) => self.fetched(answer).await,
                Wake::Placed(answer) => self.placed(answer).await,
                Wake::Unfold => self.deaggregate().await,
                Wake::Narrowed(first) => self.narrowed(first).await,
                Wake::Gone => self.gone().await,
                Wake::Probed(answer) => self.probed(answer).await,
                Wake::Closed(answer) => self.closed(answer).await,
            }
        }
        self.discard_processor();
    }

    /// Waits for whatever comes first.
    async fn wake(&mut self) -> Wake<F::Processor> {
        let window = Some(self.table.deadline()).filter(|end| self.lapsed_at != Some(*end));
        let timer = [window, self.pause_until, self.drain_until].into_iter().flatten().min();
        let call = async {
            match &mut self.call {
                Some(call) => call.ended().await,
                None => std::future::pending().await,
            }
        };
        let request = async {
            match (&mut self.request, &mut self.ahead) {
                (Some(Request::Begin(answer)), _) => Wake::Begun(answer.await),
                (Some(Request::Seek(answer)), _) => Wake::Sought(answer.await),
                (Some(Request::Placement(answer)), _) => Wake::Placed(answer.await),
                (Some(Request::Close(answer)), _) => Wake::Closed(answer.await),
                (Some(Request::Probe(answer)), _) => Wake::Probed(answer.await),
                (Some(Request::Narrow(first)), _) => Wake::Narrowed(first.clone()),
                (Some(Request::Fetch), _) if self.gone => Wake::Gone,
                (Some(Request::Fetch), _) if self.deaggregator.is_some() || !self.one_by_one.is_empty() => Wake::Unfold,
                (Some(Request::Fetch), Some(ahead)) => Wake::Fetched(ahead.next().await),
                (Some(Request::Fetch), None) => Wake::Fetched(Err(Stuck)),
                (None, _) => std::future::pending().await,
            }
        };
        tokio::select! {
            (processor, outcome) = call => Wake::Called(processor, outcome),
            wake = request => wake,
            () = self.control.changed() => Wake::Changed,
            () = clock::sleep_until(timer) => Wake::Changed,
        }
    }

    /// Takes in what the driver said and what time it is, before anything else is done.
    async fn obey(&mut self) {
        let until = self.control.until();
        let now = clock::now();
        if until > self.table.deadline() {
            let effects = self.table.extend(now, until);
            self.carry_out(effects).await;
        }
        let orders = self.control.take();
        if orders.drain {
            self.drain_until = Some(now + self.drain_timeout);
            self.happened(Event::DrainAsked).await;
        }
        if orders.resume && !self.over {
            self.resume(now).await;
        }
        if let Some(reason) = orders.stop {
            self.happened(Event::Stopped(reason)).await;
        }
        let deadline = self.table.deadline();
        if now >= deadline && self.lapsed_at != Some(deadline) {
            self.lapsed_at = Some(deadline);
            self.happened(Event::WindowOver).await;
        }
        if self.pause_until.is_some_and(|at| at <= now) {
            self.pause_until = None;
            self.happened(Event::PauseOver).await;
        }
        if self.drain_until.is_some_and(|at| at <= now) {
            self.drain_until = None;
            self.happened(Event::DrainTimedOut).await;
        }
    }

    async fn happened(&mut self, event: Event) {
        // A late answer can come after the end.
        if self.over {
            return;
        }
        let timed_out =
            event == Event::DrainTimedOut && matches!(self.table.state(), State::Finishing { .. } | State::Settling);
        if timed_out {
            self.hung = true;
            self.reporter.emit(WorkerEvent::DrainTimedOut {
                shard: self.hold.key.clone(),
                epoch: self.hold.fence.epoch,
            });
        }
        let reason = match event {
            Event::Stopped(_) => "lost",
            Event::DrainTimedOut => "drain-timeout",
            _ => "window",
        };
        let effects = self.table.on(clock::now(), event);
        let in_hand = self.call.as_ref().is_some_and(|call| call.name == "process");
        if in_hand && effects.contains(&Effect::Interrupt) {
            self.reporter.emit(WorkerEvent::BatchCut {
                shard: self.hold.key.clone(),
                epoch: self.hold.fence.epoch,
                reason,
            });
        }
        self.carry_out(effects).await;
        self.show_state();
    }

    fn show_state(&self) {
        let state = match self.table.state() {
            State::Busy {
                work: Step::Call(Work::Poisoned { .. }),
                ..
            } => HoldState::Failing,
            State::Busy {
                work: Step::Call(_),
                failures,
            }
            | State::Pausing {
                work: Step::Call(_),
                failures,
            } if *failures > 0 => HoldState::Failing,
            State::Busy { .. } | State::Pausing { .. } => HoldState::Reading,
            State::Halted { .. } => HoldState::Halted,
            State::Lapsed { .. } => HoldState::Lapsed,
            State::Finishing { .. } | State::Settling | State::Drained { .. } | State::Over => HoldState::Draining,
        };
        self.reporter.hold(&self.hold, |hold| hold.state = state);
    }

    /// Somebody says that the cause of the failures is gone.
    async fn resume(&mut self, now: Moment) {
        let before = self.table.state().clone();
        let effects = self.table.resume(now);
        if *self.table.state() == before {
            return;
        }
        self.pause_until = None;
        self.reporter.emit(WorkerEvent::ShardResumed {
            shard: self.hold.key.clone(),
        });
        self.carry_out(effects).await;
        self.show_state();
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Begin(step) => self.begin(step).await,
                Effect::Wait(pause) => self.pause_until = Some(clock::now() + jittered(pause)),
                Effect::Interrupt => {
                    if let Some(call) = &self.call {
                        call.interrupt();
                    }
                }
                Effect::DropRead => self.let_go(),
                Effect::RequestShutdown => {
                    self.let_go();
                    self.start_call(Job::ShutdownRequested).await;
                }
                Effect::ReportDrained { clean } => self.report_drained(clean).await,
                Effect::ReportEnded => {
                    self.reporter.emit(WorkerEvent::ShardEnded {
                        shard: self.hold.key.clone(),
                        children: self.children.clone(),
                    });
                    let hold = Arc::clone(&self.hold);
                    self.send(Message::ShardEnded { hold }).await;
                }
                Effect::TellLost => self.tell_lost().await,
                Effect::Alarm(call) => self.reporter.emit(WorkerEvent::ShardFailing {
                    shard: self.hold.key.clone(),
                    call: name(&call),
                    failures: self.failures(),
                    error: self.last_error(),
                }),
                Effect::Halt(call) => {
                    self.reporter.emit(WorkerEvent::ShardHalted {
                        shard: self.hold.key.clone(),
                        call: name(&call),
                        error: self.last_error(),
                    });
                    // The batch is fetched again if ever; a halted shard must not keep memory from the others.
                    self.let_go();
                }
                Effect::Finish => self.over = true,
            }
        }
    }
}

fn name(call: &Work) -> &'static str {
    match call {
        Work::Initialize => "initialize",
        Work::Process(_) => "process",
        Work::Poisoned { .. } => "poisoned",
        Work::ShardEnded => "shard_ended",
    }
}

/// Between half of the pause and all of it: shards that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let [high, low, ..] = uuid::Uuid::new_v4().into_bytes();
    let random = f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX);
    pause.mul_f64(0.5 + random / 2.0)
}
