//! Reads one shard ahead of its processor, no faster than its quota and no more than memory allows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kinex_core::member::Hold;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::board::Board;
use crate::bucket::Bucket;
use crate::budget::{Budget, Share};
use crate::clock;
use crate::ports::{FaultKind, ReadBatch, ReadFrom, ShardIterator, StreamReader};

/// The pause after the first failed read; it doubles with each further one up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
/// As long as Kinesis may need to pay off a read of 10 MiB.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What reading a shard needs.
pub(crate) struct Source<R> {
    pub(crate) stream: Arc<R>,
    pub(crate) hold: Arc<Hold>,
    pub(crate) board: Board,
    pub(crate) budget: Budget,
    pub(crate) bucket: Mutex<Bucket>,
    pub(crate) pace: Pace,
}

/// The settings of reading.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) idle: Duration,
    pub(crate) records_max: usize,
    pub(crate) prefetch: usize,
    pub(crate) request_timeout: Duration,
}

/// One read, with the memory that it takes.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) batch: ReadBatch,
    pub(crate) share: Share,
}

/// Reading cannot go on from here: a new iterator is needed.
#[derive(Debug)]
pub(crate) struct Stuck;

/// Reads ahead until it is dropped.
pub(crate) struct Ahead {
    reads: mpsc::Receiver<Fetched>,
    _task: AbortOnDropHandle<()>,
}

impl Ahead {
    /// Starts to read at an iterator.
    pub(crate) fn start<R: StreamReader>(source: Arc<Source<R>>, at: ShardIterator) -> Self {
        // The task itself holds one more read while the channel is full.
        let (sender, reads) = mpsc::channel(source.pace.prefetch);
        let task = tokio::spawn(async move { source.read_on(at, sender).await });
        Self {
            reads,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The next read that brought records or the shard's end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Fetched, Stuck> {
        self.reads.recv().await.ok_or(Stuck)
    }
}

impl<R: StreamReader> Source<R> {
    /// An iterator at this place.
    pub(crate) async fn iterator(&self, from: &ReadFrom) -> Result<ShardIterator, crate::ports::Fault> {
        let (shard, within) = (&self.hold.key, self.pace.request_timeout);
        let answer = self.stream.iterator(shard, from);
        let iterator = self.board.ask("GetShardIterator", Some(shard), within, answer).await?;
        self.board.count("GetShardIterator", "ok");
        Ok(iterator)
    }

    async fn read_on(&self, mut at: ShardIterator, reads: mpsc::Sender<Fetched>) {
        let mut failures = 0;
        loop {
            let mut share = self.budget.one_read().await;
            self.wait_for_quota().await;
            let answer = self.stream.read(&at, self.pace.records_max);
            let within = self.pace.request_timeout;
            match self.board.ask("GetRecords", Some(&self.hold.key), within, answer).await {
                Ok(batch) => {
                    failures = 0;
                    self.board.count("GetRecords", "ok");
                    let bytes: usize = batch.records.iter().map(|record| record.data.len()).sum();
                    self.bucket(|bucket| bucket.received(bytes, clock::now()));
                    self.board
                        .hold(&self.hold, |hold| hold.behind_millis = Some(batch.behind_millis));
                    let (next, newest) = (batch.next.clone(), batch.behind_millis == 0);
                    share.shrink(bytes);
                    if !(batch.records.is_empty() && next.is_some())
                        && reads.send(Fetched { batch, share }).await.is_err()
                    {
                        return;
                    }
                    let Some(next) = next else { return };
                    at = next;
                    // An empty read far behind the newest record is a gap in the shard, and reading goes on.
                    if newest {
                        tokio::time::sleep(self.pace.idle).await;
                    }
                }
                Err(fault) => {
                    drop(share);
                    match fault.kind {
                        FaultKind::IteratorExpired | FaultKind::Invalid | FaultKind::Missing => return,
                        FaultKind::Throttled => self.bucket(|bucket| bucket.throttled(clock::now())),
                        FaultKind::Unreachable
                        | FaultKind::Incomplete
                        | FaultKind::Service
                        | FaultKind::Denied
                        | FaultKind::Rejected => {}
                    }
                    failures += 1;
                    tokio::time::sleep((PAUSE * (1 << (failures - 1).min(8))).min(PAUSE_MAX)).await;
                }
            }
        }
    }

    async fn wait_for_quota(&self) {
        loop {
            let now = clock::now();
            let wait = self.bucket(|bucket| bucket.wait(now));
            if wait.is_zero() {
                self.bucket(|bucket| bucket.called(now));
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    fn bucket<T>(&self, act: impl FnOnce(&mut Bucket) -> T) -> T {
        act(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
