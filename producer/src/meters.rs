//! The metrics of the producer.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// What the producer counts. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    produced: Counter,
    bytes: Counter,
    puts: Family<OutcomeLabel, Counter>,
    rate: Gauge<f64, AtomicU64>,
}

impl Meters {
    /// Adds every metric to the registry.
    pub(crate) fn register(&self, registry: &mut Registry) {
        // A counter that is there from the start shows its first step to whoever takes a rate.
        for outcome in ["taken", "refused", "throttled", "uncertain"] {
            self.puts.get_or_create_owned(&OutcomeLabel { outcome });
        }
        let Self {
            produced,
            bytes,
            puts,
            rate,
        } = self.clone();
        registry.register("records_produced", "Records that the stream has taken", produced);
        registry.register(
            "records_produced_bytes",
            "Payload of the records that the stream has taken",
            bytes,
        );
        registry.register("record_puts", "Records sent, by what became of them", puts);
        registry.register("producer_records_per_second_wanted", "The rate that is held", rate);
    }

    pub(crate) fn taken(&self, bytes: usize) {
        self.produced.inc();
        self.bytes.inc_by(bytes as u64);
        self.put("taken");
    }

    /// `refused`, `throttled` or `uncertain`.
    pub(crate) fn put(&self, outcome: &'static str) {
        self.puts.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn wanted(&self, rate: f64) {
        self.rate.set(rate);
    }

    /// Records taken so far.
    pub(crate) fn produced(&self) -> u64 {
        self.produced.get()
    }
}
