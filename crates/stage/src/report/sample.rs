//! A run for the tests of the report: the guide's three phases, made up from a few lines.

use std::collections::BTreeMap;

use crate::report::recording::{Gap, LeaseLine, Move, Reason, Recording, Sample};
use crate::report::summary::{Lineage, Phase, Records, Requests, Shards, Step, Summary};

fn counts(of: &[usize]) -> BTreeMap<String, usize> {
    of.iter()
        .enumerate()
        .map(|(i, n)| (format!("demo-consumer-{i}"), *n))
        .collect()
}

fn shards(total: usize, open: usize) -> Shards {
    Shards {
        total,
        open,
        closed: total - open,
    }
}

fn step(name: &str, kind: &str, started: f64, seconds: f64, leases: &[usize], stream: Shards) -> Step {
    Step {
        name: name.into(),
        kind: kind.into(),
        outcome: "Pass".into(),
        message: None,
        started: Some(started),
        seconds: Some(seconds),
        convergence_seconds: (kind == "waitUntilBalanced").then_some(seconds / 2.0),
        leases_per_worker: counts(leases),
        imbalance: 0,
        moves: 0,
        moves_minimum: 0,
        unread_seconds_max: 0.4,
        stream,
    }
}

fn phase(name: &str, after: &str, leases: &[usize], stream: Shards, moves: usize) -> Phase {
    Phase {
        name: name.into(),
        after: after.into(),
        leases_per_worker: counts(leases),
        stream,
        imbalance: leases.iter().max().unwrap() - leases.iter().min().unwrap(),
        convergence_seconds: Some(3.2),
        moves,
        moves_minimum: moves,
        unread_seconds_max: 0.8,
    }
}

/// The run.
pub(crate) fn recording() -> Recording {
    let (first, second, third): (&[usize], &[usize], &[usize]) = (&[7, 7, 6], &[10, 10, 10], &[6, 6, 6, 6, 6]);
    let sample = |seconds: f64, leases: &[usize], unowned: usize, stream: Shards| Sample {
        seconds,
        step: None,
        leases_per_worker: counts(leases),
        unowned,
        imbalance: leases.iter().max().unwrap_or(&0) - leases.iter().min().unwrap_or(&0),
        stream,
    };
    let samples = vec![
        sample(0.0, &[], 0, shards(20, 20)),
        sample(1.1, &[0, 0, 0], 20, shards(20, 20)),
        sample(2.4, first, 0, shards(20, 20)),
        sample(14.0, first, 8, shards(28, 24)),
        sample(15.5, &[12, 13, 11], 0, shards(40, 30)),
        sample(17.0, second, 0, shards(40, 30)),
        sample(29.5, &[10, 10, 10, 0, 0], 0, shards(40, 30)),
        sample(31.5, &[8, 8, 8, 3, 3], 0, shards(40, 30)),
        sample(32.2, third, 0, shards(40, 30)),
    ];
    let moves = (0..12).map(|i| Move {
        seconds: 31.0 + f64::from(i) / 10.0,
        lease: format!("shardId-0000000000{i:02}"),
        from: Some(format!("demo-consumer-{}", i % 3)),
        to: format!("demo-consumer-{}", 3 + i % 2),
        reason: Reason::HandOff,
    });
    let lease = |i: usize| LeaseLine {
        lease_key: format!("shardId-0000000000{i:02}"),
        lease_owner: Some(format!("demo-consumer-{}", i % 5)),
        lease_counter: 12,
        checkpoint_sequence_number: "495900000".into(),
        checkpoint_sub_sequence_number: 0,
        owner_switches_since_checkpoint: 0,
        checkpoint_owner: None,
        epoch: 3,
        parent_shard_id: [].into(),
        child_shard_ids: [].into(),
    };
    let request = |count: u64| Requests {
        count,
        per_second: count as f64 / 42.0,
    };
    Recording {
        summary: Summary {
            experiment: "demo".into(),
            stream: "kcl-experiment".into(),
            endpoint: "embedded".into(),
            strategy: "Balanced".into(),
            started_at: "2026-01-01T00:00:00Z".into(),
            seconds: 42.0,
            verdict: "Pass".into(),
            message: None,
            steps: vec![
                step("setup", "setup", 0.0, 2.0, &[0, 0, 0], shards(20, 20)),
                step("steady-1", "waitUntilBalanced", 2.0, 10.5, first, shards(20, 20)),
                step("check-initial", "assert", 12.5, 0.2, first, shards(20, 20)),
                step("split-ten", "split", 12.7, 2.5, first, shards(40, 30)),
                step("steady-2", "waitUntilBalanced", 15.2, 12.0, second, shards(40, 30)),
                step("check-split", "assert", 27.2, 0.2, second, shards(40, 30)),
                step("scale-to-five", "scale", 27.4, 2.0, &[10, 10, 10, 0, 0], shards(40, 30)),
                step("steady-3", "waitUntilBalanced", 29.4, 12.2, third, shards(40, 30)),
                step("verify", "assert", 41.6, 0.2, third, shards(40, 30)),
            ],
            phases: vec![
                phase("steady-1", "start", first, shards(20, 20), 0),
                phase("steady-2", "split 10", second, shards(40, 30), 0),
                phase("steady-3", "scale 3 -> 5", third, shards(40, 30), 12),
            ],
            records: Some(Records {
                produced: 1600,
                delivered: 1600,
                ..Records::default()
            }),
            lineage: Lineage {
                children: 20,
                children_started_before_parent_end: 20,
                start_delay_seconds_max: Some(1.4),
            },
            requests: [
                ("GetRecords".into(), request(4000)),
                ("UpdateItem".into(), request(300)),
            ]
            .into(),
            settings: [
                ("failoverAfter".into(), "10 s".into()),
                ("strategy".into(), "Balanced".into()),
            ]
            .into(),
            versions: [("kinex".into(), "0.1.0".into())].into(),
        },
        samples,
        moves: moves.collect(),
        gaps: vec![Gap {
            lease: "shardId-000000000020".into(),
            from: 13.8,
            until: Some(14.6),
            why: "new shard".into(),
        }],
        leases: (0..30).map(lease).collect(),
    }
}
