//! What goes into a [`Member`](super::Member) and what comes out of it.

use crate::id::{ShardId, WorkerId};
use crate::lease::{Checkpoint, Fence, Lease, LeaseWrite};
use crate::time::Moment;
use crate::worker::{Departure, Group, RenewalMode, WorkerRow, WorkerWrite};

/// Matches an answer with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something to ask of the lease table or the workers' table. Reads are strongly consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The group row, made with this renewal mode when there is none.
    OpenGroup(RenewalMode),
    /// The group row and the rows of all workers.
    Members,
    /// The group row and the rows of the workers that have not left for good ([`WorkerRow::left_for_good`]).
    MembersPresent,
    /// One worker's row.
    Worker(WorkerId),
    /// All lease rows, every page.
    Leases,
    /// One lease row.
    Lease(ShardId),
    /// A conditional write of a lease row.
    WriteLease(LeaseWrite),
    /// A conditional write of a worker's row.
    WriteWorker(WorkerWrite),
}

/// How a conditional write ended; either way with the row as it now is, or `None` when there is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written<T> {
    /// The condition held and the change is made.
    Done(Option<T>),
    /// The condition did not hold and nothing is changed. (It may be one's own earlier write whose reply was lost.)
    Refused(Option<T>),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::OpenGroup`].
    Group(Group),
    /// To [`Request::Members`] and [`Request::MembersPresent`].
    Members {
        /// `None` before anybody has opened the group.
        group: Option<Group>,
        /// In the order of their ids.
        workers: Vec<WorkerRow>,
    },
    /// To [`Request::Worker`].
    Worker(Option<WorkerRow>),
    /// To [`Request::Leases`]; a row that cannot be read is left out.
    Leases(Vec<Lease>),
    /// To [`Request::Lease`].
    Lease(Option<Lease>),
    /// To [`Request::WriteLease`].
    LeaseWritten(Written<Lease>),
    /// To [`Request::WriteWorker`].
    WorkerWritten(Written<WorkerRow>),
    /// No answer in time, or an error: the write may or may not have happened.
    Failed,
}

/// A lease in the epoch in which this process got it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hold {
    /// The lease.
    pub key: ShardId,
    /// What this process's writes are fenced by.
    pub fence: Fence,
}

/// Something that happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An answer, or the news that none came.
    Reply {
        /// Of which request.
        id: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Lease rows were added or finished by this process: look again soon.
    LineageChanged,
    /// Asked for by [`Action::Drain`]: nothing is in flight any more, and this is how far it came.
    Drained {
        /// The hold.
        hold: Hold,
        /// The last position that was processed; `None` when none was since the last checkpoint.
        checkpoint: Option<Checkpoint>,
    },
    /// A checkpoint of this process was written, or refused because the lease is lost.
    Checkpointed {
        /// The hold.
        hold: Hold,
        /// When the write was first sent.
        sent: Moment,
        /// The outcome.
        written: Written<Lease>,
    },
    /// The shard is at its end, and the checkpoint says so: the hold is over.
    ShardEnded {
        /// The hold.
        hold: Hold,
    },
    /// Leave: give every lease away and then exit.
    Depart(Departure),
}

/// Why a hold is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// Another process has the lease, or the row is gone. No checkpoint can be written any more.
    Lost,
    /// The hand-off is complete; the final checkpoint was part of it.
    Yielded,
    /// This worker is leaving and gave the lease up.
    Released,
    /// This process must stop at once.
    Evicted,
}

/// Why the process must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Left in good order; every lease is given away.
    Departed,
    /// Another live process has this worker's name.
    NameInUse(Box<WorkerRow>),
    /// This process's row is of another incarnation, or says that it has ended.
    Replaced(Option<Box<WorkerRow>>),
    /// The table belongs to workers with the other renewal mode.
    RenewalModeDiffers {
        /// What the table says.
        table: RenewalMode,
        /// What this worker is set to.
        mine: RenewalMode,
    },
}

/// What the shell shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a request and hand the answer in. Requests of one member may be under way together.
    Send {
        /// Names the request in its [`Event::Reply`].
        id: RequestId,
        /// The request.
        request: Request,
    },
    /// Start to deliver the records of a shard behind its checkpoint, before `until` and no later.
    Start {
        /// The hold.
        hold: Hold,
        /// The row as last read.
        lease: Box<Lease>,
        /// End of the window.
        until: Moment,
    },
    /// The window of the hold is longer now. After a lapse delivery goes on from where it stopped.
    Extend {
        /// The hold.
        hold: Hold,
        /// End of the window.
        until: Moment,
    },
    /// Finish the batch in flight, fetch nothing new, then say [`Event::Drained`].
    Drain {
        /// The hold.
        hold: Hold,
    },
    /// Stop at once; write nothing more under this hold.
    Stop {
        /// The hold.
        hold: Hold,
        /// Why.
        reason: StopReason,
    },
    /// Something worth a log line, a counter, an event; nothing to do.
    Note(Note),
    /// Stop everything; every hold has been stopped by an earlier action.
    Exit(Exit),
}

/// A decision, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The set of workers that share the leases is another one.
    Membership {
        /// The workers, in the order of their ids.
        workers: Vec<WorkerId>,
        /// Those of the set before that are proved or judged dead.
        dead: Vec<WorkerId>,
    },
    /// A lease came to this worker.
    Moved {
        /// The lease.
        key: ShardId,
        /// Who had it before.
        from: Option<WorkerId>,
        /// How it came: `orphan`, `dead`, `ended`, `handoff`, `handoff-timeout`, `own-name`, `steal`, or `found` (a read
        /// showed that an earlier write with a lost reply had succeeded).
        reason: &'static str,
    },
    /// A conditional write was refused: somebody else was first.
    Conflict {
        /// The lease.
        key: ShardId,
        /// Which write.
        write: &'static str,
    },
    /// The window of a hold ended before its renewal came back.
    Lapsed {
        /// The hold.
        hold: Hold,
    },
    /// A plan was made from a full view.
    Planned {
        /// Runnable leases.
        leases: usize,
        /// Live workers.
        workers: usize,
        /// Leases that shall come to this worker.
        coming: usize,
    },
    /// There are more leases than the caps of all workers together allow.
    CapExceeded {
        /// Leases above the caps.
        by: usize,
        /// Whether they stay unowned (`Strict`) or are dealt out evenly (`Cover`).
        unowned: bool,
    },
}
