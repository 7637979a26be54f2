//! Metrics that are read off the worker at the moment of a scrape.

use std::fmt;

use kinex_kcl::{HoldState, Status, WorkerHandle};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// What the worker has now, and what came of its checkpoints.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) worker: WorkerHandle,
    /// Above this number of shards none has a time series of its own.
    pub(crate) shard_series_max: usize,
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.worker.status();
        let held = gauge(status.holds.len() as f64);
        let metric =
            encoder.encode_descriptor("leases_owned", "Leases that this worker has", None, held.metric_type())?;
        held.encode(metric)?;
        by_state(&status, &mut encoder)?;
        checkpoints(&status, &mut encoder)?;

        let seen = gauge(status.workers.len() as f64);
        let metric = encoder.encode_descriptor(
            "workers_seen",
            "Live workers in the view of this one",
            None,
            seen.metric_type(),
        )?;
        seen.encode(metric)?;

        times(&status, &mut encoder)?;

        let unreadable = gauge(status.unreadable() as f64);
        let help = "Shards whose reads have failed for 10 s or longer, without a good one";
        let metric = encoder.encode_descriptor("shards_unreadable", help, None, unreadable.metric_type())?;
        unreadable.encode(metric)?;

        if status.holds.len() <= self.shard_series_max && !status.holds.is_empty() {
            let mut family = encoder.encode_descriptor(
                "shard_behind_latest",
                "How far each shard is behind",
                Some(&Unit::Seconds),
                gauge(0.0).metric_type(),
            )?;
            for (shard, hold) in &status.holds {
                gauge(hold.behind().as_secs_f64()).encode(family.encode_family(&[("shard", shard.as_str())])?)?;
            }
        }
        Ok(())
    }
}

/// How far behind the worker is, and why that may be: of its shards, the one that is worst off.
fn times(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let behind = gauge(status.behind().as_secs_f64());
    let metric = encoder.encode_descriptor(
        "behind_latest",
        "How far the slowest shard is behind: by what Kinesis said, its last good read, or its oldest record in hand",
        Some(&Unit::Seconds),
        behind.metric_type(),
    )?;
    behind.encode(metric)?;
    for (name, help, value) in [
        (
            "seconds_since_read",
            "How long the last good read lies back, of the shard where that is longest",
            status.since_read(),
        ),
        (
            "seconds_since_processed",
            "How long a processor has had the call that it is in, of the shard where that is longest; 0 while all are idle",
            status.since_processed(),
        ),
    ] {
        let value = gauge(value.as_secs_f64());
        value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
    }
    Ok(())
}

/// The leases by what the worker does with them, states without a lease included.
fn by_state(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let states = [
        ("reading", HoldState::Reading),
        ("failing", HoldState::Failing),
        ("blocked", HoldState::Blocked),
        ("lapsed", HoldState::Lapsed),
        ("draining", HoldState::Draining),
        ("halted", HoldState::Halted),
    ];
    let help = "Leases that this worker has, by what it does with them";
    let mut family = encoder.encode_descriptor("leases_by_state", help, None, gauge(0.0).metric_type())?;
    for (name, state) in states {
        let count = status.holds.values().filter(|hold| hold.state == state).count();
        gauge(count as f64).encode(family.encode_family(&[("state", name)])?)?;
    }
    Ok(())
}

/// Checkpoint writes by outcome. Those that do not end well are there from the start: a rate shows the first one.
fn checkpoints(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let outcomes = [
        "ok",
        "refused",
        "throttled",
        "unreachable",
        "service",
        "denied",
        "missing",
        "invalid",
    ];
    let help =
        "Checkpoint writes by outcome: ok, refused (the lease was lost), or the failure, after which it is sent again";
    let kind = ConstCounter::new(0_u64).metric_type();
    let mut family = encoder.encode_descriptor("checkpoints", help, None, kind)?;
    for outcome in outcomes {
        let count = status.requests.get(&("checkpoint", outcome)).copied().unwrap_or(0);
        ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
    }
    Ok(())
}

fn gauge(value: f64) -> ConstGauge<f64> {
    ConstGauge::new(value)
}
