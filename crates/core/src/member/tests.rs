//! One member against a table in a map, with every answer at once. What loss, delay and sleep do is the simulation's.

mod removal;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::id::Epoch;
use crate::lease::Checkpoint;
use crate::worker::{Group, RenewalMode, WorkerRow};

/// Two tables, and what the member wanted of the shell.
struct Bench {
    member: Member,
    now: Moment,
    leases: BTreeMap<ShardId, Lease>,
    workers: BTreeMap<WorkerId, WorkerRow>,
    renewal: RenewalMode,
    said: Vec<Action>,
    /// How often the rows of all workers were read.
    full_reads: usize,
}

fn process(worker: &str, incarnation: &str) -> Process {
    Process {
        worker: worker.into(),
        incarnation: incarnation.into(),
    }
}

fn bench(leases: usize) -> Bench {
    let profile = Profile {
        process: process("w", "one"),
        hard_cap: None,
        address: None,
        started: String::new(),
    };
    let row = |nth: usize| {
        let key = ShardId::from(format!("s{nth}"));
        (key.clone(), Lease::unowned(key, Checkpoint::TrimHorizon, Epoch(7)))
    };
    Bench {
        member: Member::new(Config::default(), profile, Moment::ZERO),
        now: Moment::ZERO,
        leases: (0..leases).map(row).collect(),
        workers: BTreeMap::new(),
        renewal: RenewalMode::PerWorker,
        said: Vec::new(),
        full_reads: 0,
    }
}

impl Bench {
    /// Lets so much time pass.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.member.deadline() <= end {
            self.step();
        }
        self.now = end;
    }

    /// Lets time pass until the member is due.
    fn step(&mut self) {
        self.now = self.now.max(self.member.deadline());
        let actions = self.member.poll(self.now);
        self.carry_out(actions);
    }

    fn on(&mut self, event: Event) {
        let actions = self.member.on(self.now, event);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { id, request } => {
                    self.full_reads += usize::from(request == Request::Members);
                    let reply = self.answer(&request);
                    self.on(Event::Reply { id, reply });
                }
                Action::Drain { hold } => self.on(Event::Drained { hold, checkpoint: None }),
                other => self.said.push(other),
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let group = Group {
            renewal: self.renewal,
            lineage: 0,
        };
        match request {
            Request::OpenGroup(_) => Reply::Group(group),
            Request::Members => Reply::Members {
                group: Some(group),
                workers: self.workers.values().cloned().collect(),
            },
            Request::MembersPresent => Reply::Members {
                group: Some(group),
                workers: self
                    .workers
                    .values()
                    .filter(|row| !row.left_for_good())
                    .cloned()
                    .collect(),
            },
            Request::Worker(id) => Reply::Worker(self.workers.get(id).cloned()),
            Request::Leases => Reply::Leases(self.leases.values().cloned().collect()),
            Request::Lease(key) => Reply::Lease(self.leases.get(key).cloned()),
            Request::WriteLease(write) => Reply::LeaseWritten(match write.apply(self.leases.get(write.key())) {
                Ok(row) => {
                    self.leases.extend(row.clone().map(|row| (row.key.clone(), row)));
                    Written::Done(row)
                }
                Err(refused) => Written::Refused(refused.0.map(|row| *row)),
            }),
            Request::WriteWorker(write) => Reply::WorkerWritten(match write.apply(self.workers.get(write.worker())) {
                Ok(row) => {
                    self.workers.remove(write.worker());
                    self.workers.extend(row.clone().map(|row| (row.id.clone(), row)));
                    Written::Done(row)
                }
                Err(refused) => Written::Refused(refused.0.map(|row| *row)),
            }),
        }
    }

    fn exit(&self) -> Option<&Exit> {
        self.said.iter().find_map(|action| {
            if let Action::Exit(exit) = action {
                Some(exit)
            } else {
                None
            }
        })
    }
}

#[test]
fn a_worker_alone_takes_everything_after_the_settle_delay() {
    let mut bench = bench(5);
    bench.run(1);
    assert_eq!(bench.member.holds().len(), 0);
    bench.run(2);
    assert_eq!(bench.member.holds().len(), 5);
    assert_eq!(bench.member.workers(), ["w".into()]);
}

