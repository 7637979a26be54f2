//! Whether the rows of a lease table that no worker of this library has used yet can be those of a stream.
//!
//! A table of the Java library does not say which stream its rows belong to, and the shards of every stream have the same
//! names. What the rows say about a shard tells: its hash keys, and a checkpoint that no record of the stream can have.

use std::collections::BTreeMap;
use std::fmt;

use kinex_core::id::{HashRange, SequenceNumber, ShardId};
use kinex_core::lease::{Checkpoint, Lease};
use kinex_core::shard_map::Shard;

use crate::ports::{Fault, FaultKind, LeaseStore, ReadFrom, StreamReader};

/// Of so many rows the service is asked whether their checkpoints are of this stream: the rows of a table are all of one.
const ASKED_MAX: usize = 3;

/// A lease that belongs to another stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ForeignLease {
    /// Its key, which is the name of a shard of this stream too.
    pub key: ShardId,
    /// What tells.
    pub evidence: Evidence,
}

/// What tells a lease of another stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The shard of this stream has other hash keys.
    HashRange {
        /// Those of the row.
        row: HashRange,
        /// Those of the shard.
        shard: HashRange,
    },
    /// No record of this stream's shard has this sequence number.
    Checkpoint(SequenceNumber),
}

impl fmt::Display for ForeignLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        write!(f, "the leases belong to another stream: ")?;
        match &self.evidence {
            Evidence::HashRange { row, shard } => write!(
                f,
                "that of {key} has the hash keys {} to {}, and this stream's {key} has {} to {}",
                row.start, row.end, shard.start, shard.end
            ),
            Evidence::Checkpoint(number) => write!(
                f,
                "that of {key} has its checkpoint at {number}, and no record of this stream's {key} has that number"
            ),
        }?;
        write!(
            f,
            ": choose another application name, or delete the tables to start anew"
        )
    }
}

/// The first lease that certainly belongs to another stream. Meant for tables that are not bound to a stream yet; reads
/// only.
///
/// # Errors
/// As the requests.
pub async fn foreign_lease(store: &impl LeaseStore, stream: &impl StreamReader) -> Result<Option<ForeignLease>, Fault> {
    let rows = store.leases().await?.leases;
    if rows.is_empty() {
        return Ok(None);
    }
    let shards = stream.shards().await?;
    let found = by_shards(&rows, &shards);
    if found.is_some() {
        return Ok(found);
    }
    let known: BTreeMap<&ShardId, &Shard> = shards.iter().map(|shard| (&shard.id, shard)).collect();
    let checkpoints = rows.iter().filter_map(|row| match &row.checkpoint {
        Checkpoint::At(position) if known.contains_key(&row.key) => Some((&row.key, &position.sequence)),
        _ => None,
    });
    for (key, number) in checkpoints.take(ASKED_MAX) {
        match stream.iterator(key, &ReadFrom::At(number.clone())).await {
            Ok(_) => {}
            // The shard has gone past retention just now.
            Err(fault) if fault.kind == FaultKind::Missing => {}
            Err(fault) if fault.kind == FaultKind::Invalid => {
                return Ok(Some(ForeignLease {
                    key: key.clone(),
                    evidence: Evidence::Checkpoint(number.clone()),
                }));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

/// What the listing of the shards alone tells.
fn by_shards(rows: &[Lease], shards: &[Shard]) -> Option<ForeignLease> {
    let known: BTreeMap<&ShardId, &Shard> = shards.iter().map(|shard| (&shard.id, shard)).collect();
    rows.iter().find_map(|row| {
        let shard = known.get(&row.key)?;
        let evidence = match (row.hash_range, &row.checkpoint) {
            (Some(range), _) if range != shard.hash_range => Evidence::HashRange {
                row: range,
                shard: shard.hash_range,
            },
            (_, Checkpoint::At(position)) if position.sequence < shard.starts_at => {
                Evidence::Checkpoint(position.sequence.clone())
            }
            _ => return None,
        };
        Some(ForeignLease {
            key: row.key.clone(),
            evidence,
        })
    })
}

#[cfg(test)]
mod tests {
    use kinex_core::id::Epoch;
    use kinex_core::lease::Position;

    use super::*;

    const HALF: HashRange = HashRange { start: 0, end: 9 };

    fn check(range: Option<HashRange>, checkpoint: Checkpoint, expected: Option<Evidence>) {
        let key = ShardId::from("shardId-000000000000");
        let shard = Shard {
            id: key.clone(),
            parent: None,
            adjacent_parent: None,
            hash_range: HALF,
            starts_at: SequenceNumber::from(100),
            open: true,
        };
        let row = Lease {
            hash_range: range,
            ..Lease::unowned(key.clone(), checkpoint, Epoch(0))
        };
        let expected = expected.map(|evidence| ForeignLease { key, evidence });
        assert_eq!(by_shards(&[row], &[shard]), expected);
    }

    #[test]
    fn hash_keys_and_checkpoint_of_a_row_tell_a_foreign_stream() {
        let at = |number: u128| {
            Checkpoint::At(Position {
                sequence: SequenceNumber::from(number),
                sub: 0,
            })
        };
        check(None, Checkpoint::TrimHorizon, None);
        check(Some(HALF), at(100), None);
        check(None, at(99), Some(Evidence::Checkpoint(SequenceNumber::from(99))));
        let row = HashRange::FULL;
        check(Some(row), at(100), Some(Evidence::HashRange { row, shard: HALF }));
    }
}
