//! Orders of an experiment to a consumer, and the facts by which an operator knows its process.

use std::process::Stdio;
use std::time::{Duration, Instant};

use kinex_aws::{Clients, Leases};
use kinex_core::id::{Incarnation, WorkerId};
use kinex_core::lease::Process as ProcessId;
use kinex_core::worker::{Departure, WorkerRow, WorkerWrite};
use kinex_kcl::ports::LeaseStore;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{Emulator, Process, alone, until};

const STREAM: &str = "orders";
const WORKER: &str = "orders-consumer-1";
const POD: &str = "5f0c7a7e-6c3f-4b1e-9a55-000000000001";

/// One consumer on a stream of four shards.
struct World {
    emulator: Emulator,
    runtime: Runtime,
    clients: Clients,
    directory: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let emulator = Emulator::start(&["--create-stream", &format!("{STREAM}:4")]);
        let (runtime, clients) = emulator.connect();
        let directory = tempfile::tempdir().unwrap();
        Self {
            emulator,
            runtime,
            clients,
            directory,
        }
    }

    fn consumer(&self, flags: &[&str]) -> Process {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let mut command = self.emulator.kinex("consumer", STREAM);
        command
            .args(["--worker-id", WORKER, "--exit-with-parent"])
            .args([
                "--set",
                "failover_time_millis=20000",
                "--set",
                "audit_interval_millis=100",
            ])
            .args(flags)
            .env("POD_UID", POD)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        Process::start(&mut command)
    }

    fn log(&self) -> std::path::PathBuf {
        self.directory.path().join("consumer.log")
    }

    /// How often the log says so.
    fn said(&self, what: &str) -> usize {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.contains(what)).count()
    }

    fn store(&self) -> Leases {
        self.clients.leases(STREAM)
    }

    fn row(&self) -> Option<WorkerRow> {
        self.runtime
            .block_on(self.store().worker(&WorkerId::from(WORKER)))
            .ok()
            .flatten()
    }

    /// The row of a process other than `old`, once it has leases.
    fn at_work(&self, old: Option<&Incarnation>) -> WorkerRow {
        until("a consumer at work", || {
            self.row()
                .filter(|row| Some(&row.incarnation) != old && row.leases == 4)
        })
    }

    fn order(&self, incarnation: &Incarnation, order: &str) {
        let write = WorkerWrite::Order {
            process: ProcessId {
                worker: WorkerId::from(WORKER),
                incarnation: incarnation.clone(),
            },
            order: Some(order.to_owned()),
        };
        let written = self.runtime.block_on(self.store().write_worker(&write)).unwrap();
        assert!(matches!(written, kinex_core::member::Written::Done(_)), "{written:?}");
    }

    fn fact(&self, kind: &str, id: &str) -> Option<Value> {
        let facts = self.clients.facts(STREAM);
        let body = self.runtime.block_on(facts.get(kind, id)).unwrap()?;
        Some(serde_json::from_str(&body).unwrap())
    }

    fn replicas(&self, replicas: u32) {
        let facts = self.clients.facts(STREAM);
        let body = format!("{{\"replicas\":{replicas}}}");
        self.runtime.block_on(facts.put("control", "replicas", &body)).unwrap();
    }
}

/// The state of a process as the kernel has it: `T` is stopped.
fn state(process: &Process) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn stopped(process: &Process) -> Option<()> {
    (state(process) == 'T').then_some(())
}

#[test]
fn a_frozen_consumer_stands_still_and_goes_on_by_itself() {
    let _alone = alone();
    let world = World::start();
    let consumer = world.consumer(&["--allow-chaos"]);
    let row = world.at_work(None);
    world.order(&row.incarnation, "freeze 2000 first");
    until("the process to stand still", || stopped(&consumer));
    let since = Instant::now();
    let beat = world.row().unwrap().beat;
    // The same order once more, as a shell writes it that does not know whether its write arrived.
    world.order(&row.incarnation, "freeze 2000 first");
    until("the process to go on", || (state(&consumer) != 'T').then_some(()));
    let lasted = since.elapsed();
    assert!(lasted > Duration::from_millis(1_500), "{lasted:?}");
    let after = until("the next beat", || world.row().filter(|row| row.beat > beat + 1));
    assert_eq!((after.incarnation, after.leases), (row.incarnation.clone(), 4));
    assert_eq!(world.said("ordered to freeze"), 1, "obeyed once");

    world.order(&row.incarnation, "freeze 500 second");
    until("another order to be obeyed", || {
        (world.said("ordered to freeze") == 2).then_some(())
    });
}

