//! Reads one shard ahead of its processor, no faster than its quota and no more than memory and link allow.
//!
//! An iterator is kept over every failure but those that say that it is worth nothing: a read that failed costs time and
//! never the position.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kinex_core::member::Hold;
use kinex_core::time::Moment;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::bucket::Bucket;
use crate::budget::{Share, Slot, allocated};
use crate::clock;
use crate::ports::{Fault, FaultKind, RawRecord, ReadBatch, ReadFrom, ShardIterator, StreamReader};
use crate::progress::Progress;
use crate::read_size::{Brought, ReadSize};
use crate::reporter::Reporter;

/// The pause after the first failed read; it doubles with each further one up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
/// The pause where trying again soon cannot help: the rest of the shard's five reads a second is for other applications.
const PAUSE_REJECTED: Duration = Duration::from_secs(1);
/// As long as Kinesis may need to pay off a read of 10 MiB.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Records are kept at least a day, less what clocks and reads in flight may be off:
/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
const RETENTION_MIN: Duration = Duration::from_secs(23 * 3_600);

/// A description of the stream may have to wait for its turn.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(15);

/// What reading a shard needs.
pub(crate) struct Source<R> {
    pub(crate) stream: Arc<R>,
    pub(crate) hold: Arc<Hold>,
    pub(crate) reporter: Reporter,
    pub(crate) slot: Arc<Slot>,
    pub(crate) bucket: Mutex<Bucket>,
    pub(crate) size: Mutex<ReadSize>,
    /// Iterators in a row that turned out to be worth nothing before they brought a good read.
    pub(crate) worthless: AtomicU32,
    pub(crate) pace: Pace,
    /// When a read last found nothing that was unread.
    pub(crate) read_all: Mutex<Option<Moment>>,
}

/// The settings of reading.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    pub(crate) idle: Duration,
    pub(crate) prefetch: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) read_timeout: Duration,
}

/// One read, with the memory that it takes.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) batch: ReadBatch,
    /// When it came.
    pub(crate) at: Moment,
    pub(crate) share: Share,
}

/// Reading cannot go on from here: a new iterator is needed.
#[derive(Debug)]
pub(crate) struct Stuck;

/// Reads ahead until it is dropped.
pub(crate) struct Ahead {
    reads: mpsc::Receiver<Fetched>,
    _task: AbortOnDropHandle<()>,
    reporter: Reporter,
    hold: Arc<Hold>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.reporter.progress(&self.hold, |progress| {
            progress.next_reader();
        });
    }
}

impl Ahead {
    /// Starts to read at an iterator.
    pub(crate) fn start<R: StreamReader>(source: Arc<Source<R>>, at: ShardIterator) -> Self {
        // The task itself holds one more read while the channel is full.
        let (sender, reads) = mpsc::channel(source.pace.prefetch);
        let (reporter, hold) = (source.reporter.clone(), Arc::clone(&source.hold));
        let mut reader = 0;
        reporter.progress(&hold, |progress| reader = progress.next_reader());
        let task = tokio::spawn(async move { source.read_on(reader, at, sender).await });
        Self {
            reads,
            _task: AbortOnDropHandle::new(task),
            reporter,
            hold,
        }
    }

    /// The next read that brought records or the shard's end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Fetched, Stuck> {
        self.reads.recv().await.ok_or(Stuck)
    }
}

impl<R: StreamReader> Source<R> {
    /// An iterator at this place.
    pub(crate) async fn iterator(&self, from: &ReadFrom) -> Result<ShardIterator, Fault> {
        let worthless = self.worthless.load(Ordering::Relaxed);
        // One iterator may expire as a matter of course. Where each of them turns out to be worth nothing, there is no
        // hurry to get the next one.
        if worthless > 1 {
            tokio::time::sleep(pause(FaultKind::Invalid, worthless - 1, jitter())).await;
        }
        let (shard, within) = (&self.hold.key, self.pace.request_timeout);
        let answer = self.stream.iterator(shard, from);
        let iterator = self.reporter.ask("GetShardIterator", Some(shard), within, answer).await;
        let iterator = iterator.inspect_err(|_| self.failed())?;
        self.reporter.count("GetShardIterator", "ok");
        Ok(iterator)
    }

    /// The time by the stream's clock.
    pub(crate) async fn now_millis(&self) -> Result<i64, crate::ports::Fault> {
        let (shard, within) = (&self.hold.key, self.pace.request_timeout);
        self.reporter
            .ask("now", Some(shard), within, self.stream.now_millis())
            .await
    }

