//! Checkpoints of each hold, one after the other and only forward.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use kinex_core::id::ShardId;
use kinex_core::lease::{Checkpoint, LeaseWrite};
use kinex_core::member::{Event, Hold, StopReason, Written};
use tokio::sync::oneshot;

use super::{Driver, Finished};
use crate::checkpointer::CheckpointError;
use crate::events::WorkerEvent;
use crate::ports::{LeaseStore, StreamReader};
use crate::processor::ProcessorFactory;
use crate::request::{self, CheckpointWritten};

type Answer = oneshot::Sender<Result<(), CheckpointError>>;

/// The checkpoints of one hold. A write whose asker has gone is still finished before the next one is sent, so that no
/// late answer can bring an earlier position back.
pub(super) struct Queue {
    written: Checkpoint,
    under_way: Option<(Checkpoint, Answer)>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    checkpoint: Checkpoint,
    children: BTreeSet<ShardId>,
    answer: Answer,
}

impl Queue {
    pub(super) fn new(written: Checkpoint) -> Self {
        Self {
            written,
            under_way: None,
            waiting: VecDeque::new(),
        }
    }

    /// The end of the shard is written, or a write of it is under way: nothing is delivered any more.
    pub(super) fn ends(&self) -> bool {
        let under_way = self.under_way.as_ref().map(|(checkpoint, _)| checkpoint);
        [Some(&self.written), under_way].contains(&Some(&Checkpoint::ShardEnd))
    }

    /// The next write, when none is under way.
    fn next(&mut self) -> Option<(Checkpoint, BTreeSet<ShardId>)> {
        if self.under_way.is_some() {
            return None;
        }
        while let Some(next) = self.waiting.pop_front() {
            if self.written.may_become(&next.checkpoint) {
                self.under_way = Some((next.checkpoint.clone(), next.answer));
                return Some((next.checkpoint, next.children));
            }
            let _ = next.answer.send(Err(overtaken(&self.written, next.checkpoint)));
        }
        None
    }
}

/// Another checkpoint was faster.
fn overtaken(written: &Checkpoint, asked: Checkpoint) -> CheckpointError {
    match (written, asked) {
        (Checkpoint::At(last), Checkpoint::At(asked)) => CheckpointError::BelowLast {
            asked,
            last: last.clone(),
        },
        _ => CheckpointError::ShardEnded,
    }
}

impl<S: LeaseStore, R: StreamReader, F: ProcessorFactory> Driver<S, R, F> {
    pub(super) fn checkpoint(
        &mut self,
        hold: &Arc<Hold>,
        checkpoint: Checkpoint,
        children: BTreeSet<ShardId>,
        answer: Answer,
    ) {
        let Some(held) = self.holds.get_mut(&**hold) else {
            let _ = answer.send(Err(CheckpointError::LeaseLost));
            return;
        };
        held.checkpoints.waiting.push_back(Waiting {
            checkpoint,
            children,
            answer,
        });
        self.next_checkpoint(hold);
    }

    fn next_checkpoint(&mut self, hold: &Arc<Hold>) {
        let Some(held) = self.holds.get_mut(&**hold) else {
            return;
        };
        let Some((checkpoint, children)) = held.checkpoints.next() else {
            return;
        };
        let write = LeaseWrite::Checkpoint {
            key: hold.key.clone(),
            by: hold.fence.clone(),
            checkpoint,
            children,
        };
        let (store, reporter, hold) = (Arc::clone(&self.store), self.reporter.clone(), Arc::clone(hold));
        let (within, patience) = (self.config.request_timeout, self.config.protocol.failover_after);
        self.requests.spawn(async move {
            let written = request::write_checkpoint(&*store, &reporter, within, patience, write).await;
            Finished::Checkpoint(hold, written)
        });
    }

    pub(super) fn checkpoint_written(&mut self, hold: &Arc<Hold>, written: CheckpointWritten) {
        let CheckpointWritten { sent, answer } = written;
        let result = match &answer {
            Ok(Written::Done(_)) => Ok(()),
            Ok(Written::Refused(_)) => Err(CheckpointError::LeaseLost),
            Err(fault) => Err(CheckpointError::Unavailable(fault.to_string())),
        };
        // When the hold is over meanwhile, the asker's half of the channel is gone with it and says so.
        if let Some(held) = self.holds.get_mut(&**hold)
            && let Some((checkpoint, answer)) = held.checkpoints.under_way.take()
        {
            if result.is_ok() {
                held.checkpoints.written = checkpoint.clone();
                self.reporter.hold(hold, |hold| hold.checkpoint = checkpoint);
            }
            let _ = answer.send(result.clone());
            if held.lost && !held.checkpoints.ends() {
                self.stop(hold, StopReason::Lost);
            }
        }
        if let Ok(written) = answer {
            self.reporter.emit(WorkerEvent::Checkpointed {
                shard: hold.key.clone(),
                epoch: hold.fence.epoch,
                written: result.is_ok(),
            });
            let hold = hold.as_ref().clone();
            self.happened(Event::Checkpointed { hold, sent, written });
        }
        self.next_checkpoint(hold);
    }
}
