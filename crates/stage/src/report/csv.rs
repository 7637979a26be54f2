//! `timeline.csv` and `leases.csv`, as RFC 4180 says.

use crate::report::recording::{LeaseLine, Recording};

/// One line per change of the state: time, step, leases of each worker, unowned, imbalance, shards.
pub fn timeline(run: &Recording) -> String {
    let workers = run.workers();
    let head = ["seconds", "step"]
        .into_iter()
        .chain(workers.iter().map(String::as_str));
    let mut out = row(head.chain(["unowned", "imbalance", "shardsTotal", "shardsOpen", "shardsClosed"]));
    for sample in &run.samples {
        let mut cells = vec![
            format!("{:.3}", sample.seconds),
            sample.step.clone().unwrap_or_default(),
        ];
        // An empty cell: the worker is not alive. Zero: it is, and has none.
        cells.extend(workers.iter().map(|w| {
            sample
                .leases_per_worker
                .get(w)
                .map(usize::to_string)
                .unwrap_or_default()
        }));
        let shards = sample.stream;
        cells.extend(
            [
                sample.unowned,
                sample.imbalance,
                shards.total,
                shards.open,
                shards.closed,
            ]
            .map(|n| n.to_string()),
        );
        out += &row(cells.iter().map(String::as_str));
    }
    out
}

/// The lease table, with the names that Java tools use.
pub fn leases(leases: &[LeaseLine]) -> String {
    let mut out = row([
        "leaseKey",
        "leaseOwner",
        "leaseCounter",
        "checkpointSequenceNumber",
        "checkpointSubSequenceNumber",
        "ownerSwitchesSinceCheckpoint",
        "checkpointOwner",
        "epoch",
        "parentShardId",
        "childShardIds",
    ]);
    for lease in leases {
        let joined = |ids: &std::collections::BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(" ");
        out += &row([
            lease.lease_key.as_str(),
            lease.lease_owner.as_deref().unwrap_or_default(),
            &lease.lease_counter.to_string(),
            &lease.checkpoint_sequence_number,
            &lease.checkpoint_sub_sequence_number.to_string(),
            &lease.owner_switches_since_checkpoint.to_string(),
            lease.checkpoint_owner.as_deref().unwrap_or_default(),
            &lease.epoch.to_string(),
            &joined(&lease.parent_shard_id),
            &joined(&lease.child_shard_ids),
        ]);
    }
    out
}

fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<_> = cells.into_iter().map(cell).collect();
    cells.join(",") + "\r\n"
}

fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_need_it_are_quoted() {
        assert_eq!(row(["a", "b,c", "d\"e"]), "a,\"b,c\",\"d\"\"e\"\r\n");
    }
}
