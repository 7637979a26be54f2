//! Events as log lines. Nothing from a record's payload or key is ever logged.

use kinex_core::id::ShardId;
use kinex_core::lease::Position;
use tracing::{debug, error, info, warn};

use crate::events::WorkerEvent;
use crate::ports::Fault;

/// A failed request, with how many of its kind were not logged since the last one that was.
pub(crate) fn failure(fault: &Fault, unlogged: u64) {
    warn!(request = fault.request, kind = ?fault.kind, message = fault.message, unlogged, "request failed");
}

/// Records that no processor gets, with how many more were dropped without a line since the last one.
pub(crate) fn dropped(
    shard: &ShardId,
    reason: &'static str,
    records: u64,
    first: &Position,
    last: &Position,
    unlogged: u64,
) {
    warn!(%shard, reason, records, %first, %last, unlogged, "records dropped: no processor gets them");
}

/// ERROR needs a person, WARN is unexpected but went on, INFO is a change of state, DEBUG a round.
pub(crate) fn event(event: &WorkerEvent) {
    match event {
        WorkerEvent::ShardHalted { .. } => error!(?event, "shard halted"),
        WorkerEvent::ShardFailing { .. } => error!(?event, "processor fails every time"),
        WorkerEvent::ProcessorSlow { .. } => warn!(?event, "processor is slow"),
        WorkerEvent::BehindHorizon { shard, checkpoint } => warn!(
            event = "BehindHorizon", %shard, ?checkpoint,
            "retention has removed the record of the checkpoint, and with it any that came after it and were not read yet"
        ),
        WorkerEvent::ProcessorFailed { .. }
        | WorkerEvent::DrainTimedOut { .. }
        | WorkerEvent::WindowLapsed { .. }
        | WorkerEvent::BatchCut { .. }
        | WorkerEvent::BadAggregate { .. }
        | WorkerEvent::UnreadableLease { .. }
        | WorkerEvent::ForeignLeases { .. }
        | WorkerEvent::RequestFailed { .. } => warn!(?event),
        WorkerEvent::Membership { .. }
        | WorkerEvent::CapExceeded { .. }
        | WorkerEvent::LeaseMoved { .. }
        | WorkerEvent::ShardStarted { .. }
        | WorkerEvent::ShardDraining { .. }
        | WorkerEvent::ShardResumed { .. }
        | WorkerEvent::ShardStopped { .. }
        | WorkerEvent::ShardEnded { .. }
        | WorkerEvent::LeaseCreated { .. }
        | WorkerEvent::LeaseDeleted { .. } => info!(?event),
        WorkerEvent::Planned { .. }
        | WorkerEvent::Conflict { .. }
        | WorkerEvent::Checkpointed { .. }
        | WorkerEvent::OutOfRange { .. }
        // Logged by `dropped`.
        | WorkerEvent::RecordsDropped { .. } => debug!(?event),
    }
}
