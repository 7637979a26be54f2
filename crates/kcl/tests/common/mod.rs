//! A fleet of workers in one process, on tables and a stream in memory, and a record of everything they were given.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses a part of it"
)]

pub mod aggregate;
pub mod scripted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kinex_kcl::memory::{MemoryStore, MemoryStream};
use kinex_kcl::{
    Checkpointer, Departure, Ended, Epoch, Error, Position, ProcessorError, ProtocolConfig, RecordBatch,
    RecordProcessor, ShardId, ShardStart, Worker, WorkerConfig, WorkerEvent, WorkerHandle,
};
use tokio::task::JoinHandle;

/// No machine is so slow that it needs longer than this for what a test waits for.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Settings that make a fleet settle within a second or two and still forgive a busy machine.
pub fn fast() -> WorkerConfig {
    WorkerConfig {
        protocol: ProtocolConfig {
            failover_after: Duration::from_secs(3),
            renew_every: Duration::from_millis(300),
            margin: Duration::from_millis(30),
            poll_every: Duration::from_millis(100),
            settle_for: Duration::from_millis(250),
            drain_timeout: Duration::from_secs(5),
            handoff_timeout: Duration::from_secs(10),
            handoff_poll: Duration::from_millis(30),
            ..ProtocolConfig::default()
        },
        sync_every: Duration::from_millis(100),
        idle_between_reads: Duration::from_millis(30),
        retry_pause: Duration::from_millis(10),
        retry_pause_max: Duration::from_millis(50),
        request_timeout: Duration::from_secs(1),
        events_kept: 100_000,
        ..WorkerConfig::default()
    }
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A record as it was given to a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub worker: String,
    pub epoch: Epoch,
    pub shard: ShardId,
    pub position: Position,
    pub data: Vec<u8>,
}

/// What was delivered to the processors of a test, and what else they heard.
#[derive(Clone, Default)]
pub struct DeliveryLog {
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl DeliveryLog {
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }

    pub fn note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }

    pub fn deliver(&self, worker: &str, epoch: Epoch, batch: &RecordBatch) {
        let delivery = |record: &kinex_kcl::Record| Delivery {
            worker: worker.to_owned(),
            epoch,
            shard: batch.shard.clone(),
            position: record.position.clone(),
            data: record.data.to_vec(),
        };
        self.deliveries
            .lock()
            .unwrap()
            .extend(batch.records.iter().map(delivery));
    }

    /// How often each payload was delivered.
    pub fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for delivery in self.deliveries() {
            *times
                .entry(String::from_utf8_lossy(&delivery.data).into_owned())
                .or_default() += 1;
        }
        times
    }

    pub fn distinct(&self) -> usize {
        self.times().len()
    }

    pub fn duplicates(&self) -> usize {
        self.times().values().map(|times| times - 1).sum()
    }

    /// Within one epoch of a shard records come strictly in order, and nothing comes under an epoch once a later one
    /// has begun: at no time two processes deliver.
    pub fn check_order(&self) {
        let mut epochs: BTreeMap<ShardId, Epoch> = BTreeMap::new();
        for delivery in self.deliveries() {
            let epoch = epochs.entry(delivery.shard.clone()).or_default();
            assert!(
                *epoch <= delivery.epoch,
                "after epoch {epoch} of the shard: {delivery:?}"
            );
            *epoch = delivery.epoch;
        }
        let mut last: BTreeMap<(ShardId, Epoch), Position> = BTreeMap::new();
        for delivery in self.deliveries() {
            let before = last.insert((delivery.shard.clone(), delivery.epoch), delivery.position.clone());
            assert!(
                before.is_none_or(|before| before < delivery.position),
                "out of order: {delivery:?}"
            );
        }
    }
}

/// Writes down what it is given, and checkpoints every batch.
pub struct Recorder {
    pub worker: String,
    pub delivery_log: DeliveryLog,
    pub epoch: Epoch,
    pub shard: ShardId,
}

impl RecordProcessor for Recorder {
    async fn initialize(&mut self, start: &ShardStart) -> Result<(), ProcessorError> {
        self.epoch = start.epoch;
        self.delivery_log
            .note(format!("{} starts {}", self.worker, start.shard));
        Ok(())
    }

    async fn process(&mut self, batch: &RecordBatch, checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        self.delivery_log.deliver(&self.worker, self.epoch, batch);
        // Who has lost the lease is told so next.
        let _ = checkpointer.checkpoint().await;
        Ok(())
    }

    async fn lease_lost(&mut self) {
        self.delivery_log.note(format!("{} lost {}", self.worker, self.shard));
    }

