//! A [`LeaseWrite`] as one expression, with exactly the meaning of [`LeaseWrite::apply`].

use std::collections::BTreeSet;

use kinex_core::id::{Epoch, Incarnation, ShardId, WorkerId};
use kinex_core::lease::{Checkpoint, Fence, Lease, LeaseWrite, Process, Seen};

use crate::expression::Expression;
use crate::item::{n, s};
use crate::lease_row::{
    CHECKPOINT, CHECKPOINT_OWNER, CHILDREN, COUNTER, EPOCH, INCARNATION, KEY, NEXT_INCARNATION, OWNER, OWNER_SWITCHES,
    SHARD_END, SINCE, SUB_SEQUENCE, encode, encode_checkpoint, encode_shards, encode_since,
};

/// The expression of a write.
///
/// A yield to an asker without an incarnation (a worker of the Java library) needs another one: see [`yield_to_java`].
pub(crate) fn expression(write: &LeaseWrite) -> Expression {
    match write {
        LeaseWrite::Create(lease) => create(lease),
        LeaseWrite::Take { key, to, seen } => take(key, to, seen),
        LeaseWrite::Ask { key, from, to, epoch } => ask(key, from, to, None, *epoch),
        LeaseWrite::AskOver {
            key,
            from,
            to,
            gone,
            epoch,
        } => ask(key, from, to, Some(gone), *epoch),
        LeaseWrite::Reclaim { key, by, gone } => reclaim(key, by, gone),
        LeaseWrite::Renew { key, by } => owned(key, by).count(COUNTER),
        LeaseWrite::Extend { key, by } => yielded(key, by).count(COUNTER),
        LeaseWrite::Yield { key, by, checkpoint } => {
            // The copy of an attribute that is not there would be an error, not a refusal.
            let next = yielded(key, by).when(&format!("attribute_exists(#{NEXT_INCARNATION})"));
            let next = next.set_to(INCARNATION, &format!("#{NEXT_INCARNATION}"));
            write_forward(change_owner(next), checkpoint.as_ref())
        }
        LeaseWrite::Release { key, by, checkpoint } => release(key, by, checkpoint.as_ref()),
        LeaseWrite::Checkpoint {
            key,
            by,
            checkpoint,
            children,
        } => progress(key, by, checkpoint, children),
        LeaseWrite::Delete { key, epoch } => row(key)
            .delete()
            .when_is(CHECKPOINT, Some(s(SHARD_END)))
            .when_count_is(EPOCH, epoch.0),
    }
}

/// The expression of a yield to an asker that left no incarnation; `None` for every other write.
pub(crate) fn yield_to_java(write: &LeaseWrite) -> Option<Expression> {
    let LeaseWrite::Yield { key, by, checkpoint } = write else {
        return None;
    };
    let next = yielded(key, by).when_is(NEXT_INCARNATION, None).set(INCARNATION, None);
    Some(write_forward(change_owner(next), checkpoint.as_ref()))
}

fn row(key: &ShardId) -> Expression {
    Expression::of([(KEY, s(key))])
}

fn create(lease: &Lease) -> Expression {
    let fresh = row(&lease.key).when_is(KEY, None);
    encode(lease)
        .into_iter()
        .fold(fresh, |row, (name, value)| row.set(name, value))
}

fn take(key: &ShardId, to: &Process, seen: &Seen) -> Expression {
    let Seen {
        counter,
        epoch,
        checkpoint_owner,
        next_incarnation,
    } = seen;
    let unchanged = row(key)
        .when_is(COUNTER, Some(n(counter)))
        .when_count_is(EPOCH, epoch.0)
        .when_is(CHECKPOINT_OWNER, checkpoint_owner.as_ref().map(s))
        .when_is(NEXT_INCARNATION, next_incarnation.as_ref().map(s));
    change_owner(unchanged.set(OWNER, s(&to.worker)).set(INCARNATION, s(&to.incarnation)))
}

/// Asks the present owner; `gone` is the asker whose place is taken.
fn ask(key: &ShardId, from: &WorkerId, to: &Process, gone: Option<&Incarnation>, epoch: Epoch) -> Expression {
    let asked = match gone {
        None => row(key).when_is(OWNER, Some(s(from))).when_is(CHECKPOINT_OWNER, None),
        Some(gone) => row(key)
            .when_is(CHECKPOINT_OWNER, Some(s(from)))
            .when_is(NEXT_INCARNATION, Some(s(gone))),
    };
    asked
        .when_count_is(EPOCH, epoch.0)
        .set(OWNER, s(&to.worker))
        .set(NEXT_INCARNATION, s(&to.incarnation))
        .set(CHECKPOINT_OWNER, s(from))
}

