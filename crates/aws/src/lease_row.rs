//! A row of the lease table <-> a [`Lease`], with the attribute names and sentinels of the Java library.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use kinex_core::id::{Epoch, HashRange, Incarnation, SequenceNumber, ShardId, WorkerId};
use kinex_core::lease::{Checkpoint, Lease, Position};

use crate::item::{Flaw, Item, n, number, required_number, required_text, s, text, texts};

pub(crate) const KEY: &str = "leaseKey";
pub(crate) const OWNER: &str = "leaseOwner";
pub(crate) const COUNTER: &str = "leaseCounter";
pub(crate) const EPOCH: &str = "epoch";
pub(crate) const INCARNATION: &str = "incarnation";
pub(crate) const CHECKPOINT_OWNER: &str = "checkpointOwner";
pub(crate) const NEXT_INCARNATION: &str = "nextIncarnation";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
pub(crate) const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
pub(crate) const PARENTS: &str = "parentShardId";
pub(crate) const CHILDREN: &str = "childShardIds";
/// Ours: the time that a row with the checkpoint `AT_TIMESTAMP` begins at, in milliseconds since 1970. The Java library
/// reads the attributes that it knows by name and updates them one by one, so that this one survives there unread.
pub(crate) const SINCE: &str = "initialTimestampMillis";
const HASH_START: &str = "startingHashKey";
const HASH_END: &str = "endingHashKey";
const ENTITY: &str = "entityType";

/// The sentinel of a finished shard.
pub(crate) const SHARD_END: &str = "SHARD_END";

const AT_TIMESTAMP: &str = "AT_TIMESTAMP";

/// What newer Java workers keep in the same table beside leases.
const OTHER_ENTITIES: [&str; 5] = [
    "STREAM",
    "LEADER",
    "CLIENT_VERSION_MIGRATION",
    "TABLE_MIGRATION",
    "WORKER_METRIC_STATS",
];

/// What an item of the lease table is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A lease.
    Lease(Box<Lease>),
    /// Something that the Java library keeps there too.
    Other,
    /// A row whose key is no shard's.
    Foreign,
}

/// The key of an item, for a report; also of one that is no lease.
pub(crate) fn key_of(item: &Item) -> String {
    text(item, KEY).ok().flatten().unwrap_or("(no key)").to_owned()
}

/// Reads an item. Attributes that are not known are ignored.
pub(crate) fn decode(item: &Item) -> Result<Row, Flaw> {
    match text(item, ENTITY)? {
        None | Some("LEASE") => {}
        Some(entity) if OTHER_ENTITIES.contains(&entity) => return Ok(Row::Other),
        Some(entity) => return Err(format!("`{ENTITY}` is `{}`; expected LEASE", shown(entity))),
    }
    let key = required_text(item, KEY)?;
    if !ShardId::is_one(key) {
        return Ok(Row::Foreign);
    }
    let lease = Lease {
        key: ShardId::from(key),
        owner: text(item, OWNER)?.map(WorkerId::from),
        counter: required_number(item, COUNTER)?,
        // A row that the Java library wrote has none.
        epoch: Epoch(number(item, EPOCH)?.unwrap_or(0)),
        incarnation: text(item, INCARNATION)?.map(Incarnation::from),
        checkpoint_owner: text(item, CHECKPOINT_OWNER)?.map(WorkerId::from),
        next_incarnation: text(item, NEXT_INCARNATION)?.map(Incarnation::from),
        checkpoint: checkpoint(item)?,
        owner_switches: number(item, OWNER_SWITCHES)?.unwrap_or(0),
        parents: shards(item, PARENTS)?,
        children: shards(item, CHILDREN)?,
        hash_range: hash_range(item)?,
    };
    Ok(Row::Lease(Box::new(lease)))
}

fn shards(item: &Item, name: &str) -> Result<BTreeSet<ShardId>, Flaw> {
    Ok(texts(item, name)?.into_iter().map(ShardId::from).collect())
}

fn checkpoint(item: &Item) -> Result<Checkpoint, Flaw> {
    let sub = number(item, SUB_SEQUENCE)?.unwrap_or(0);
    match required_text(item, CHECKPOINT)? {
        "LATEST" => Ok(Checkpoint::Latest),
        "TRIM_HORIZON" => Ok(Checkpoint::TrimHorizon),
        AT_TIMESTAMP => match number(item, SINCE)? {
            None => Ok(Checkpoint::AtTimestamp),
            Some(millis) => {
                let millis = i64::try_from(millis);
                millis
                    .map(Checkpoint::Since)
                    .map_err(|_| format!("`{SINCE}` is too large for milliseconds since 1970"))
            }
        },
        SHARD_END => Ok(Checkpoint::ShardEnd),
        digits => {
            let sequence = SequenceNumber::parse(digits).map_err(|flaw| format!("`{CHECKPOINT}`: {flaw}"))?;
            Ok(Checkpoint::At(Position { sequence, sub }))
        }
    }
}

