//! Metrics that are read off the worker at the moment of a scrape.

use std::fmt;

use kinex_aws::Requests;
use kinex_kcl::WorkerHandle;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// What the worker has now, and the requests that it made.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) worker: WorkerHandle,
    pub(crate) requests: Requests,
    /// Above this number of shards none has a time series of its own.
    pub(crate) shard_series_max: usize,
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.worker.status();
        let held = gauge(status.holds.len() as f64);
        let mut family =
            encoder.encode_descriptor("leases_owned", "Leases that this worker has", None, held.metric_type())?;
        held.encode(family.encode_family(&[("worker", status.worker.as_str())])?)?;

        let seen = gauge(status.workers.len() as f64);
        let metric = encoder.encode_descriptor(
            "workers_seen",
            "Live workers in the view of this one",
            None,
            seen.metric_type(),
        )?;
        seen.encode(metric)?;

        let behind = gauge(seconds(status.behind_millis()));
        let metric = encoder.encode_descriptor(
            "behind_latest",
            "How far the slowest shard is behind its newest record",
            Some(&Unit::Seconds),
            behind.metric_type(),
        )?;
        behind.encode(metric)?;

        if status.holds.len() <= self.shard_series_max && !status.holds.is_empty() {
            let mut family = encoder.encode_descriptor(
                "shard_behind_latest",
                "How far each shard is behind its newest record",
                Some(&Unit::Seconds),
                behind.metric_type(),
            )?;
            for (shard, hold) in &status.holds {
                gauge(seconds(hold.behind_millis)).encode(family.encode_family(&[("shard", shard.as_str())])?)?;
            }
        }

        let counts = self.requests.snapshot();
        if !counts.is_empty() {
            let none = ConstCounter::new(0_u64);
            let mut family = encoder.encode_descriptor(
                "aws_requests",
                "Requests to AWS, retries included",
                None,
                none.metric_type(),
            )?;
            for count in &counts {
                let labels = [("api", count.api.as_str()), ("outcome", count.outcome)];
                ConstCounter::new(count.count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn gauge(value: f64) -> ConstGauge<f64> {
    ConstGauge::new(value)
}

/// Nothing read yet counts as not behind.
fn seconds(millis: Option<u64>) -> f64 {
    millis.unwrap_or(0) as f64 / 1_000.0
}