fn reclaim(key: &ShardId, by: &Fence, gone: &Incarnation) -> Expression {
    row(key)
        .when_is(CHECKPOINT_OWNER, Some(s(&by.worker)))
        .when_is(INCARNATION, Some(s(&by.incarnation)))
        .when_is(NEXT_INCARNATION, Some(s(gone)))
        .when_count_is(EPOCH, by.epoch.0)
        .set(OWNER, s(&by.worker))
        .set(CHECKPOINT_OWNER, None)
        .set(NEXT_INCARNATION, None)
        .count(COUNTER)
}

/// The process has the lease, and nobody asks for it.
fn owned(key: &ShardId, by: &Fence) -> Expression {
    row(key)
        .when_is(OWNER, Some(s(&by.worker)))
        .when_is(INCARNATION, Some(s(&by.incarnation)))
        .when_is(CHECKPOINT_OWNER, None)
        .when_count_is(EPOCH, by.epoch.0)
}

/// The process has the lease, and another worker has asked for it.
fn yielded(key: &ShardId, by: &Fence) -> Expression {
    row(key)
        .when_is(CHECKPOINT_OWNER, Some(s(&by.worker)))
        .when_is(INCARNATION, Some(s(&by.incarnation)))
        .when_count_is(EPOCH, by.epoch.0)
}

fn release(key: &ShardId, by: &Fence, checkpoint: Option<&Checkpoint>) -> Expression {
    let given_up = owned(key, by).set(OWNER, None).set(INCARNATION, None);
    write_forward(change_owner(given_up), checkpoint)
}

fn progress(key: &ShardId, by: &Fence, checkpoint: &Checkpoint, children: &BTreeSet<ShardId>) -> Expression {
    let holder = format!(
        "(#{CHECKPOINT_OWNER} = :holder OR (attribute_not_exists(#{CHECKPOINT_OWNER}) AND #{OWNER} = :holder))"
    );
    let held = row(key)
        .when(&holder)
        .value("holder", s(&by.worker))
        .when_is(INCARNATION, Some(s(&by.incarnation)))
        .when_count_is(EPOCH, by.epoch.0);
    let written = write_forward(held, Some(checkpoint))
        .set(OWNER_SWITCHES, n(0))
        .count(COUNTER);
    if children.is_empty() {
        written
    } else {
        written.add_all(CHILDREN, encode_shards(children))
    }
}

/// The checkpoint of the row may become this one. Sequence numbers are texts in the table: of two without leading zeros
/// the longer one is greater, and of two that are equally long the one that sorts later.
fn forward(row: Expression, checkpoint: &Checkpoint) -> Expression {
    let none_yet = format!("#{CHECKPOINT} IN (:latest, :trimHorizon, :atTimestamp)");
    let condition = match checkpoint {
        Checkpoint::ShardEnd => return row,
        Checkpoint::Latest | Checkpoint::TrimHorizon | Checkpoint::AtTimestamp | Checkpoint::Since(_) => none_yet,
        Checkpoint::At(_) => {
            let same_record = format!(
                "#{CHECKPOINT} = :{CHECKPOINT} AND (attribute_not_exists(#{SUB_SEQUENCE}) OR #{SUB_SEQUENCE} <= \
                 :{SUB_SEQUENCE})"
            );
            let same_length = format!("#{CHECKPOINT} < :{CHECKPOINT} OR ({same_record})");
            let behind =
                format!("size(#{CHECKPOINT}) < :digits OR (size(#{CHECKPOINT}) = :digits AND ({same_length}))");
            format!("({none_yet} OR (#{CHECKPOINT} <> :shardEnd AND ({behind})))")
        }
    };
    let row = row
        .when(&condition)
        .value("latest", s("LATEST"))
        .value("trimHorizon", s("TRIM_HORIZON"))
        .value("atTimestamp", s("AT_TIMESTAMP"));
    match checkpoint {
        Checkpoint::At(position) => row
            .value("shardEnd", s(SHARD_END))
            .value("digits", n(position.sequence.as_str().len())),
        _ => row,
    }
}

fn change_owner(row: Expression) -> Expression {
    row.set(CHECKPOINT_OWNER, None)
        .set(NEXT_INCARNATION, None)
        .count(EPOCH)
        .count(COUNTER)
        .count(OWNER_SWITCHES)
}