#[test]
fn an_order_is_for_one_process_and_not_for_the_next_of_its_name() {
    let _alone = alone();
    let world = World::start();
    let first = world.consumer(&["--allow-chaos"]);
    let row = world.at_work(None);
    world.order(&row.incarnation, "crash");
    assert_eq!(first.wait(), None, "ended by a signal");
    let process = ProcessId {
        worker: WorkerId::from(WORKER),
        incarnation: row.incarnation.clone(),
    };
    // Proof of death, so that the next process need not wait for the silence of this one.
    world
        .runtime
        .block_on(world.store().write_worker(&WorkerWrite::End { process }))
        .unwrap();
    let mut second = world.consumer(&["--allow-chaos"]);
    let next = world.at_work(Some(&row.incarnation));
    assert_eq!(next.order, None);
    let beat = next.beat;
    until("two more beats", || world.row().filter(|row| row.beat > beat + 1));
    assert!(second.0.try_wait().unwrap().is_none(), "the second process lives");
    assert_eq!(world.said("ordered to crash"), 1);
}

#[test]
fn nobody_obeys_who_was_not_started_to() {
    let _alone = alone();
    let world = World::start();
    let mut consumer = world.consumer(&[]);
    let row = world.at_work(None);
    world.order(&row.incarnation, "freeze 60000");
    let beat = row.beat;
    until("beats that go on", || world.row().filter(|row| row.beat > beat + 1));
    world.order(&row.incarnation, "crash");
    let beat = world.row().unwrap().beat;
    until("beats that go on", || world.row().filter(|row| row.beat > beat + 1));
    assert!(consumer.0.try_wait().unwrap().is_none());
    assert_eq!(world.said("ordered"), 0);
}

#[test]
fn the_guard_ends_with_its_consumer_also_while_that_is_frozen() {
    let _alone = alone();
    let world = World::start();
    let consumer = world.consumer(&["--allow-chaos"]);
    let row = world.at_work(None);
    let guard = child_of(consumer.0.id());
    assert!(!guard.is_empty(), "a consumer that obeys has a guard beside it");
    world.order(&row.incarnation, "freeze 600000");
    until("the process to stand still", || stopped(&consumer));
    consumer.signal("KILL");
    assert_eq!(consumer.wait(), None);
    until("the end of the guard", || {
        let stat = std::fs::read_to_string(format!("/proc/{guard}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    });
}

/// The one child of a process.
fn child_of(parent: u32) -> String {
    let said = std::process::Command::new("ps")
        .args(["-o", "pid=", "--ppid", &parent.to_string()])
        .output()
        .unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_process_says_which_pod_it_is_in() {
    let _alone = alone();
    let world = World::start();
    let _consumer = world.consumer(&[]);
    let row = world.at_work(None);
    let fact = world.fact("process", WORKER).unwrap();
    assert_eq!(fact["podUid"], POD);
    assert_eq!(fact["incarnation"], row.incarnation.as_str());
    assert_eq!(fact["startedAt"], row.started);
}

#[test]
fn a_worker_that_is_scaled_away_releases_and_one_that_is_restarted_reserves() {
    let _alone = alone();
    // Its ordinal is 1.
    for (replicas, reserves) in [(None, true), (Some(2), true), (Some(1), false)] {
        let world = World::start();
        let consumer = world.consumer(&["--set", "on_shutdown=ByOrdinal", "--set", "reserve_time_millis=60000"]);
        world.at_work(None);
        if let Some(replicas) = replicas {
            world.replicas(replicas);
        }
        consumer.signal("TERM");
        assert_eq!(consumer.wait(), Some(0));
        let row = world.row().unwrap();
        let kept = matches!(row.departing, Some(Departure::Reserve(_)));
        assert!(row.departed && kept == reserves, "{replicas:?}: {row:?}");
    }
}

#[test]
fn a_consumer_waits_for_a_stream_that_is_about_to_be_made() {
    let _alone = alone();
    let emulator = Emulator::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("consumer.log");
    let (runtime, clients) = emulator.connect();
    let mut command = emulator.kinex("consumer", STREAM);
    command
        .args(["--worker-id", WORKER, "--exit-with-parent"])
        .args(["--set", "create_tables=false", "--set", "wait_for_stream=true"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&path).unwrap());
    let _consumer = Process::start(&mut command);
    until("the consumer to wait", || {
        let log = std::fs::read_to_string(&path).unwrap();
        log.contains("not there yet: waits for it").then_some(())
    });
    runtime.block_on(async {
        clients.tables(STREAM).ensure().await.unwrap();
        clients.streams().create(STREAM, 2).await.unwrap();
    });
    let store = clients.leases(STREAM);
    until("both leases", || {
        let row = runtime.block_on(store.worker(&WorkerId::from(WORKER))).ok().flatten()?;
        (row.leases == 2).then_some(())
    });
}
