//! The metrics of the consumer, under the names of the dashboards.

mod live;

pub(crate) use live::Live;

use std::time::Duration;

use kinex_core::audit::Delivery;
use kinex_kcl::{DropReason, WorkerEvent};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    write: &'static str,
}

/// What the consumer counts. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    records: Counter,
    bytes: Counter,
    duplicates: Counter,
    reordered: Counter,
    foreign: Counter,
    moves: Family<Reason, Counter>,
    unread: Histogram,
    audit_writes: Family<OutcomeLabel, Counter>,
    conflicts: Family<Write, Counter>,
    lapsed: Counter,
    lost: Counter,
    processor_failures: Counter,
    dropped: Family<Reason, Counter>,
    halted: Counter,
    drain_timeouts: Counter,
    batches_cut: Family<Reason, Counter>,
    unreadable: Counter,
    events_missed: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        let meters = Self {
            records: Counter::default(),
            bytes: Counter::default(),
            duplicates: Counter::default(),
            reordered: Counter::default(),
            foreign: Counter::default(),
            moves: Family::default(),
            // From a hand-off on one machine to a failover without a witness and more.
            unread: Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0]),
            audit_writes: Family::default(),
            conflicts: Family::default(),
            lapsed: Counter::default(),
            lost: Counter::default(),
            processor_failures: Counter::default(),
            dropped: Family::default(),
            halted: Counter::default(),
            drain_timeouts: Counter::default(),
            batches_cut: Family::default(),
            unreadable: Counter::default(),
            events_missed: Counter::default(),
        };
        // A counter that is there from the start shows its first step to whoever takes a rate.
        for reason in [
            "orphan",
            "dead",
            "ended",
            "handoff",
            "handoff-timeout",
            "own-name",
            "steal",
        ] {
            meters.moves.get_or_create_owned(&Reason { reason });
        }
        for reason in DropReason::ALL {
            let reason = reason.as_str();
            meters.dropped.get_or_create_owned(&Reason { reason });
        }
        for outcome in ["ok", "refused", "failed"] {
            meters.audit_writes.get_or_create_owned(&OutcomeLabel { outcome });
        }
        for reason in ["window", "drain-timeout", "lost"] {
            meters.batches_cut.get_or_create_owned(&Reason { reason });
        }
        for write in ["take", "ask", "renew", "reclaim"] {
            meters.conflicts.get_or_create_owned(&Write { write });
        }
        meters
    }
}

impl Meters {
    /// Adds every metric to the registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let Self {
            records,
            bytes,
            duplicates,
            reordered,
            foreign,
            moves,
            unread,
            audit_writes,
            conflicts,
            lapsed,
            lost,
            processor_failures,
            dropped,
            halted,
            drain_timeouts,
            batches_cut,
            unreadable,
            events_missed,
        } = self.clone();
        registry.register("records_processed", "Records delivered to the processor", records);
        registry.register("records_processed_bytes", "Payload of the records delivered", bytes);
        registry.register("records_duplicate", "Records that one term delivered again", duplicates);
        registry.register(
            "records_reordered",
            "Records delivered behind a later one of their lane",
            reordered,
        );
        registry.register(
            "records_foreign",
            "Records without a number, outside the audit",
            foreign,
        );
        registry.register("lease_moves", "Leases that came to this worker", moves);
        registry.register_with_unit(
            "handoff_unread",
            "How long a shard stood unread before this worker began with it, by the audit rows of both terms",
            Unit::Seconds,
            unread,
        );
        registry.register("audit_writes", "Writes of audit rows", audit_writes);
        registry.register(
            "lease_conflicts",
            "Conditional writes that somebody else was faster with",
            conflicts,
        );
        registry.register(
            "lease_windows_lapsed",
            "Windows that ended before their renewal came back",
            lapsed,
        );
        registry.register("leases_lost", "Leases that were lost instead of handed on", lost);
        registry.register(
            "processor_failures",
            "Failed calls of the processor",
            processor_failures,
        );
        registry.register(
            "records_dropped",
            "ALARM: records that no processor will be given, by reason: poison (their call failed every time), dead-letter (as poison, and stored elsewhere), out-of-range (their aggregate was meant for another shard)",
            dropped,
        );
        registry.register(
            "shards_halted",
            "ALARM: shards whose processor failed too often",
            halted,
        );
        registry.register(
            "drain_timeouts",
            "Processors that did not come to a rest in time",
            drain_timeouts,
        );
        registry.register(
            "batches_cut",
            "Batches that were given up before they were processed, whose records come again",
            batches_cut,
        );
        registry.register("lease_rows_unreadable", "Lease rows that were skipped", unreadable);
        registry.register(
            "events_missed",
            "Events of the worker that came faster than they were counted",
            events_missed,
        );
    }

    /// Counts a delivery.
    pub(crate) fn record(&self, bytes: usize, delivery: Delivery) {
        self.records.inc();
        self.bytes.inc_by(bytes as u64);
        match delivery {
            Delivery::First => {}
            Delivery::Reordered => drop(self.reordered.inc()),
            Delivery::Repeat => drop(self.duplicates.inc()),
            Delivery::Foreign => drop(self.foreign.inc()),
        }
    }

    /// Records so far.
    pub(crate) fn records(&self) -> u64 {
        self.records.get()
    }

    pub(crate) fn handoff_unread(&self, unread: Duration) {
        self.unread.observe(unread.as_secs_f64());
    }

    pub(crate) fn audit_write(&self, outcome: &'static str) {
        self.audit_writes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn missed(&self, events: u64) {
        self.events_missed.inc_by(events);
    }

    /// Counts what the worker says.
    pub(crate) fn event(&self, event: &WorkerEvent) {
        match event {
            WorkerEvent::LeaseMoved { reason, .. } => drop(self.moves.get_or_create(&Reason { reason }).inc()),
            WorkerEvent::Conflict { write, .. } => drop(self.conflicts.get_or_create(&Write { write }).inc()),
            WorkerEvent::ShardStopped {
                reason: kinex_kcl::StopReason::Lost,
                ..
            } => drop(self.lost.inc()),
            WorkerEvent::WindowLapsed { .. } => drop(self.lapsed.inc()),
            WorkerEvent::ProcessorFailed { .. } => drop(self.processor_failures.inc()),
            WorkerEvent::ShardHalted { .. } => drop(self.halted.inc()),
            WorkerEvent::RecordsDropped { reason, records, .. } => {
                let reason = reason.as_str();
                self.dropped.get_or_create(&Reason { reason }).inc_by(*records);
            }
            WorkerEvent::DrainTimedOut { .. } => drop(self.drain_timeouts.inc()),
            WorkerEvent::BatchCut { reason, .. } => drop(self.batches_cut.get_or_create(&Reason { reason }).inc()),
            WorkerEvent::UnreadableLease { .. } => drop(self.unreadable.inc()),
            _ => {}
        }
    }
}