    /// Whether records that lie outside of the shard's range were meant for another shard.
    pub(crate) async fn placed_by_key(&self) -> Result<bool, crate::ports::Fault> {
        let (shard, within) = (&self.hold.key, DESCRIBED_WITHIN);
        self.reporter
            .ask("placed-by-key", Some(shard), within, self.stream.placed_by_key())
            .await
    }

    async fn read_on(&self, reader: u64, mut at: ShardIterator, reads: mpsc::Sender<Fetched>) {
        let mut failures = 0;
        loop {
            self.wait_for_quota(reader).await;
            self.waits_for_processor(reader);
            let mut share = self.slot.reserve(self.size(|size| size.wanted())).await;
            let asked = self.size(|size| size.records(share.bytes()));
            let called = clock::now();
            self.bucket(|bucket| bucket.called(called));
            self.due_within(reader, self.pace.read_timeout);
            match self.read(&at, asked).await {
                Ok(batch) => {
                    failures = 0;
                    let held = self.account(&batch, called);
                    share.set(held);
                    if batch.behind_millis == 0 {
                        *self.read_all.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now());
                    }
                    let (next, newest) = (batch.next.clone(), batch.behind_millis == 0);
                    if !(batch.records.is_empty() && next.is_some()) {
                        self.waits_for_processor(reader);
                        let at = clock::now();
                        if reads.send(Fetched { batch, at, share }).await.is_err() {
                            return;
                        }
                    }
                    let Some(next) = next else { return };
                    at = next;
                    // An empty read far behind the newest record is a gap in the shard, and reading goes on.
                    if newest {
                        self.sleep(reader, self.pace.idle).await;
                    }
                }
                Err(fault) => {
                    drop(share);
                    failures += 1;
                    self.failed();
                    match fault.kind {
                        FaultKind::IteratorExpired
                        | FaultKind::Invalid
                        | FaultKind::Missing
                        | FaultKind::StreamReplaced => {
                            self.worthless.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        FaultKind::Throttled => self.bucket(|bucket| bucket.throttled(clock::now())),
                        FaultKind::Incomplete => self.size(|size| size.cut(asked)),
                        FaultKind::Unreachable | FaultKind::Service | FaultKind::Denied | FaultKind::Rejected => {}
                    }
                    self.sleep(reader, pause(fault.kind, failures, jitter())).await;
                }
            }
        }
    }

    /// The reader cannot get on by itself: what it has read, or the memory that it needs, is in the hands of processors.
    fn waits_for_processor(&self, reader: u64) {
        self.reporter
            .progress(&self.hold, |progress| progress.reader_due(reader, None));
    }

    /// The reader gets on by itself within this time.
    fn due_within(&self, reader: u64, time: Duration) {
        let due = clock::now() + time;
        self.reporter
            .progress(&self.hold, |progress| progress.reader_due(reader, Some(due)));
    }

    fn failed(&self) {
        self.reporter.progress(&self.hold, Progress::read_failed);
    }

    async fn sleep(&self, reader: u64, time: Duration) {
        self.due_within(reader, time);
        tokio::time::sleep(time).await;
    }

    async fn read(&self, at: &ShardIterator, asked: usize) -> Result<ReadBatch, Fault> {
        let (shard, within) = (&self.hold.key, self.pace.read_timeout);
        let answer = async {
            let read = self.stream.read(at, asked);
            tokio::time::timeout(within, read)
                .await
                .unwrap_or_else(|_| Err(late(shard, within)))
        };
        // The limit above says what to do next, so it is the one that counts.
        self.reporter.ask("GetRecords", Some(shard), within * 2, answer).await
    }

    /// Learns from a good read. Says what its records occupy.
    fn account(&self, batch: &ReadBatch, called: Moment) -> usize {
        self.worthless.store(0, Ordering::Relaxed);
        self.reporter.count("GetRecords", "ok");
        let payload: usize = batch.records.iter().map(payload).sum();
        let held: usize = batch.records.iter().map(occupied).sum();
        self.bucket(|bucket| bucket.received(payload, called));
        self.size(|size| {
            size.whole(Brought {
                records: batch.records.len(),
                payload,
                peak: batch.records.iter().map(peak).sum(),
                took: clock::now().since(called),
            });
        });
        let now = clock::now();
        self.reporter.hold(&self.hold, |hold| {
            hold.behind_millis = Some(batch.behind_millis);
            hold.progress.read(now, batch.next.is_none());
        });
        held
    }

    /// Whether everything in the shard was read so lately that retention cannot have removed anything unread since.
    pub(crate) fn read_all_lately(&self) -> bool {
        let read_all = *self.read_all.lock().unwrap_or_else(PoisonError::into_inner);
        read_all.is_some_and(|at| clock::now().since(at) < RETENTION_MIN)
    }