/// Writes the checkpoint, if there is one, unless the row is already past it.
fn write_forward(row: Expression, checkpoint: Option<&Checkpoint>) -> Expression {
    let Some(checkpoint) = checkpoint else {
        return row;
    };
    let (text, sub) = encode_checkpoint(checkpoint);
    forward(row, checkpoint)
        .set(CHECKPOINT, s(text))
        .set(SUB_SEQUENCE, n(sub))
        .set(SINCE, encode_since(checkpoint))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use kinex_core::id::HashRange;
    use kinex_core::lease::Position;

    use super::*;

    fn process(name: &str) -> Process {
        Process {
            worker: name.into(),
            incarnation: format!("{name}-1").into(),
        }
    }

    fn fence(name: &str, epoch: u64) -> Fence {
        let Process { worker, incarnation } = process(name);
        Fence {
            worker,
            incarnation,
            epoch: Epoch(epoch),
        }
    }

    fn every_write() -> Vec<LeaseWrite> {
        let key = ShardId::from("shardId-000000000007");
        let at = Checkpoint::At(Position {
            sequence: 49_u128.into(),
            sub: 2,
        });
        let child = Lease {
            parents: ["p".into(), "q".into()].into(),
            hash_range: Some(HashRange { start: 5, end: 9 }),
            ..Lease::unowned(key.clone(), Checkpoint::TrimHorizon, Epoch(41))
        };
        let orphan = child.seen();
        let asked = Seen {
            checkpoint_owner: Some("old".into()),
            next_incarnation: Some("new-1".into()),
            ..child.seen()
        };
        let checkpoint = |checkpoint: Checkpoint, children: &[&str]| LeaseWrite::Checkpoint {
            key: key.clone(),
            by: fence("old", 41),
            checkpoint,
            children: children.iter().map(|id| ShardId::from(*id)).collect(),
        };
        let take = |seen: Seen| LeaseWrite::Take {
            key: key.clone(),
            to: process("new"),
            seen,
        };
        vec![
            LeaseWrite::Create(Box::new(child.clone())),
            take(orphan.clone()),
            take(asked),
            take(Seen {
                epoch: Epoch(0),
                ..orphan
            }),
            LeaseWrite::Ask {
                key: key.clone(),
                from: "old".into(),
                to: process("new"),
                epoch: Epoch(41),
            },
            LeaseWrite::AskOver {
                key: key.clone(),
                from: "old".into(),
                to: process("newer"),
                gone: "new-1".into(),
                epoch: Epoch(41),
            },
            LeaseWrite::Reclaim {
                key: key.clone(),
                by: fence("old", 41),
                gone: "new-1".into(),
            },
            LeaseWrite::Renew {
                key: key.clone(),
                by: fence("old", 41),
            },
            LeaseWrite::Extend {
                key: key.clone(),
                by: fence("old", 41),
            },
            LeaseWrite::Yield {
                key: key.clone(),
                by: fence("old", 41),
                checkpoint: Some(at.clone()),
            },
            LeaseWrite::Release {
                key: key.clone(),
                by: fence("old", 41),
                checkpoint: None,
            },
            checkpoint(at, &[]),
            checkpoint(Checkpoint::TrimHorizon, &[]),
            checkpoint(Checkpoint::Since(1_700_000_000_000), &[]),
            checkpoint(Checkpoint::ShardEnd, &["c", "d"]),
            LeaseWrite::Delete {
                key: key.clone(),
                epoch: Epoch(42),
            },
        ]
    }

    #[test]
    fn every_write_is_one_expression() {
        let mut text = String::new();
        for write in every_write() {
            writeln!(text, "{}: {}\n", write.kind(), expression(&write)).unwrap();
            if let Some(other) = yield_to_java(&write) {
                writeln!(text, "yield to an asker without an incarnation: {other}\n").unwrap();
            }
        }
        insta::assert_snapshot!(text);
    }

    /// DynamoDB refuses a value that no expression uses; other implementations do not.
    #[test]
    fn every_value_is_used_and_every_used_one_is_there() {
        for write in every_write() {
            for expression in [Some(expression(&write)), yield_to_java(&write)].into_iter().flatten() {
                let text = [expression.condition(), expression.update()].into_iter().flatten();
                let text = text.collect::<Vec<_>>().join(" ");
                let name = |rest: &str| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
                let used: BTreeSet<String> = text.split(':').skip(1).map(|rest| format!(":{}", name(rest))).collect();
                assert_eq!(used, expression.values().into_keys().collect(), "{expression}");
            }
        }
    }

    #[test]
    fn no_write_replaces_a_row_or_lacks_a_condition() {
        for write in every_write() {
            let expression = expression(&write);
            assert!(expression.condition().is_some(), "{}", write.kind());
            assert_eq!(
                expression.update().is_none(),
                expression.is_delete(),
                "{}",
                write.kind()
            );
        }
    }
}
