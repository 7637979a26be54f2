//! Worker rows and the group row.

use std::time::Duration;

use kinex_core::id::{Incarnation, WorkerId};
use kinex_core::lease::Process;
use kinex_core::member::Written;
use kinex_core::worker::{Departure, RenewalMode, WorkerRefused, WorkerRow, WorkerWrite};

use super::StoreBench;
use crate::ports::LeaseStore;

fn expected(write: &WorkerWrite, row: Option<&WorkerRow>) -> (Written<WorkerRow>, Option<WorkerRow>) {
    match write.apply(row) {
        Ok(after) => (Written::Done(after.clone()), after),
        Err(WorkerRefused(row)) => {
            let row = row.map(|row| *row);
            (Written::Refused(row.clone()), row)
        }
    }
}

pub(super) async fn every_write_on_every_row(bench: &impl StoreBench) {
    let store = bench.empty().await;
    let mut rows_left = Vec::new();
    let mut number = 0;
    for row in rows() {
        for write in writes() {
            number += 1;
            let id = WorkerId::from(format!("worker-{number:04}"));
            let row = row.clone().map(|row| WorkerRow { id: id.clone(), ..row });
            let write = with_id(write, &id);
            if let Some(row) = &row {
                let created = store.write_worker(&WorkerWrite::Register(Box::new(row.clone()))).await;
                assert_eq!(
                    created.expect("register"),
                    Written::Done(Some(row.clone())),
                    "register {row:#?}"
                );
            }
            let (answer, after) = expected(&write, row.as_ref());
            let found = store.write_worker(&write).await.expect("write");
            assert_eq!(found, answer, "the answer to {write:#?}\non {row:#?}");
            let found = store.worker(&id).await.expect("read");
            assert_eq!(found, after, "the row after {write:#?}\non {row:#?}");
            rows_left.extend(after);
        }
    }
    let (group, workers) = store.members().await.expect("members");
    assert_eq!(group, None, "nobody opened the group");
    assert_eq!(workers, rows_left, "every worker, in the order of their ids");
    let (_, present) = store.members_present().await.expect("members present");
    let (left, stayed): (Vec<_>, Vec<_>) = rows_left.into_iter().partition(WorkerRow::left_for_good);
    assert!(!left.is_empty(), "the catalog has rows of workers that left");
    assert_eq!(present, stayed, "everybody but those");
}

pub(super) async fn the_group_is_opened_once(bench: &impl StoreBench) {
    let store = bench.empty().await;
    assert_eq!(store.members().await.expect("members"), (None, Vec::new()));
    let group = store.open_group(RenewalMode::PerLease).await.expect("open");
    assert_eq!(group.renewal, RenewalMode::PerLease);
    let again = store.open_group(RenewalMode::PerWorker).await.expect("open again");
    assert_eq!(again, group, "the mode of a table never changes by itself");
    store.bump_lineage().await.expect("bump");
    let (bumped, workers) = store.members().await.expect("members");
    let bumped = bumped.expect("a group");
    assert_eq!((bumped.renewal, bumped.lineage), (group.renewal, group.lineage + 1));
    assert_eq!(workers, [], "the group is not a worker");
    let (present, _) = store.members_present().await.expect("members present");
    assert_eq!(present, Some(bumped), "the group is always there");
}

fn mine() -> Process {
    Process {
        worker: WorkerId::from("-"),
        incarnation: Incarnation::from("inc-0"),
    }
}

/// The catalogue of rows; the id is put in later.
fn rows() -> Vec<Option<WorkerRow>> {
    let new = WorkerRow::starting(mine(), None, None, "2024-05-01T00:00:00Z".to_owned());
    let busy = WorkerRow {
        beat: 41,
        leases: 7,
        asks: 3,
        hard_cap: Some(10),
        departing: Some(Departure::Reserve(Duration::from_secs(30))),
        address: Some("10.0.0.1:9000".to_owned()),
        order: Some("pause 30".to_owned()),
        ..new.clone()
    };
    let leaving = WorkerRow {
        departing: Some(Departure::Release),
        ..busy.clone()
    };
    let departed = WorkerRow {
        departed: true,
        ..leaving.clone()
    };
    let ended = WorkerRow {
        ended: true,
        ..busy.clone()
    };
    let reborn = WorkerRow {
        incarnation: Incarnation::from("inc-9"),
        ..busy.clone()
    };
    [None]
        .into_iter()
        .chain([new, busy, leaving, departed, ended, reborn].map(Some))
        .collect()
}

fn writes() -> Vec<WorkerWrite> {
    let fresh = WorkerRow {
        hard_cap: Some(4),
        ..WorkerRow::starting(mine(), None, Some("h:1".to_owned()), "later".to_owned())
    };
    let replace = |old: &str, beat| WorkerWrite::Replace {
        row: Box::new(fresh.clone()),
        old: Incarnation::from(old),
        beat,
    };
    let mut writes = vec![
        WorkerWrite::Register(Box::new(fresh.clone())),
        replace("inc-0", 0),
        replace("inc-0", 41),
        replace("inc-9", 41),
        replace("inc-9", 40),
        WorkerWrite::NotifyAsk { worker: mine().worker },
    ];
    for departing in [
        None,
        Some(Departure::Release),
        Some(Departure::Reserve(Duration::from_secs(90))),
    ] {
        writes.push(WorkerWrite::Beat {
            by: mine(),
            leases: 9,
            departing,
        });
    }
    writes.push(WorkerWrite::Depart { by: mine() });
    writes.push(WorkerWrite::End { process: mine() });
    writes.push(WorkerWrite::Order {
        process: mine(),
        order: Some("exit".to_owned()),
    });
    writes.push(WorkerWrite::Order {
        process: mine(),
        order: None,
    });
    for beat in [0, 41] {
        writes.push(WorkerWrite::Remove { process: mine(), beat });
    }
    writes
}

fn with_id(mut write: WorkerWrite, id: &WorkerId) -> WorkerWrite {
    match &mut write {
        WorkerWrite::Register(row) | WorkerWrite::Replace { row, .. } => row.id = id.clone(),
        WorkerWrite::Beat { by: process, .. }
        | WorkerWrite::Depart { by: process }
        | WorkerWrite::End { process }
        | WorkerWrite::Order { process, .. }
        | WorkerWrite::Remove { process, .. } => process.worker = id.clone(),
        WorkerWrite::NotifyAsk { worker } => *worker = id.clone(),
    }
    write
}
