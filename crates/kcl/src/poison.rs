//! Records whose call fails every time, and what may become of them.

use std::fmt;
use std::sync::Arc;

use crate::processor::RecordBatch;

/// What becomes of records whose call fails every time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PoisonAction {
    /// The call is made again, for as long as the lease is held: nothing is lost, and the shard stands still until the
    /// cause is gone.
    #[default]
    Retry,
    /// The shard is halted until [`WorkerHandle::resume`](crate::WorkerHandle::resume): nothing is lost, and nothing is
    /// called.
    Halt,
    /// The records are given up. They count as processed and are told by
    /// [`WorkerEvent::RecordsDropped`](crate::WorkerEvent::RecordsDropped).
    Skip,
    /// As `Skip`, once [`RecordProcessor::dead_letter`](crate::RecordProcessor::dead_letter) has stored them elsewhere.
    DeadLetter,
}

/// A record whose call fails every time.
///
/// It comes alone: before anything is decided about a batch, its records are given one by one, so that the good ones
/// around a bad one are processed.
#[derive(Clone)]
pub struct Poison {
    /// The record, in a batch of its own.
    pub batch: Arc<RecordBatch>,
    /// How many times its call has failed in a row.
    pub failures: u32,
    /// What the last call returned; for a panic, an error with its text.
    pub error: Arc<dyn std::error::Error + Send + Sync>,
    /// What [`WorkerConfig::on_poison`](crate::WorkerConfig::on_poison) says.
    pub configured: PoisonAction,
}

impl fmt::Debug for Poison {
    /// Without the record's payload and keys, which belong into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poison")
            .field("shard", &self.batch.shard)
            .field("failures", &self.failures)
            .field("configured", &self.configured)
            .finish_non_exhaustive()
    }
}
