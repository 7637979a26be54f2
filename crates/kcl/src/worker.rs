//! The worker: put together by a builder, run by one future, steered by a handle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kinex_core::id::{Epoch, Incarnation, ShardId, WorkerId};
use kinex_core::lease::{Checkpoint, Process};
use kinex_core::time::Moment;
use kinex_core::worker::{Departure, RenewalMode, WorkerRow};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::adoption::ForeignLease;
use crate::call::panic_text;
use crate::clock;
use crate::config::{ConfigError, WorkerConfig};
use crate::driver;
use crate::events::{Events, WorkerEvent};
use crate::message::Message;
use crate::ports::{LeaseStore, StreamMismatch, StreamReader};
use crate::processor::ProcessorFactory;
use crate::progress::Progress;
use crate::reporter::Reporter;

/// Messages that may wait for the driver; a consumer that finds the queue full waits.
const INBOX: usize = 1_024;

/// One member of the group that shares the shards of a stream.
///
/// # Expected flow
/// [`Worker::builder`], [`Worker::handle`], then [`Worker::run`] until it returns. Dropping the future of `run` stops
/// the worker at once without giving its leases away, as a crash would.
pub struct Worker<S, R, F> {
    pub(crate) store: Arc<S>,
    pub(crate) stream: Arc<R>,
    pub(crate) factory: Arc<F>,
    pub(crate) process: Process,
    pub(crate) started: String,
    pub(crate) address: Option<String>,
    pub(crate) config: WorkerConfig,
    pub(crate) inbox: mpsc::Receiver<Message>,
    pub(crate) handle: WorkerHandle,
}

/// Puts a [`Worker`] together.
pub struct WorkerBuilder<S, R, F> {
    store: S,
    stream: R,
    factory: F,
    id: WorkerId,
    incarnation: Incarnation,
    started: String,
    address: Option<String>,
    config: WorkerConfig,
}

impl<S: LeaseStore, R: StreamReader, F: ProcessorFactory> Worker<S, R, F> {
    /// A worker with default settings and a random name.
    pub fn builder(store: S, stream: R, factory: F) -> WorkerBuilder<S, R, F> {
        let incarnation = uuid::Uuid::new_v4().to_string();
        WorkerBuilder {
            store,
            stream,
            factory,
            id: WorkerId::from(format!("worker-{incarnation}")),
            incarnation: Incarnation::from(incarnation),
            started: String::new(),
            address: None,
            config: WorkerConfig::default(),
        }
    }

    /// Steers and watches the worker, also while it runs.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }
}

impl<S: LeaseStore, R: StreamReader, F: ProcessorFactory> WorkerBuilder<S, R, F> {
    /// The name, which should stay the same over restarts (the pod name on Kubernetes): a restarted worker then gets
    /// its own leases back.
    pub fn worker_id(mut self, id: impl Into<WorkerId>) -> Self {
        self.id = id.into();
        self
    }

    /// The name of this process start; a random uuid unless somebody must know it beforehand.
    pub fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = incarnation;
        self
    }

    /// When the process started (RFC 3339): for the message to a second process of the same name.
    pub fn started(mut self, rfc3339: impl Into<String>) -> Self {
        self.started = rfc3339.into();
        self
    }

    /// Where a person finds this process (its host, or `host:port`): for the message to a second process of the same
    /// name, and for tools. Nothing connects to it.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// The settings.
    pub fn config(mut self, config: WorkerConfig) -> Self {
        self.config = config;
        self
    }

    /// The worker; nothing is sent anywhere yet.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn build(self) -> Result<Worker<S, R, F>, ConfigError> {
        self.config.check()?;
        let (sender, inbox) = mpsc::channel(INBOX);
        let process = Process {
            worker: self.id,
            incarnation: self.incarnation,
        };
        let handle = WorkerHandle {
            inbox: sender,
            events: Events::new(self.config.events_kept),
            status: Arc::new(Mutex::new(Status::starting(&process))),
        };
        Ok(Worker {
            store: Arc::new(self.store),
            stream: Arc::new(self.stream),
            factory: Arc::new(self.factory),
            process,
            started: self.started,
            address: self.address,
            config: self.config,
            inbox,
            handle,
        })
    }
}

/// How a worker ended that was asked to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Shards whose processor did not come to a rest in time; their leases went without a final checkpoint.
    pub hung: BTreeSet<ShardId>,
}

