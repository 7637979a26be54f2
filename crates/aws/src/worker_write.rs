//! A [`WorkerWrite`] as one expression, with exactly the meaning of [`WorkerWrite::apply`].

use aws_sdk_dynamodb::types::AttributeValue;
use kinex_core::id::{Incarnation, WorkerId};
use kinex_core::worker::{RenewalMode, WorkerRow, WorkerWrite};

use crate::expression::Expression;
use crate::item::{n, s};
use crate::worker_row::{
    ASKS, BEAT, DEPARTED, ENDED, GROUP, ID, INCARNATION, KIND, LEASES, LINEAGE, MEMBER, ORDER, RENEWAL, encode,
    encode_departing,
};

/// The expression of a write.
pub(crate) fn expression(write: &WorkerWrite) -> Expression {
    match write {
        WorkerWrite::Register(new) => set_row(row(&new.id).when_is(ID, None), new).set(ASKS, n(new.asks)),
        WorkerWrite::Replace { row: new, old, beat } => set_row(seen(&new.id, old, *beat), new),
        WorkerWrite::Beat { by, leases, departing } => {
            let alive = row_of(&by.worker, &by.incarnation)
                .when(&format!("(attribute_not_exists(#{ENDED}) OR #{ENDED} = :no)"))
                .value("no", AttributeValue::Bool(false));
            let counted = alive.count(BEAT).set(LEASES, n(leases));
            encode_departing(*departing)
                .into_iter()
                .fold(counted, |row, (name, value)| row.set(name, value))
        }
        WorkerWrite::NotifyAsk { worker } => row(worker).when(&format!("attribute_exists(#{ID})")).count(ASKS),
        WorkerWrite::Depart { by } => row_of(&by.worker, &by.incarnation)
            .set(DEPARTED, AttributeValue::Bool(true))
            .set(LEASES, n(0)),
        WorkerWrite::End { process } => {
            row_of(&process.worker, &process.incarnation).set(ENDED, AttributeValue::Bool(true))
        }
        WorkerWrite::Order { process, order } => {
            row_of(&process.worker, &process.incarnation).set(ORDER, order.as_ref().map(s))
        }
        WorkerWrite::Remove { process, beat } => seen(&process.worker, &process.incarnation, *beat).delete(),
    }
}

/// Writes the group row unless there is one; either way it is the row after it.
pub(crate) fn open_group(renewal: RenewalMode) -> Expression {
    group()
        .set_if_absent(RENEWAL, s(renewal.as_str()))
        .set_if_absent(LINEAGE, n(0))
}

/// Counts a change of the set of leases.
pub(crate) fn bump_lineage() -> Expression {
    group().when(&format!("attribute_exists(#{RENEWAL})")).count(LINEAGE)
}

fn group() -> Expression {
    Expression::of([(KIND, s(MEMBER)), (ID, s(GROUP))])
}

fn row(worker: &WorkerId) -> Expression {
    Expression::of([(KIND, s(MEMBER)), (ID, s(worker))])
}

/// The row is of this process.
fn row_of(worker: &WorkerId, incarnation: &Incarnation) -> Expression {
    row(worker).when_is(INCARNATION, Some(s(incarnation)))
}

/// The row is of this process, and the process has not shown itself since.
fn seen(worker: &WorkerId, incarnation: &Incarnation, beat: u64) -> Expression {
    row_of(worker, incarnation).when_is(BEAT, Some(n(beat)))
}

fn set_row(start: Expression, new: &WorkerRow) -> Expression {
    encode(new)
        .into_iter()
        .fold(start, |row, (name, value)| row.set(name, value))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::time::Duration;

    use kinex_core::lease::Process;
    use kinex_core::worker::Departure;

    use super::*;

    fn every_write() -> Vec<WorkerWrite> {
        let me = || Process {
            worker: "w".into(),
            incarnation: "w-1".into(),
        };
        let row = WorkerRow::starting(
            me(),
            Some(10),
            Some("10.0.0.1:80".into()),
            "2026-01-01T00:00:00Z".into(),
        );
        let beat = |departing| WorkerWrite::Beat {
            by: me(),
            leases: 6,
            departing,
        };
        vec![
            WorkerWrite::Register(Box::new(row.clone())),
            WorkerWrite::Replace {
                row: Box::new(row),
                old: "w-0".into(),
                beat: 17,
            },
            beat(None),
            beat(Some(Departure::Release)),
            beat(Some(Departure::Reserve(Duration::from_secs(30)))),
            WorkerWrite::NotifyAsk { worker: "w".into() },
            WorkerWrite::Depart { by: me() },
            WorkerWrite::End { process: me() },
            WorkerWrite::Order {
                process: me(),
                order: Some("freeze".into()),
            },
            WorkerWrite::Order {
                process: me(),
                order: None,
            },
            WorkerWrite::Remove {
                process: me(),
                beat: 17,
            },
        ]
    }

    #[test]
    fn every_write_is_one_expression() {
        let mut text = String::new();
        for write in every_write() {
            writeln!(text, "{}: {}\n", write.kind(), expression(&write)).unwrap();
        }
        writeln!(text, "open the group: {}\n", open_group(RenewalMode::PerWorker)).unwrap();
        writeln!(text, "bump the lineage: {}", bump_lineage()).unwrap();
        insta::assert_snapshot!(text);
    }
}