    async fn shard_ended(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        self.delivery_log.note(format!("{} ended {}", self.worker, self.shard));
        Ok(())
    }

    async fn shutdown_requested(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        self.delivery_log
            .note(format!("{} flushed {}", self.worker, self.shard));
        Ok(())
    }
}

/// A worker that runs.
pub struct Running {
    pub name: String,
    pub handle: WorkerHandle,
    pub events: Arc<Mutex<Vec<WorkerEvent>>>,
    pub run: JoinHandle<Result<Ended, Error>>,
    listen: JoinHandle<()>,
}

impl Running {
    pub fn start<F: kinex_kcl::ProcessorFactory>(
        name: &str,
        store: &MemoryStore,
        stream: &MemoryStream,
        config: WorkerConfig,
        factory: F,
    ) -> Self {
        let worker = Worker::builder(store.clone(), stream.clone(), factory)
            .worker_id(name)
            .config(config)
            .build()
            .expect("the settings are good");
        let handle = worker.handle();
        let events = Arc::new(Mutex::new(Vec::new()));
        let (mut heard, told) = (handle.subscribe(), Arc::clone(&events));
        let listen = tokio::spawn(async move {
            while let Ok(event) = heard.recv().await {
                told.lock().unwrap().push(event);
            }
        });
        Self {
            name: name.to_owned(),
            handle,
            events,
            run: tokio::spawn(worker.run()),
            listen,
        }
    }

    pub fn saw(&self, wanted: impl Fn(&WorkerEvent) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(wanted)
    }

    pub fn count(&self, wanted: impl Fn(&WorkerEvent) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }

    /// Leaves in good order.
    pub async fn leave(self) -> Ended {
        self.handle.shutdown(Departure::Release).await;
        let ended = tokio::time::timeout(LIMIT, self.run)
            .await
            .expect("the worker leaves in time");
        self.listen.abort();
        ended
            .expect("the worker does not panic")
            .expect("the worker leaves in good order")
    }

    /// Is gone from one moment to the next.
    pub fn crash(self) {
        self.run.abort();
        self.listen.abort();
    }
}

/// Workers with [`Recorder`]s.
pub struct Fleet {
    pub store: MemoryStore,
    pub stream: MemoryStream,
    pub delivery_log: DeliveryLog,
    pub config: WorkerConfig,
    pub workers: Vec<Running>,
}

impl Fleet {
    pub fn new(shards: usize) -> Self {
        Self {
            store: MemoryStore::new(),
            stream: MemoryStream::new(shards),
            delivery_log: DeliveryLog::default(),
            config: fast(),
            workers: Vec::new(),
        }
    }

    pub fn add(&mut self, name: &str) {
        let (delivery_log, worker) = (self.delivery_log.clone(), name.to_owned());
        let factory = move |shard: &ShardId| Recorder {
            worker: worker.clone(),
            delivery_log: delivery_log.clone(),
            epoch: Epoch(0),
            shard: shard.clone(),
        };
        self.workers.push(Running::start(
            name,
            &self.store,
            &self.stream,
            self.config.clone(),
            factory,
        ));
    }

    /// How many leases each worker has, by the rows that no hand-off runs on, from the fewest to the most.
    pub fn spread(&self) -> Vec<usize> {
        let mut spread: BTreeMap<String, usize> = self.workers.iter().map(|worker| (worker.name.clone(), 0)).collect();
        for row in self.store.lease_rows() {
            let Some(owner) = row.present_owner() else { continue };
            if !row.finished() {
                *spread.entry(owner.to_string()).or_default() += 1;
            }
        }
        let mut spread: Vec<_> = spread.into_values().collect();
        spread.sort_unstable();
        spread
    }

    pub async fn settle(&self, expected: &[usize]) {
        let what = format!("leases {expected:?}");
        until(&what, || {
            self.spread() == expected && self.store.lease_rows().iter().all(|row| !row.handoff_pending())
        })
        .await;
    }

    /// Puts records with the payloads `first..first + count`, spread over all shards.
    pub fn put(&self, first: usize, count: usize) {
        for number in first..first + count {
            self.stream.put(&format!("key-{number}"), format!("{number}"));
        }
    }

    pub async fn all_delivered(&self, count: usize) {
        let what = format!("{count} records");
        until(&what, || self.delivery_log.distinct() >= count).await;
        assert_eq!(self.delivery_log.distinct(), count);
        self.delivery_log.check_order();
    }

    pub async fn leave(self) -> BTreeSet<ShardId> {
        let mut hung = BTreeSet::new();
        for worker in self.workers {
            hung.extend(worker.leave().await.hung);
        }
        hung
    }
}