/// Why a worker stopped without having been asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another live process has this worker's name. Nothing was taken from it.
    #[error(
        "worker id `{}` is in use: a live process at {} started {} has it; stop it, or choose another worker id",
        .0.id, .0.address.as_deref().unwrap_or("an unknown address"), .0.started
    )]
    NameInUse(Box<WorkerRow>),
    /// Another process took this worker's name over, or somebody proved this process dead.
    #[error("worker `{worker}` was replaced: its row {}", match .by { Some(row) if row.ended => "says that this process has ended".to_owned(), Some(row) => format!("is of incarnation {}", row.incarnation), None => "is gone".to_owned() })]
    Replaced {
        /// This worker.
        worker: WorkerId,
        /// The row as it is.
        by: Option<Box<WorkerRow>>,
    },
    /// The table belongs to workers with the other renewal mode.
    #[error(
        "the tables are used with renewal mode {}, this worker is set to {}: all workers of an application need the same",
        .table.as_str(), .mine.as_str()
    )]
    RenewalModeDiffers {
        /// What the table says.
        table: RenewalMode,
        /// What this worker is set to.
        mine: RenewalMode,
    },
    /// The tables hold the leases of another stream, maybe of an earlier one of the same name. Nothing was written.
    #[error(transparent)]
    StreamDiffers(StreamMismatch),
    /// A table that nobody had tied to a stream holds the leases of another one. Nothing was written.
    #[error(transparent)]
    LeasesOfAnotherStream(ForeignLease),
    /// The stream was deleted while it was read, and another one of its name was made. Nothing was written since that was
    /// found.
    #[error(transparent)]
    StreamReplaced(StreamMismatch),
    /// The tables or the stream are not there, or not for these credentials. The worker makes no table: see the store.
    #[error("cannot start: {0}")]
    Start(crate::ports::Fault),
    /// The thread that renews the leases could not be started.
    #[error("cannot start the thread that renews the leases")]
    Thread(#[source] std::io::Error),
    /// The thread that renews the leases panicked; every shard was stopped.
    #[error("the thread that renews the leases panicked: {0}")]
    Panicked(String),
}

/// Steers and watches a [`Worker`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) events: Events,
    pub(crate) status: Arc<Mutex<Status>>,
}

impl WorkerHandle {
    /// Asks the worker to leave: its leases go to others with their final checkpoints, then [`Worker::run`] returns.
    /// Asking twice does no harm.
    pub async fn shutdown(&self, departure: Departure) {
        // A worker that is gone has left already.
        let _ = self.inbox.send(Message::Depart(departure)).await;
    }

    /// Lets a shard go on now that is halted, or whose processor waits before another try. Say so when the cause of the
    /// failures is gone. Harmless for a shard whose processor does well.
    ///
    /// # Errors
    /// When this worker does not have the shard.
    pub async fn resume(&self, shard: &ShardId) -> Result<(), NotHeld> {
        let (reply, held) = oneshot::channel();
        let message = Message::Resume {
            shard: shard.clone(),
            reply,
        };
        // A worker that has ended has no shard.
        let sent = self.inbox.send(message).await.is_ok();
        if sent && held.await.unwrap_or(false) {
            Ok(())
        } else {
            Err(NotHeld(shard.clone()))
        }
    }

    /// What the worker has and sees now.
    pub fn status(&self) -> Status {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = clock::now();
        for hold in status.holds.values_mut() {
            if hold.state == HoldState::Reading && hold.progress.blocked(now) {
                hold.state = HoldState::Blocked;
            }
        }
        status
    }

    /// Everything that happens from now on. A listener that lags more than `events_kept` behind misses some and is
    /// told how many.
    pub fn subscribe(&self) -> broadcast::Receiver<WorkerEvent> {
        self.events.subscribe()
    }
}

/// A worker was told something about a shard whose lease it does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this worker does not have the lease of {0}")]
pub struct NotHeld(pub ShardId);

