//! Kinesis: what consumers, producers and experiments need of it.

mod listings;
mod puts;
mod reads;
mod reshard;
mod streams;

use crate::clients::Kinesis;
use crate::stress;
use crate::suite::{Checks, checks};

/// Shards of a new stream by their number.
const FIRST: &str = "shardId-000000000000";
const SECOND: &str = "shardId-000000000001";
const THIRD: &str = "shardId-000000000002";

pub(crate) fn all(at: &Kinesis) -> Checks {
    let mut alone = streams::alone(at);
    alone.extend(checks![at;
        "8 writers, splits, merges and tailing readers under load lose no record" =>
            stress::writers_splits_merges_and_tailing_readers,
    ]);
    let together = [
        streams::all(at),
        listings::all(at),
        puts::all(at),
        reads::all(at),
        reshard::all(at),
    ];
    Checks {
        together: together.into_iter().flatten().collect(),
        alone,
    }
}
