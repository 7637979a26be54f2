//! How the programs of a fleet are told what a manifest says.

use kinex_core::experiment::{Consumers, InitialPosition, Producer};

/// The settings of a consumer, by the keys of its settings file.
pub fn consumer_settings(consumers: &Consumers) -> Vec<(&'static str, String)> {
    let Consumers {
        scale_policy: _,
        stateful_set_name: _,
        max_leases_per_worker,
        process_parent_shard_before_children,
        strategy,
        lease_stealing_interval,
        cap_policy,
        cap_rounding,
        renewal,
        failover_after,
        settle_for,
        initial_position,
    } = consumers;
    let position = match initial_position {
        InitialPosition::Latest => "LATEST",
        InitialPosition::TrimHorizon => "TRIM_HORIZON",
    };
    vec![
        ("max_leases_for_worker", max_leases_per_worker.to_string()),
        (
            "process_parent_shard_before_children",
            process_parent_shard_before_children.to_string(),
        ),
        ("strategy", format!("{strategy:?}")),
        (
            "lease_stealing_interval_millis",
            lease_stealing_interval.as_millis().to_string(),
        ),
        ("cap_policy", format!("{cap_policy:?}")),
        ("cap_rounding", format!("{cap_rounding:?}")),
        ("renewal", format!("{renewal:?}")),
        ("failover_time_millis", failover_after.as_millis().to_string()),
        ("settle_time_millis", settle_for.as_millis().to_string()),
        ("initial_position", position.to_owned()),
    ]
}

/// The arguments of a producer, for the records of the run of this name.
pub fn producer_arguments(producer: &Producer, run: &str) -> Vec<String> {
    let Producer {
        records_per_second,
        record_bytes,
        lanes,
    } = producer;
    let mut arguments = vec![
        "--run".to_owned(),
        run.to_owned(),
        "--records-per-second".to_owned(),
        records_per_second.to_string(),
        "--record-bytes".to_owned(),
        record_bytes.to_string(),
    ];
    if let Some(lanes) = lanes {
        arguments.extend(["--lanes".to_owned(), lanes.to_string()]);
    }
    arguments
}
