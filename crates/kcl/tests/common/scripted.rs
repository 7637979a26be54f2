//! A processor that does what a test tells it to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use kinex_kcl::memory::{MemoryStore, MemoryStream};
use kinex_kcl::{Checkpointer, Epoch, ProcessorError, RecordBatch, RecordProcessor, ShardId, ShardStart, WorkerConfig};

use super::{DeliveryLog, Running};

pub type Outcome = Pin<Box<dyn Future<Output = Result<(), ProcessorError>> + Send>>;
type Process = Arc<dyn Fn(RecordBatch, Checkpointer) -> Outcome + Send + Sync>;
type Flush = Arc<dyn Fn(Checkpointer) -> Outcome + Send + Sync>;

/// Writes down every call, then does as told.
pub struct Scripted {
    name: String,
    delivery_log: DeliveryLog,
    process: Process,
    flush: Flush,
    epoch: Epoch,
    shard: ShardId,
}

impl RecordProcessor for Scripted {
    async fn initialize(&mut self, start: &ShardStart) -> Result<(), ProcessorError> {
        self.epoch = start.epoch;
        self.delivery_log.note(format!("{} starts {}", self.name, self.shard));
        Ok(())
    }

    async fn process(&mut self, batch: &RecordBatch, checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        self.delivery_log.deliver(&self.name, self.epoch, batch);
        (self.process)(batch.clone(), checkpointer.clone()).await
    }

    async fn lease_lost(&mut self) {
        self.delivery_log.note(format!("{} lost {}", self.name, self.shard));
    }

    async fn shard_ended(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        self.delivery_log.note(format!("{} ended {}", self.name, self.shard));
        Ok(())
    }

    async fn shutdown_requested(&mut self, checkpointer: &Checkpointer) -> Result<(), ProcessorError> {
        self.delivery_log.note(format!("{} flushed {}", self.name, self.shard));
        (self.flush)(checkpointer.clone()).await
    }
}

/// One worker with scripted processors.
pub struct Script {
    pub store: MemoryStore,
    pub stream: MemoryStream,
    pub delivery_log: DeliveryLog,
    pub config: WorkerConfig,
    process: Process,
    flush: Flush,
}

impl Script {
    pub fn new(shards: usize) -> Self {
        Self {
            store: MemoryStore::new(),
            stream: MemoryStream::new(shards),
            delivery_log: DeliveryLog::default(),
            config: super::fast(),
            process: Arc::new(|_, _| Box::pin(async { Ok(()) })),
            flush: Arc::new(|_| Box::pin(async { Ok(()) })),
        }
    }

    pub fn process<W>(mut self, work: impl Fn(RecordBatch, Checkpointer) -> W + Send + Sync + 'static) -> Self
    where
        W: Future<Output = Result<(), ProcessorError>> + Send + 'static,
    {
        self.process = Arc::new(move |batch, checkpointer| Box::pin(work(batch, checkpointer)));
        self
    }

    pub fn flush<W>(mut self, work: impl Fn(Checkpointer) -> W + Send + Sync + 'static) -> Self
    where
        W: Future<Output = Result<(), ProcessorError>> + Send + 'static,
    {
        self.flush = Arc::new(move |checkpointer| Box::pin(work(checkpointer)));
        self
    }

    pub fn start(&self, name: &str) -> Running {
        let (delivery_log, process, flush) = (
            self.delivery_log.clone(),
            Arc::clone(&self.process),
            Arc::clone(&self.flush),
        );
        let worker = name.to_owned();
        let factory = move |shard: &ShardId| Scripted {
            name: worker.clone(),
            delivery_log: delivery_log.clone(),
            process: Arc::clone(&process),
            flush: Arc::clone(&flush),
            epoch: Epoch(0),
            shard: shard.clone(),
        };
        Running::start(name, &self.store, &self.stream, self.config.clone(), factory)
    }
}