/// What a worker has and sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The worker.
    pub worker: WorkerId,
    /// This start of it.
    pub incarnation: Incarnation,
    /// Whether the worker has been asked to leave.
    pub departing: bool,
    /// The leases that it has.
    pub holds: BTreeMap<ShardId, HoldStatus>,
    /// The workers that share the leases, with the number of leases each had by its last heartbeat.
    pub workers: BTreeMap<WorkerId, u32>,
    /// Answers from the tables and the stream, by request and outcome (`ok`, `refused`, or the kind of failure).
    pub requests: BTreeMap<(&'static str, &'static str), u64>,
    /// User records that were processed.
    pub records_processed: u64,
    /// Bytes of payload that were processed.
    pub bytes_processed: u64,
    /// When the lease thread last went round; nothing before its start and after its end.
    pub(crate) turned: Option<Moment>,
}

/// What of a worker stands still, and for how long, although nothing outside keeps it: only a new process helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The thread that keeps the leases. It goes round at least once a second, whatever the tables do.
    LeaseThread(Duration),
    /// The readers of all shards, for a minute at least. A reader that waits for a response, for a pause to end, or for its
    /// processor does not stand still.
    Readers,
}

/// The lease thread stands still when it has not gone round for this long.
const LEASE_THREAD_STALLED_AFTER: Duration = Duration::from_secs(30);

impl Status {
    pub(crate) fn starting(process: &Process) -> Self {
        Self {
            worker: process.worker.clone(),
            incarnation: process.incarnation.clone(),
            departing: false,
            holds: BTreeMap::new(),
            workers: BTreeMap::new(),
            requests: BTreeMap::new(),
            records_processed: 0,
            bytes_processed: 0,
            turned: None,
        }
    }

    /// The most leases that a worker has less the fewest; `None` before the workers' table was read.
    pub fn imbalance(&self) -> Option<u32> {
        Some(self.workers.values().max()? - self.workers.values().min()?)
    }

    /// How far the last read of the slowest shard was behind the newest record, in milliseconds, as Kinesis said; `None` when
    /// nothing was read yet. [`behind`](Self::behind) is the figure to watch.
    pub fn behind_millis(&self) -> Option<u64> {
        self.holds.values().filter_map(|hold| hold.behind_millis).max()
    }

    /// How far the slowest shard is behind: see [`HoldStatus::behind`]. Zero without a shard.
    pub fn behind(&self) -> Duration {
        self.longest(|hold| Some(hold.behind()))
    }

    /// How long the last good read lies back, of the shard where that is longest. Zero without a shard.
    pub fn since_read(&self) -> Duration {
        self.longest(|hold| Some(hold.since_read()))
    }

    /// How long a processor has had the call that it is in, of the shard where that is longest. Zero while all are idle.
    pub fn since_processed(&self) -> Duration {
        self.longest(HoldStatus::since_processed)
    }

    /// How many shards cannot be read: their reads have failed for ten seconds or longer, without a good one.
    pub fn unreadable(&self) -> usize {
        self.holds.values().filter(|hold| hold.unreadable()).count()
    }

    /// What of this process stands still, if anything. An idle stream, an outage of the services and a processor that takes its
    /// time are no reasons.
    pub fn stalled(&self) -> Option<Stall> {
        self.stalled_at(clock::now())
    }

    fn stalled_at(&self, now: Moment) -> Option<Stall> {
        let since = now.since(self.turned?);
        if since >= LEASE_THREAD_STALLED_AFTER {
            return Some(Stall::LeaseThread(since));
        }
        let mut readers = self
            .holds
            .values()
            .filter_map(|hold| hold.progress.stalled(now))
            .peekable();
        (readers.peek().is_some() && readers.all(|stalled| stalled)).then_some(Stall::Readers)
    }

    fn longest(&self, of: impl Fn(&HoldStatus) -> Option<Duration>) -> Duration {
        self.holds.values().filter_map(of).max().unwrap_or_default()
    }
}

/// What a worker does with a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldState {
    /// Its records are delivered.
    Reading,
    /// Its processor fails and is called again.
    Failing,
    /// Its processor has had the same call for ten seconds or longer; nothing more is delivered until that returns.
    Blocked,
    /// Its window has ended; nothing is delivered until it is renewed.
    Lapsed,
    /// Its processor comes to a rest.
    Draining,
    /// Its processor failed too often, and is not called until [`WorkerHandle::resume`].
    Halted,
}

/// A lease that a worker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldStatus {
    /// The epoch of the lease.
    pub epoch: Epoch,
    /// What the worker does with it.
    pub state: HoldState,
    /// The last checkpoint written.
    pub checkpoint: Checkpoint,
    /// How far the last read was behind the newest record, in milliseconds, as Kinesis said.
    pub behind_millis: Option<u64>,
    pub(crate) progress: Progress,
}

