//! When the rows of workers that are no more are read, and when they are removed.

use super::*;
use crate::worker::Departure;

fn row(worker: &str) -> WorkerRow {
    WorkerRow::starting(process(worker, "first"), None, None, String::new())
}

fn left(worker: &str) -> WorkerRow {
    WorkerRow {
        departing: Some(Departure::Release),
        departed: true,
        ..row(worker)
    }
}

fn with(rows: impl IntoIterator<Item = WorkerRow>) -> Bench {
    let mut bench = bench(2);
    bench.workers.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
    bench
}

/// Lets time pass in which these workers beat.
fn run_beside(bench: &mut Bench, beating: &[&str], seconds: u64) {
    for _ in 0..seconds {
        for worker in beating {
            bench.workers.get_mut(&(*worker).into()).unwrap().beat += 1;
        }
        bench.run(1);
    }
}

/// The row of a worker is there for so many seconds and removed by then.
fn check(gone: WorkerRow, kept: u64, removed: u64) {
    let (mut bench, id) = (with([gone.clone()]), gone.id.clone());
    bench.run(kept);
    assert_eq!(bench.workers.get(&id), Some(&gone), "after {kept} s");
    bench.run(removed - kept);
    assert_eq!(bench.workers.get(&id), None, "after {removed} s");
}

#[test]
fn row_of_a_process_that_is_no_more_is_kept_until_everybody_has_seen_it() {
    check(left("x"), 60, 80);
    check(
        WorkerRow {
            ended: true,
            ..row("x")
        },
        60,
        80,
    );
    let reserved = WorkerRow {
        departing: Some(Departure::Reserve(Duration::from_secs(90))),
        departed: true,
        ..row("x")
    };
    check(reserved, 90, 110);
    // It may only sleep.
    check(row("x"), 600, 620);
}

#[test]
fn row_that_a_lease_names_is_kept() {
    let mut bench = with([row("x")]);
    let mut lease = Lease::unowned("s9".into(), Checkpoint::ShardEnd, Epoch(7));
    lease.owner = Some("x".into());
    bench.leases.insert("s9".into(), lease);
    bench.workers.insert("x".into(), left("x"));
    bench.run(200);
    assert!(bench.workers.contains_key(&"x".into()));
    bench.leases.remove(&"s9".into());
    bench.run(90);
    assert!(!bench.workers.contains_key(&"x".into()));
}

#[test]
fn row_is_removed_by_the_first_worker_alone() {
    let mut bench = with([left("x"), row("a")]);
    run_beside(&mut bench, &["a"], 200);
    assert_eq!(bench.member.workers(), ["a".into(), "w".into()]);
    assert!(bench.workers.contains_key(&"x".into()));
}

#[test]
fn row_of_a_process_that_woke_is_kept() {
    let mut bench = with([row("x")]);
    run_beside(&mut bench, &[], 590);
    run_beside(&mut bench, &["x"], 100);
    assert!(bench.workers.contains_key(&"x".into()));
}

#[test]
fn rows_of_workers_that_left_are_not_read_by_a_worker_that_starts() {
    let mut bench = with((0..2_000).map(|nth| left(&format!("x{nth}"))));
    bench.run(9);
    assert_eq!((bench.member.holds().len(), bench.full_reads), (2, 0));
    bench.run(60);
    assert_eq!(bench.full_reads, 1, "only what is to be removed is read");
    bench.run(120);
    assert_eq!(bench.workers.len(), 1);
    assert!(bench.full_reads <= 3, "{} reads of all rows", bench.full_reads);
}

#[test]
fn worker_that_vanishes_is_looked_for_among_those_that_left() {
    let mut bench = with([row("a")]);
    run_beside(&mut bench, &["a"], 8);
    assert_eq!((bench.member.workers().len(), bench.full_reads), (2, 0));
    bench.workers.insert("a".into(), left("a"));
    bench.run(2);
    assert_eq!((bench.member.workers(), bench.full_reads), (&["w".into()][..], 1));
}

#[test]
fn lease_that_names_a_worker_that_left_is_taken_at_once() {
    let mut bench = with([left("x")]);
    let mut lease = Lease::unowned("s9".into(), Checkpoint::TrimHorizon, Epoch(7));
    (lease.owner, lease.incarnation) = (Some("x".into()), Some("first".into()));
    bench.leases.insert("s9".into(), lease);
    bench.run(5);
    assert!(bench.member.holds().contains_key(&"s9".into()));
}