fn hash_range(item: &Item) -> Result<Option<HashRange>, Flaw> {
    let key = |name: &str| match text(item, name)? {
        None => Ok(None),
        Some(digits) => {
            let key = digits.parse::<u128>();
            key.map(Some)
                .map_err(|_| format!("`{name}` is `{}`; expected a hash key", shown(digits)))
        }
    };
    match (key(HASH_START)?, key(HASH_END)?) {
        (None, None) => Ok(None),
        (Some(start), Some(end)) if start <= end => Ok(Some(HashRange { start, end })),
        (Some(_), Some(_)) => Err(format!("`{HASH_START}` is greater than `{HASH_END}`")),
        _ => Err(format!("`{HASH_START}` and `{HASH_END}` must be there together")),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The attributes of a new row, its key left out.
pub(crate) fn encode(lease: &Lease) -> Vec<(&'static str, AttributeValue)> {
    let Lease {
        key: _,
        owner,
        counter,
        epoch,
        incarnation,
        checkpoint_owner,
        next_incarnation,
        checkpoint,
        owner_switches,
        parents,
        children,
        hash_range,
    } = lease;
    let (text, sub) = encode_checkpoint(checkpoint);
    let mut row = vec![
        (ENTITY, s("LEASE")),
        (COUNTER, n(counter)),
        (EPOCH, n(epoch)),
        (CHECKPOINT, s(text)),
        (SUB_SEQUENCE, n(sub)),
        (OWNER_SWITCHES, n(owner_switches)),
    ];
    row.extend(encode_since(checkpoint).map(|since| (SINCE, since)));
    row.extend(owner.as_ref().map(|worker| (OWNER, s(worker))));
    row.extend(incarnation.as_ref().map(|process| (INCARNATION, s(process))));
    row.extend(checkpoint_owner.as_ref().map(|worker| (CHECKPOINT_OWNER, s(worker))));
    row.extend(next_incarnation.as_ref().map(|process| (NEXT_INCARNATION, s(process))));
    // DynamoDB has no empty set.
    row.extend((!parents.is_empty()).then(|| (PARENTS, encode_shards(parents))));
    row.extend((!children.is_empty()).then(|| (CHILDREN, encode_shards(children))));
    if let Some(HashRange { start, end }) = hash_range {
        row.push((HASH_START, s(start.to_string())));
        row.push((HASH_END, s(end.to_string())));
    }
    row
}

/// `checkpoint` and `checkpointSubSequenceNumber`.
pub(crate) fn encode_checkpoint(checkpoint: &Checkpoint) -> (&str, u64) {
    match checkpoint {
        Checkpoint::Latest => ("LATEST", 0),
        Checkpoint::TrimHorizon => ("TRIM_HORIZON", 0),
        Checkpoint::AtTimestamp | Checkpoint::Since(_) => (AT_TIMESTAMP, 0),
        Checkpoint::ShardEnd => (SHARD_END, 0),
        Checkpoint::At(Position { sequence, sub }) => (sequence.as_str(), *sub),
    }
}

/// `initialTimestampMillis`, which every other checkpoint takes out of the row.
pub(crate) fn encode_since(checkpoint: &Checkpoint) -> Option<AttributeValue> {
    match checkpoint {
        Checkpoint::Since(millis) => Some(n(millis)),
        _ => None,
    }
}

pub(crate) fn encode_shards(shards: &BTreeSet<ShardId>) -> AttributeValue {
    AttributeValue::Ss(shards.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn java_row() -> Item {
        Item::from([
            (KEY.into(), s("shardId-000000000001")),
            (OWNER.into(), s("worker-1")),
            (COUNTER.into(), n(12)),
            (
                CHECKPOINT.into(),
                s("49600000000000000000000000000000000000000000000000000042"),
            ),
            (SUB_SEQUENCE.into(), n(3)),
            (OWNER_SWITCHES.into(), n(1)),
            (PARENTS.into(), AttributeValue::Ss(vec!["shardId-000000000000".into()])),
            (HASH_START.into(), s("0")),
            (HASH_END.into(), s("340282366920938463463374607431768211455")),
            ("throughputKBps".into(), n("1.5")),
            (
                "pendingCheckpointState".into(),
                AttributeValue::B(vec![1].into_iter().collect::<Vec<u8>>().into()),
            ),
        ])
    }

    fn lease(item: &Item) -> Lease {
        match decode(item).unwrap() {
            Row::Lease(lease) => *lease,
            Row::Other | Row::Foreign => panic!("not a lease: {item:?}"),
        }
    }

    fn check_flaw(name: &str, value: Option<AttributeValue>, flaw: &str) {
        let mut item = java_row();
        match value {
            Some(value) => item.insert(name.into(), value),
            None => item.remove(name),
        };
        assert_eq!(decode(&item).unwrap_err(), flaw);
    }

    #[test]
    fn a_row_of_the_java_library_is_read_and_what_is_unknown_in_it_ignored() {
        let lease = lease(&java_row());
        assert_eq!(lease.owner, Some("worker-1".into()));
        assert_eq!(lease.epoch, Epoch(0));
        assert_eq!(lease.hash_range, Some(HashRange::FULL));
        assert_eq!(lease.parents, BTreeSet::from(["shardId-000000000000".into()]));
        let Checkpoint::At(position) = lease.checkpoint else {
            panic!("{lease:?}");
        };
        assert_eq!(
            position.to_string(),
            "49600000000000000000000000000000000000000000000000000042/3"
        );
    }

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        for checkpoint in [
            Checkpoint::Latest,
            Checkpoint::TrimHorizon,
            Checkpoint::AtTimestamp,
            Checkpoint::Since(1_700_000_000_000),
            Checkpoint::ShardEnd,
            Checkpoint::At(Position {
                sequence: 7_u128.into(),
                sub: 2,
            }),
        ] {
            let written = Lease {
                owner: Some("a".into()),
                incarnation: Some("a1".into()),
                checkpoint_owner: Some("b".into()),
                next_incarnation: Some("b1".into()),
                counter: u64::MAX,
                owner_switches: 4,
                parents: BTreeSet::from(["p".into(), "q".into()]),
                children: BTreeSet::from(["c".into()]),
                hash_range: Some(HashRange { start: 5, end: 9 }),
                ..Lease::unowned("shardId-0".into(), checkpoint, Epoch(99))
            };
            let mut item: Item = encode(&written)
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect();
            item.insert(KEY.into(), s("shardId-0"));
            assert_eq!(lease(&item), written);
        }
    }

    #[test]
    fn a_bad_row_is_reported_with_what_is_wrong() {
        check_flaw(COUNTER, None, "`leaseCounter` is missing");
        check_flaw(COUNTER, Some(s("12")), "`leaseCounter` is a string; expected a number");
        check_flaw(
            COUNTER,
            Some(n(-1)),
            "`leaseCounter` is -1; expected a whole number from 0 to 18446744073709551615",
        );
        check_flaw(
            COUNTER,
            Some(n("99999999999999999999999999999999999999")),
            "`leaseCounter` is 99999999999999999999999999999999999999; expected a whole number from 0 to \
             18446744073709551615",
        );
        check_flaw(OWNER, Some(n(1)), "`leaseOwner` is a number; expected a string");
        check_flaw(CHECKPOINT, None, "`checkpoint` is missing");
        check_flaw(
            CHECKPOINT,
            Some(s("SOON")),
            "`checkpoint`: `SOON` is not a sequence number: expected decimal digits",
        );
        check_flaw(
            PARENTS,
            Some(n(1)),
            "`parentShardId` is a number; expected a set of strings",
        );
        check_flaw(
            HASH_END,
            None,
            "`startingHashKey` and `endingHashKey` must be there together",
        );
        check_flaw(
            HASH_START,
            Some(s("-1")),
            "`startingHashKey` is `-1`; expected a hash key",
        );
        check_flaw(ENTITY, Some(s("PARTY")), "`entityType` is `PARTY`; expected LEASE");
    }

    #[test]
    fn a_row_of_another_stream_or_of_anything_else_is_foreign() {
        for key in [
            "111122223333:orders:1700000000:shardId-000000000000",
            "Leader",
            "lock-1",
            "shardId-",
        ] {
            let mut item = java_row();
            item.insert(KEY.into(), s(key));
            assert_eq!(decode(&item), Ok(Row::Foreign), "{key}");
            item.remove(COUNTER);
            assert_eq!(decode(&item), Ok(Row::Foreign), "{key}: what it says is not read");
        }
    }

    #[test]
    fn what_the_java_library_keeps_beside_leases_is_passed_over() {
        let mut item = java_row();
        item.insert(ENTITY.into(), s("WORKER_METRIC_STATS"));
        item.remove(COUNTER);
        assert_eq!(decode(&item), Ok(Row::Other));
    }
}
