//! Checkpoints: fenced by the lease, only forward, never beyond what was delivered.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kinex_core::lease::{Checkpoint, Position};
use kinex_core::member::Hold;
use tokio::sync::{mpsc, oneshot};

use crate::message::Message;

/// Why a checkpoint was not written. In every case the table is unchanged, but for [`Self::Unavailable`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Another process has the lease. The processor will be told by `lease_lost`; there is nothing to repair.
    #[error("the lease is lost: another process has it, or its row is gone")]
    LeaseLost,
    /// The position was never delivered.
    #[error("{asked} was not delivered yet: the last record delivered is {}", at(delivered.as_ref()))]
    AboveDelivered {
        /// The position asked for.
        asked: Position,
        /// The last one delivered.
        delivered: Option<Position>,
    },
    /// A later position is already checkpointed.
    #[error("{asked} lies before the last checkpoint {last}: checkpoints only move forward")]
    BelowLast {
        /// The position asked for.
        asked: Position,
        /// The last checkpoint.
        last: Position,
    },
    /// The shard is already marked as done.
    #[error("the shard is already marked as processed to its end")]
    ShardEnded,
    /// The table did not answer for as long as the lease was valid; it is not known whether the checkpoint is written.
    /// Trying again is safe.
    #[error("the lease table did not answer: {0}")]
    Unavailable(String),
    /// The worker has stopped.
    #[error("the worker has stopped")]
    Stopped,
}

fn at(position: Option<&Position>) -> String {
    position.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// Writes the progress of one shard in one epoch of its lease. Cheap to clone; a clone may be kept by a task that
/// makes records durable later.
#[derive(Clone, Debug)]
pub struct Checkpointer {
    hold: Arc<Hold>,
    progress: Arc<Mutex<Progress>>,
    inbox: mpsc::Sender<Message>,
}

#[derive(Debug)]
struct Progress {
    /// The last record that the processor was given.
    delivered: Option<Position>,
    /// The last record of the last batch that was processed to the end.
    processed: Option<Position>,
    /// The last checkpoint known to be written.
    written: Checkpoint,
}

impl Checkpointer {
    pub(crate) fn new(hold: Arc<Hold>, written: Checkpoint, inbox: mpsc::Sender<Message>) -> Self {
        Self {
            hold,
            progress: Arc::new(Mutex::new(Progress {
                delivered: None,
                processed: None,
                written,
            })),
            inbox,
        }
    }

    /// Checkpoints everything that was delivered so far, the batch in hand included. A batch whose call failed or was
    /// cut short does not count until it is delivered again.
    ///
    /// # Errors
    /// See [`CheckpointError`]. Without a delivered record there is nothing to do, and that is `Ok`.
    pub async fn checkpoint(&self) -> Result<(), CheckpointError> {
        let delivered = self.progress().delivered.clone();
        match delivered {
            Some(position) => self.checkpoint_at(&position).await,
            None => Ok(()),
        }
    }

    /// Checkpoints everything up to and with this record. A position inside an aggregate is exact: the next process
    /// goes on with the user record after it.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub async fn checkpoint_at(&self, position: &Position) -> Result<(), CheckpointError> {
        self.admit(position)?;
        self.write(Checkpoint::At(position.clone()), BTreeSet::new()).await
    }

    /// The last checkpoint that is known to be written.
    pub fn written(&self) -> Checkpoint {
        self.progress().written.clone()
    }

    /// The last record that was delivered to the processor in this epoch.
    pub fn delivered(&self) -> Option<Position> {
        self.progress().delivered.clone()
    }

    /// Marks the shard as processed to its end.
    pub(crate) async fn shard_ended(&self, children: BTreeSet<kinex_core::id::ShardId>) -> Result<(), CheckpointError> {
        self.write(Checkpoint::ShardEnd, children).await
    }

    /// Writes down at which time reading begins.
    pub(crate) async fn begin_at(&self, millis: i64) -> Result<(), CheckpointError> {
        self.write(Checkpoint::Since(millis), BTreeSet::new()).await
    }

    /// These records are about to be given to the processor.
    pub(crate) fn delivering(&self, last: &Position) {
        self.progress().delivered = Some(last.clone());
    }

    /// The call with them failed or was cut short: they will be delivered again, and do not count until then.
    pub(crate) fn undelivered(&self) {
        let mut progress = self.progress();
        let written = match &progress.written {
            Checkpoint::At(position) => Some(position.clone()),
            _ => None,
        };
        progress.delivered = progress.processed.clone().max(written);
    }

    /// They are processed.
    pub(crate) fn processed(&self, last: &Position) {
        self.progress().processed = Some(last.clone());
    }

    /// What a final checkpoint would be; `None` when it is already written.
    pub(crate) fn unwritten(&self) -> Option<Checkpoint> {
        let progress = self.progress();
        let reached = Checkpoint::At(progress.processed.clone()?);
        (progress.written < reached).then_some(reached)
    }

    /// The rules that need no table.
    fn admit(&self, asked: &Position) -> Result<(), CheckpointError> {
        let progress = self.progress();
        match &progress.written {
            Checkpoint::ShardEnd => return Err(CheckpointError::ShardEnded),
            Checkpoint::At(last) if asked < last => {
                return Err(CheckpointError::BelowLast {
                    asked: asked.clone(),
                    last: last.clone(),
                });
            }
            _ => {}
        }
        if progress.delivered.as_ref().is_none_or(|delivered| asked > delivered) {
            return Err(CheckpointError::AboveDelivered {
                asked: asked.clone(),
                delivered: progress.delivered.clone(),
            });
        }
        Ok(())
    }

    async fn write(
        &self,
        checkpoint: Checkpoint,
        children: BTreeSet<kinex_core::id::ShardId>,
    ) -> Result<(), CheckpointError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Checkpoint {
            hold: Arc::clone(&self.hold),
            checkpoint: checkpoint.clone(),
            children,
            reply,
        };
        self.inbox.send(message).await.map_err(|_| CheckpointError::Stopped)?;
        answer.await.map_err(|_| CheckpointError::Stopped)??;
        let mut progress = self.progress();
        if progress.written < checkpoint {
            progress.written = checkpoint;
        }
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Each change is one assignment, so a panic elsewhere leaves nothing half done.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
