//! The rows by which workers know of each other, and the writes there are on them.
//!
//! A worker is visible after one write, also with no lease yet. As with leases, `apply` is the meaning of each write
//! and the stores are held against it.

use std::time::Duration;

use crate::id::{Incarnation, WorkerId};
use crate::lease::Process;

/// What a leaving worker wants to become of its leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// They go to the others at once: a scale-down.
    Release,
    /// They wait this long for a process of the same name: a rolling update.
    Reserve(Duration),
}

/// The word before an order to freeze by which a process says that it obeys.
pub const FROZEN: &str = "frozen";

/// The row of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// The name, kept over restarts.
    pub id: WorkerId,
    /// The process that writes the row.
    pub incarnation: Incarnation,
    /// Grows with every heartbeat. Others judge life by seeing it change, and by nothing else.
    pub beat: u64,
    /// How many runnable leases the worker has, by its own count.
    pub leases: u32,
    /// Grows with every lease that somebody asks of this worker.
    pub asks: u64,
    /// The most leases that the worker may have; `None`: no limit of its own.
    pub hard_cap: Option<u32>,
    /// The worker is leaving (its quota is 0), and how.
    pub departing: Option<Departure>,
    /// The process left in good order; nothing more comes from it.
    pub departed: bool,
    /// Proof of death: somebody who knows says that this incarnation's process has ended.
    pub ended: bool,
    /// Where a person finds the process, `host` or `host:port`; for error texts and tools only.
    pub address: Option<String>,
    /// When the process started, for error texts only (RFC 3339).
    pub started: String,
    /// The failover time that the process was set to, for tools that look from outside.
    pub failover_after: Option<Duration>,
    /// What the one who runs an experiment wants this process to do to itself; obeyed only when allowed.
    pub order: Option<String>,
}

impl WorkerRow {
    /// The first row of a process.
    pub fn starting(process: Process, hard_cap: Option<u32>, address: Option<String>, started: String) -> Self {
        Self {
            id: process.worker,
            incarnation: process.incarnation,
            beat: 0,
            leases: 0,
            asks: 0,
            hard_cap,
            departing: None,
            departed: false,
            ended: false,
            address,
            started,
            failover_after: None,
            order: None,
        }
    }

    /// Whether the process is known to have stopped, so that nobody need wait for its silence.
    pub fn gone(&self) -> bool {
        self.departed || self.ended
    }

    /// Whether the process left for good: it gave every lease away before, and its name is reserved for nobody. Its row is
    /// of use only to whoever removes it.
    pub fn left_for_good(&self) -> bool {
        self.departed && self.departing == Some(Departure::Release)
    }

    /// Whether the process said that it stands still from now on, by order. It takes that back when it goes on.
    pub fn frozen(&self) -> bool {
        self.order
            .as_deref()
            .is_some_and(|order| order.split_whitespace().next() == Some(FROZEN))
    }
}

/// How windows of leases are renewed; one way per table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalMode {
    /// One heartbeat renews all leases of its worker.
    PerWorker,
    /// Every lease row is renewed by itself, as the Java library does it.
    PerLease,
}

impl RenewalMode {
    /// The text of the group row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PerWorker => "PerWorker",
            Self::PerLease => "PerLease",
        }
    }
}

/// The one row that speaks for all workers of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How windows are renewed in this table.
    pub renewal: RenewalMode,
    /// Grows whenever lease rows are added, finished or removed.
    pub lineage: u64,
}

