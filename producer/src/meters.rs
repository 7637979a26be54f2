//! The metrics of the producer.

use std::fmt;
use std::sync::atomic::AtomicU64;

use kinex_aws::Requests;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
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

/// The requests that were made, read at the moment of a scrape.
#[derive(Debug)]
pub(crate) struct Live(pub(crate) Requests);

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.snapshot();
        if counts.is_empty() {
            return Ok(());
        }
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = encoder.encode_descriptor("aws_requests", "Requests to AWS, retries included", None, kind)?;
        for count in &counts {
            let labels = [("api", count.api.as_str()), ("outcome", count.outcome)];
            ConstCounter::new(count.count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