impl HoldStatus {
    /// How far the shard is behind: the largest of what Kinesis said at the last read, the age of the last good read, and the
    /// age of the oldest record that is read and not processed.
    pub fn behind(&self) -> Duration {
        self.progress.behind(self.behind_millis, clock::now())
    }

    /// How long the last good read lies back; before the first one, the start. Zero once a closed shard is read to its end.
    pub fn since_read(&self) -> Duration {
        self.progress.since_read(clock::now())
    }

    /// How long the processor has had the call that it is in; `None` while it is idle.
    pub fn since_processed(&self) -> Option<Duration> {
        self.progress.since_processed(clock::now())
    }

    /// Whether reads have failed for ten seconds or longer, without a good one.
    pub fn unreadable(&self) -> bool {
        self.progress.unreadable(clock::now())
    }
}

impl<S: LeaseStore, R: StreamReader, F: ProcessorFactory> Worker<S, R, F> {
    /// Takes part until asked to leave. The processors run on the runtime that calls this, the leases are kept on a
    /// thread of their own.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn run(self) -> Result<Ended, Error> {
        let Self {
            store,
            stream,
            factory,
            process,
            started,
            address,
            config,
            inbox,
            handle,
        } = self;
        let crash = CancellationToken::new();
        let setup = driver::Setup {
            store,
            stream,
            factory,
            process,
            started,
            address,
            config: Arc::new(config),
            inbox,
            sender: handle.inbox,
            reporter: Reporter::new(handle.events, handle.status),
            processors: Handle::current(),
            crash: crash.clone(),
        };
        let (done, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("kinex-leases".to_owned())
            .spawn(move || {
                let _ = done.send(keep_leases(setup));
            })
            .map_err(Error::Thread)?;
        // When this future is dropped, the thread ends by itself.
        let _crash = crash.drop_guard();
        match ended.await {
            Ok(ended) => ended,
            Err(_) => Err(Error::Panicked(match thread.join() {
                Ok(()) => "the lease thread ended without an error".to_owned(),
                Err(panic) => panic_text(panic.as_ref()),
            })),
        }
    }
}

/// The lease thread from its start to its end.
fn keep_leases<S: LeaseStore, R: StreamReader, F: ProcessorFactory>(
    setup: driver::Setup<S, R, F>,
) -> Result<Ended, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Thread)?;
    runtime.block_on(driver::drive(setup))
}

#[cfg(test)]
mod tests {
    use kinex_core::id::Epoch;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::millis((1_000 + seconds) * 1_000)
    }

    /// A worker with shards whose readers were due at these seconds.
    fn status(turned: Option<Moment>, due: &[Option<u64>]) -> Status {
        let process = Process {
            worker: "worker-0".into(),
            incarnation: "inc".into(),
        };
        let mut status = Status::starting(&process);
        status.turned = turned;
        for (index, due) in due.iter().enumerate() {
            let mut progress = Progress::starting(at(0));
            let reader = progress.next_reader();
            progress.reader_due(reader, due.map(at));
            let hold = HoldStatus {
                epoch: Epoch(1),
                state: HoldState::Reading,
                checkpoint: Checkpoint::TrimHorizon,
                behind_millis: None,
                progress,
            };
            status.holds.insert(ShardId::from(format!("shardId-{index}")), hold);
        }
        status
    }

    #[test]
    fn a_worker_stands_still_when_its_lease_thread_or_all_of_its_readers_do() {
        let check = |turned: Option<u64>, due: &[Option<u64>], expected| {
            assert_eq!(
                status(turned.map(at), due).stalled_at(at(100)),
                expected,
                "{turned:?} {due:?}"
            );
        };
        check(None, &[], None);
        check(Some(99), &[], None);
        check(Some(70), &[], Some(Stall::LeaseThread(Duration::from_secs(30))));
        check(Some(99), &[Some(40)], Some(Stall::Readers));
        check(Some(99), &[Some(40), Some(30)], Some(Stall::Readers));
        check(Some(99), &[Some(40), Some(99)], None);
        // One that waits for its processor is no witness.
        check(Some(99), &[None], None);
        check(Some(99), &[Some(40), None], Some(Stall::Readers));
    }
}