/// One conditional write of the workers' table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerWrite {
    /// Adds the row of a name that has none.
    Register(Box<WorkerRow>),
    /// Puts a new process in the place of one that is gone, or whose beat stood still for the failover time.
    Replace {
        /// The new row.
        row: Box<WorkerRow>,
        /// The process that the row must still be of.
        old: Incarnation,
        /// The beat that the row must still show.
        beat: u64,
    },
    /// A heartbeat: `beat + 1` with the count of leases and whether the worker is leaving.
    Beat {
        /// The process.
        by: Process,
        /// Its count of runnable leases.
        leases: u32,
        /// Whether it is leaving, and how.
        departing: Option<Departure>,
    },
    /// Tells a worker that a lease of its is asked for: `asks + 1`.
    NotifyAsk {
        /// The present owner of the lease.
        worker: WorkerId,
    },
    /// The process left in good order.
    Depart {
        /// The process.
        by: Process,
    },
    /// Proof of death, by one who knows.
    End {
        /// The process that has ended.
        process: Process,
    },
    /// Tells a process of an experiment what to do to itself.
    Order {
        /// The process.
        process: Process,
        /// What to do; `None` takes an order back.
        order: Option<String>,
    },
    /// Removes the row of a process that has been gone for long.
    Remove {
        /// The process.
        process: Process,
        /// The beat that the row must still show.
        beat: u64,
    },
}

/// The condition of a write did not hold; with the row as it is, or `None` when there is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRefused(pub Option<Box<WorkerRow>>);

impl WorkerWrite {
    /// The worker whose row is written.
    pub fn worker(&self) -> &WorkerId {
        match self {
            Self::Register(row) | Self::Replace { row, .. } => &row.id,
            Self::Beat { by: process, .. }
            | Self::Depart { by: process }
            | Self::End { process }
            | Self::Order { process, .. }
            | Self::Remove { process, .. } => &process.worker,
            Self::NotifyAsk { worker } => worker,
        }
    }

    /// A short name for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Replace { .. } => "replace",
            Self::Beat { .. } => "beat",
            Self::NotifyAsk { .. } => "notify-ask",
            Self::Depart { .. } => "depart",
            Self::End { .. } => "end",
            Self::Order { .. } => "order",
            Self::Remove { .. } => "remove",
        }
    }

    /// What the write does to the row as it is: the row after it (`None`: deleted).
    ///
    /// # Errors
    /// [`WorkerRefused`] with the row as it is, when the write's condition does not hold.
    pub fn apply(&self, row: Option<&WorkerRow>) -> Result<Option<WorkerRow>, WorkerRefused> {
        let refused = || WorkerRefused(row.cloned().map(Box::new));
        match (self, row) {
            (Self::Register(new), None) => Ok(Some(new.as_ref().clone())),
            (Self::Register(_), Some(_)) => Err(refused()),
            (_, None) => Err(refused()),
            (write, Some(row)) if !write.holds(row) => Err(refused()),
            (write, Some(row)) => Ok(write.changed(row.clone())),
        }
    }

    /// The condition, on a row that exists.
    fn holds(&self, row: &WorkerRow) -> bool {
        match self {
            Self::Register(_) => false,
            Self::Replace { old, beat, .. } => row.incarnation == *old && row.beat == *beat,
            Self::Beat { by, .. } => row.incarnation == by.incarnation && !row.ended,
            Self::NotifyAsk { .. } => true,
            Self::Depart { by } => row.incarnation == by.incarnation,
            Self::End { process } | Self::Order { process, .. } => row.incarnation == process.incarnation,
            Self::Remove { process, beat } => row.incarnation == process.incarnation && row.beat == *beat,
        }
    }

    /// The change, on a row that fulfils the condition.
    fn changed(&self, mut row: WorkerRow) -> Option<WorkerRow> {
        match self {
            // The count of asks goes on: an ask that came for the old process is one the new process must look at.
            Self::Register(new) => row = new.as_ref().clone(),
            Self::Replace { row: new, .. } => {
                let asks = row.asks;
                row = WorkerRow {
                    asks,
                    ..new.as_ref().clone()
                };
            }
            Self::Beat { leases, departing, .. } => {
                row.beat += 1;
                row.leases = *leases;
                row.departing = *departing;
            }
            Self::NotifyAsk { .. } => row.asks += 1,
            Self::Depart { .. } => {
                row.departed = true;
                row.leases = 0;
            }
            Self::End { .. } => row.ended = true,
            Self::Order { order, .. } => row.order.clone_from(order),
            Self::Remove { .. } => return None,
        }
        Some(row)
    }
}