    async fn wait_for_quota(&self, reader: u64) {
        loop {
            let wait = self.bucket(|bucket| bucket.wait(clock::now()));
            if wait.is_zero() {
                return;
            }
            self.sleep(reader, wait).await;
        }
    }

    fn bucket<T>(&self, act: impl FnOnce(&mut Bucket) -> T) -> T {
        act(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn size<T>(&self, act: impl FnOnce(&mut ReadSize) -> T) -> T {
        act(&mut self.size.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn late(shard: &kinex_core::id::ShardId, within: Duration) -> Fault {
    Fault {
        kind: FaultKind::Incomplete,
        request: format!("GetRecords of {shard}"),
        message: format!("the records did not come within {within:?}; trying again with fewer of them"),
        source: None,
    }
}

/// How long to wait after so many failures in a row; `jitter` from 0 to 1 spreads the shards of a fleet.
fn pause(kind: FaultKind, failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(8);
    match kind {
        // Asking for less is the remedy; it is there at once.
        FaultKind::Incomplete => PAUSE.mul_f64(0.5 + jitter / 2.0),
        FaultKind::Throttled | FaultKind::Unreachable | FaultKind::Service => {
            (PAUSE * (1 << doublings)).min(PAUSE_MAX).mul_f64(0.5 + jitter / 2.0)
        }
        FaultKind::Denied
        | FaultKind::Rejected
        | FaultKind::Missing
        | FaultKind::StreamReplaced
        | FaultKind::IteratorExpired
        | FaultKind::Invalid => (PAUSE_REJECTED * (1 << doublings))
            .min(PAUSE_MAX)
            .mul_f64(1.0 + jitter / 4.0),
    }
}

/// A number from 0 to 1.
fn jitter() -> f64 {
    uuid::Uuid::new_v4().as_u64_pair().0 as f64 / u64::MAX as f64
}

fn key_bytes(record: &RawRecord) -> usize {
    record.partition_key.as_ref().map_or(0, String::len)
}

/// What Kinesis counts of a record.
fn payload(record: &RawRecord) -> usize {
    record.data.len() + key_bytes(record)
}

/// What a record occupies until it is processed: itself, and four allocations.
fn occupied(record: &RawRecord) -> usize {
    let counted = 2 * size_of::<usize>();
    size_of::<RawRecord>()
        + allocated(record.sequence.as_str().len() + counted)
        + allocated(key_bytes(record))
        + allocated(record.data.len())
        + allocated(3 * size_of::<usize>())
}

/// What a record occupies while it is decoded: the text of it in the response, the SDK's own form, and what is left of it.
fn peak(record: &RawRecord) -> usize {
    const AROUND: usize = 512;
    occupied(record) + record.data.len() / 3 * 4 + key_bytes(record) + AROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest and the longest pauses after one failure, two, and so on, in milliseconds.
    fn check(kind: FaultKind, expected: &[(u128, u128)]) {
        let pauses = (1..=expected.len() as u32).map(|failures| {
            let at = |jitter| pause(kind, failures, jitter).as_millis();
            (at(0.0), at(1.0))
        });
        assert_eq!(pauses.collect::<Vec<_>>(), expected, "{kind:?}");
    }

    #[test]
    fn failed_reads_are_made_again_more_and_more_seldom() {
        let soon = [
            (125, 250),
            (250, 500),
            (500, 1_000),
            (1_000, 2_000),
            (2_000, 4_000),
            (2_500, 5_000),
            (2_500, 5_000),
        ];
        check(FaultKind::Unreachable, &soon);
        check(FaultKind::Service, &soon);
        check(FaultKind::Throttled, &soon);
        check(FaultKind::Incomplete, &[(125, 250); 4]);
    }

    #[test]
    fn what_trying_again_soon_cannot_help_is_tried_once_a_second_at_most() {
        let seldom = [
            (1_000, 1_250),
            (2_000, 2_500),
            (4_000, 5_000),
            (5_000, 6_250),
            (5_000, 6_250),
        ];
        for kind in [FaultKind::Rejected, FaultKind::Denied, FaultKind::Invalid] {
            check(kind, &seldom);
        }
    }

    #[test]
    fn a_record_of_one_byte_is_counted_with_all_that_is_around_it() {
        let record = RawRecord {
            sequence: kinex_core::id::SequenceNumber::parse(&"4".repeat(56)).expect("digits"),
            partition_key: Some("k".into()),
            data: bytes::Bytes::from_static(b"x"),
            arrived_millis: 0,
        };
        assert!((200..400).contains(&occupied(&record)), "{}", occupied(&record));
        assert!(peak(&record) > 2 * occupied(&record));
    }
}