#[test]
fn windows_grow_with_every_beat() {
    let mut bench = bench(1);
    bench.run(60);
    let (_, until) = &bench.member.holds()[&"s0".into()];
    assert!(*until > bench.now + Duration::from_secs(5), "{until:?}");
}

#[test]
fn a_table_of_the_other_renewal_mode_is_refused() {
    let mut bench = bench(1);
    bench.renewal = RenewalMode::PerLease;
    bench.run(1);
    assert!(
        matches!(bench.exit(), Some(Exit::RenewalModeDiffers { .. })),
        "{:?}",
        bench.said
    );
}

#[test]
fn a_name_that_beats_is_in_use() {
    let mut bench = bench(1);
    let mut row = WorkerRow::starting(
        process("w", "other"),
        None,
        Some("10.0.0.7:80".to_owned()),
        String::new(),
    );
    bench.workers.insert("w".into(), row.clone());
    bench.run(2);
    row.beat += 1;
    bench.workers.insert("w".into(), row);
    bench.run(2);
    assert!(
        matches!(bench.exit(), Some(Exit::NameInUse(row)) if row.address.is_some()),
        "{:?}",
        bench.said
    );
}

#[test]
fn a_silent_process_of_the_same_name_is_replaced_after_the_failover_time() {
    let mut bench = bench(1);
    let row = WorkerRow::starting(process("w", "other"), None, None, String::new());
    bench.workers.insert("w".into(), row);
    bench.run(9);
    assert_eq!(bench.workers[&"w".into()].incarnation, "other".into());
    bench.run(4);
    assert_eq!(bench.workers[&"w".into()].incarnation, "one".into());
    assert_eq!(bench.member.holds().len(), 1);
}

#[test]
fn the_last_worker_releases_what_it_has() {
    let mut bench = bench(3);
    bench.run(5);
    bench.on(Event::Depart(crate::worker::Departure::Release));
    bench.run(2);
    assert_eq!(bench.exit(), Some(&Exit::Departed));
    assert!(bench.leases.values().all(|lease| lease.owner.is_none()));
    assert!(bench.workers[&"w".into()].departed);
}

#[test]
fn a_proof_of_death_stops_everything() {
    let mut bench = bench(2);
    bench.run(5);
    bench.workers.get_mut(&"w".into()).unwrap().ended = true;
    bench.run(2);
    let stops = bench.said.iter().filter(|action| {
        matches!(
            action,
            Action::Stop {
                reason: StopReason::Evicted,
                ..
            }
        )
    });
    assert_eq!(stops.count(), 2);
    assert!(matches!(bench.said.last(), Some(Action::Exit(Exit::Replaced(_)))));
    assert_eq!(bench.member.deadline(), Moment::NEVER);
}

#[test]
fn live_leases_settle_after_new_rows_that_nobody_announced() {
    let mut bench = bench(2);
    let row = WorkerRow::starting(process("x", "x-one"), None, None, String::new());
    bench.workers.insert("x".into(), row);
    let of_x = |key: &str| {
        let mut lease = Lease::unowned(key.into(), Checkpoint::TrimHorizon, Epoch(7));
        lease.owner = Some("x".into());
        lease.incarnation = Some("x-one".into());
        (lease.key.clone(), lease)
    };
    bench.leases.extend(["s2", "s3"].map(of_x));
    bench.run(4);
    assert_eq!(bench.member.holds().len(), 2);

    bench.leases.extend(["s4", "s5"].map(of_x));
    // An ask makes it read the leases; the count of the group has not changed.
    bench.workers.get_mut(&"w".into()).unwrap().asks += 1;
    let asked = |bench: &Bench| bench.leases.values().filter(|lease| lease.handoff_pending()).count();
    while bench.member.round.rows().len() < 6 {
        bench.step();
    }
    assert_eq!(asked(&bench), 0);
    bench.run(2);
    assert_eq!(asked(&bench), 1);
}

#[test]
fn a_worker_at_rest_is_called_seldom() {
    let mut bench = bench(30);
    bench.run(10);
    let mut calls = 0;
    let end = bench.now + Duration::from_secs(60);
    while bench.member.deadline() <= end {
        bench.step();
        calls += 1;
    }
    assert!(calls < 120, "{calls} calls in a minute");
}
