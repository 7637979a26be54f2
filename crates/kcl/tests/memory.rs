//! What a worker keeps in memory, by the operating system's own figure. Alone in its process.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{LIMIT, fast};
use kinex_core::shard_map::Shard;
use kinex_kcl::memory::{MemoryStore, MemoryStream};
use kinex_kcl::ports::{Fault, RawRecord, ReadBatch, ReadFrom, ShardIterator, StreamReader};
use kinex_kcl::{
    Checkpointer, ProcessorError, RecordBatch, RecordProcessor, SequenceNumber, ShardId, StreamIdentity, Worker,
};

const SHARDS: usize = 20;
const MEMORY_MAX: usize = 64 * 1024 * 1024;

/// A stream of records of one byte that never ends. It makes them when they are read, as a client of Kinesis does.
struct Endless {
    shape: MemoryStream,
    given: Arc<AtomicU64>,
}

impl StreamReader for Endless {
    async fn stream_identity(&self) -> Result<StreamIdentity, Fault> {
        self.shape.stream_identity().await
    }

    async fn placed_by_key(&self) -> Result<bool, Fault> {
        Ok(true)
    }

    async fn now_millis(&self) -> Result<i64, Fault> {
        Ok(0)
    }

    async fn shards(&self) -> Result<Vec<Shard>, Fault> {
        self.shape.shards().await
    }

    async fn iterator(&self, shard: &ShardId, _: &ReadFrom) -> Result<ShardIterator, Fault> {
        Ok(ShardIterator(shard.to_string()))
    }

    async fn read(&self, at: &ShardIterator, max: usize) -> Result<ReadBatch, Fault> {
        let record = |_| {
            let number = self.given.fetch_add(1, Ordering::Relaxed);
            RawRecord {
                sequence: SequenceNumber::parse(&format!("4{number:055}")).expect("digits"),
                partition_key: Some(format!("key-{number}")),
                data: Bytes::from(vec![b'x']),
                arrived_millis: 1,
            }
        };
        Ok(ReadBatch {
            records: (0..max).map(record).collect(),
            next: Some(at.clone()),
            children: BTreeSet::new(),
            behind_millis: 1_000,
        })
    }
}

/// Hangs with the first batch that it is given.
struct Hung;

impl RecordProcessor for Hung {
    async fn process(&mut self, _: &RecordBatch, _: &Checkpointer) -> Result<(), ProcessorError> {
        std::future::pending().await
    }

    async fn shard_ended(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        Ok(())
    }

    async fn shutdown_requested(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        Ok(())
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    kib * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_records_behind_hung_processors_stay_within_the_budget() {
    let given = Arc::new(AtomicU64::new(0));
    let stream = Endless {
        shape: MemoryStream::new(SHARDS),
        given: Arc::clone(&given),
    };
    let before = resident();
    let mut config = fast();
    config.memory_max = MEMORY_MAX;
    let worker = Worker::builder(MemoryStore::new(), stream, |_: &ShardId| Hung)
        .worker_id("worker-0")
        .config(config)
        .build()
        .expect("the settings are good");
    let handle = worker.handle();
    let running = tokio::spawn(worker.run());
    // Until nothing more is read: the budget is used up.
    let (start, mut last, mut still) = (Instant::now(), 0, 0);
    while still < 20 {
        assert!(start.elapsed() < LIMIT, "reading does not stop");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = given.load(Ordering::Relaxed);
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
    }
    let grown = resident() - before;
    assert_eq!(handle.status().holds.len(), SHARDS);
    assert!(last > 60_000, "only {last} records were read: the budget is not used");
    assert!(grown <= MEMORY_MAX, "{last} records occupy {grown} bytes");
    running.abort();
}
