//! Carries the member's requests to the tables, and writes checkpoints.

use std::time::Duration;

use kinex_core::lease::{Checkpoint, Fence, Lease, LeaseWrite};
use kinex_core::member::{Reply, Request, Written};
use kinex_core::time::Moment;
use kinex_core::worker::{Group, WorkerRow};

use crate::clock;
use crate::ports::{Fault, FaultKind, LeaseStore};
use crate::reporter::Reporter;

/// The pause before a checkpoint is sent again; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A scan of all rows may take this many times as long as other requests.
pub(crate) const SCAN: u32 = 3;

/// Sends a request of the member. A failure has been told and counted when this returns.
pub(crate) async fn send<S: LeaseStore>(store: &S, reporter: &Reporter, within: Duration, request: Request) -> Reply {
    match request {
        Request::OpenGroup(renewal) => {
            let answer = reporter
                .ask("open-group", None, within, store.open_group(renewal))
                .await;
            reply(reporter, "open-group", answer, Reply::Group)
        }
        // Many pages too, when many workers have come and gone.
        Request::Members => {
            let answer = reporter.ask("members", None, within * SCAN, store.members()).await;
            reply(reporter, "members", answer, members)
        }
        Request::MembersPresent => {
            let answer = reporter
                .ask("members", None, within * SCAN, store.members_present())
                .await;
            reply(reporter, "members", answer, members)
        }
        Request::Worker(id) => {
            let answer = reporter.ask("worker", None, within, store.worker(&id)).await;
            reply(reporter, "worker", answer, Reply::Worker)
        }
        Request::Leases => {
            // Many pages.
            let answer = reporter.ask("leases", None, within * SCAN, store.leases()).await;
            reply(reporter, "leases", answer, |scan| {
                reporter.unreadable(&scan.unreadable);
                reporter.foreign(&scan.foreign);
                Reply::Leases(scan.leases)
            })
        }
        Request::Lease(key) => {
            let answer = reporter.ask("lease", Some(&key), within, store.lease(&key)).await;
            reply(reporter, "lease", answer, Reply::Lease)
        }
        Request::WriteLease(write) => {
            let answer = reporter
                .ask(write.kind(), Some(write.key()), within, store.write_lease(&write))
                .await;
            written(reporter, write.kind(), answer, Reply::LeaseWritten)
        }
        Request::WriteWorker(write) => {
            let answer = reporter
                .ask(write.kind(), None, within, store.write_worker(&write))
                .await;
            written(reporter, write.kind(), answer, Reply::WorkerWritten)
        }
    }
}

fn members((group, workers): (Option<Group>, Vec<WorkerRow>)) -> Reply {
    Reply::Members { group, workers }
}

fn reply<T>(
    reporter: &Reporter,
    request: &'static str,
    answer: Result<T, Fault>,
    reply: impl FnOnce(T) -> Reply,
) -> Reply {
    match answer {
        Ok(answer) => {
            reporter.count(request, "ok");
            reply(answer)
        }
        Err(_) => Reply::Failed,
    }
}

fn written<T>(
    reporter: &Reporter,
    request: &'static str,
    answer: Result<Written<T>, Fault>,
    reply: impl FnOnce(Written<T>) -> Reply,
) -> Reply {
    match answer {
        Ok(answer) => {
            reporter.count(request, outcome(&answer));
            reply(answer)
        }
        Err(_) => Reply::Failed,
    }
}

fn outcome<T>(written: &Written<T>) -> &'static str {
    match written {
        Written::Done(_) => "ok",
        Written::Refused(_) => "refused",
    }
}

/// How a checkpoint ended, and when it was first sent.
pub(crate) struct CheckpointWritten {
    pub(crate) sent: Moment,
    pub(crate) answer: Result<Written<Lease>, Fault>,
}

/// Writes a checkpoint; sends it again until `until` while nobody knows whether it is written.
pub(crate) async fn write_checkpoint<S: LeaseStore>(
    store: &S,
    reporter: &Reporter,
    within: Duration,
    patience: Duration,
    write: LeaseWrite,
) -> CheckpointWritten {
    let sent = clock::now();
    let mut pause = PAUSE;
    let mut unsure = false;
    loop {
        let answer = reporter
            .ask("checkpoint", Some(write.key()), within, store.write_lease(&write))
            .await;
        let answer = match answer {
            Ok(Written::Refused(row)) if unsure && is_own_end(&write, row.as_ref()) => Ok(Written::Done(row)),
            Err(fault) if may_pass(fault.kind) && clock::now().since(sent) < patience => {
                unsure |= matches!(fault.kind, FaultKind::Unreachable | FaultKind::Service);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            answer => answer,
        };
        if let Ok(written) = &answer {
            reporter.count("checkpoint", outcome(written));
        }
        return CheckpointWritten { sent, answer };
    }
}

fn may_pass(kind: FaultKind) -> bool {
    match kind {
        FaultKind::Throttled | FaultKind::Unreachable | FaultKind::Service | FaultKind::Denied => true,
        // Reads fail with some of these, and writes never do.
        FaultKind::Missing
        | FaultKind::StreamReplaced
        | FaultKind::IteratorExpired
        | FaultKind::Incomplete
        | FaultKind::Rejected
        | FaultKind::Invalid => false,
    }
}

/// A shard's end whose reply was lost and that is refused the second time is written: the row says so in the same
/// epoch, or it is removed already, which only happens to finished rows.
fn is_own_end(write: &LeaseWrite, row: Option<&Lease>) -> bool {
    let LeaseWrite::Checkpoint {
        checkpoint: Checkpoint::ShardEnd,
        by: Fence { epoch, .. },
        ..
    } = write
    else {
        return false;
    };
    row.is_none_or(|row| row.finished() && row.epoch == *epoch)
}
