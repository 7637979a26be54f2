//! A worker that dies for good: five processes, one is killed and not started again, and who reaped it says so.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kinex_aws::{Clients, Leases};
use kinex_core::audit::{Records, judge};
use kinex_core::id::{Incarnation, WorkerId};
use kinex_core::member::Written;
use kinex_core::worker::WorkerWrite;
use kinex_kcl::ports::LeaseStore;
use tokio::runtime::Runtime;

use crate::support::{Emulator, Process, alone, until};

const STREAM: &str = "fleet";
const VICTIM: &str = "pod-3";

/// A fleet of five on thirty shards, and a producer.
struct Fleet {
    _emulator: Emulator,
    directory: tempfile::TempDir,
    runtime: Runtime,
    clients: Clients,
    consumers: BTreeMap<String, Process>,
    producer: Process,
}

impl Fleet {
    fn start(failover_after: Duration) -> Self {
        let emulator = Emulator::start(&["--create-stream", &format!("{STREAM}:30")]);
        let directory = tempfile::tempdir().unwrap();
        let (runtime, clients) = emulator.connect();
        let consumers = (1..=5).map(|n| format!("pod-{n}")).map(|name| {
            let mut command = emulator.kinex("consumer", STREAM);
            command
                .args(["--worker-id", &name, "--exit-with-parent"])
                .args(["--set", &format!("failover_time_millis={}", failover_after.as_millis())])
                .arg("--identity-file")
                .arg(directory.path().join(&name));
            let consumer = background(&mut command);
            (name, consumer)
        });
        let consumers = consumers.collect();
        let mut command = emulator.kinex("producer", STREAM);
        let producer = background(command.args(["--records-per-second", "60", "--exit-with-parent"]));
        Self {
            _emulator: emulator,
            directory,
            runtime,
            clients,
            consumers,
            producer,
        }
    }

    fn leases(&self) -> Leases {
        self.clients.leases(STREAM)
    }

    /// How many leases each worker has, least first, when every lease has an owner and none is under hand-off.
    fn shares(&self) -> Option<Vec<(u32, WorkerId)>> {
        let scan = self.runtime.block_on(self.leases().leases()).ok()?;
        let mut counts: BTreeMap<WorkerId, u32> = BTreeMap::new();
        for lease in &scan.leases {
            let owner = lease.present_owner().filter(|_| !lease.handoff_pending())?;
            *counts.entry(owner.clone()).or_default() += 1;
        }
        let mut shares: Vec<_> = counts.into_iter().map(|(worker, count)| (count, worker)).collect();
        shares.sort();
        (scan.leases.len() == 30).then_some(shares)
    }

    /// Waits until the leases are shared like this.
    fn shared(&self, expected: &[u32]) {
        until(&format!("leases shared {expected:?}"), || {
            let shares = self.shares()?;
            let gone = shares
                .iter()
                .any(|(_, worker)| !self.consumers.contains_key(worker.as_str()));
            (!gone && shares.iter().map(|(count, _)| *count).eq(expected.iter().copied())).then_some(())
        });
    }

    /// Kills one for good and waits for its end; which process it was.
    fn kill(&mut self) -> Incarnation {
        let identity = std::fs::read_to_string(self.directory.path().join(VICTIM)).unwrap();
        let identity: serde_json::Value = serde_json::from_str(&identity).unwrap();
        let victim = self.consumers.remove(VICTIM).unwrap();
        victim.signal("KILL");
        assert_eq!(victim.wait(), None, "a signal ended it");
        identity["incarnation"].as_str().unwrap().into()
    }

    /// What only the one can say who saw the process end.
    fn prove(&self, incarnation: Incarnation) {
        let process = kinex_core::lease::Process {
            worker: VICTIM.into(),
            incarnation,
        };
        let proof = WorkerWrite::End { process };
        let written = self.runtime.block_on(self.leases().write_worker(&proof)).unwrap();
        assert!(matches!(written, Written::Done(_)), "{written:?}");
    }

    /// Ends everything in good order; what the audit says.
    fn end(self) -> Records {
        self.producer.signal("TERM");
        assert_eq!(self.producer.wait(), Some(0));
        let audit = |runtime: &Runtime, clients: &Clients| runtime.block_on(records(clients));
        until("every record delivered", || {
            (audit(&self.runtime, &self.clients).missing == 0).then_some(())
        });
        for consumer in self.consumers.into_values() {
            consumer.signal("TERM");
            assert_eq!(consumer.wait(), Some(0));
        }
        audit(&self.runtime, &self.clients)
    }
}

fn background(command: &mut Command) -> Process {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::start(command)
}

async fn records(clients: &Clients) -> Records {
    let facts = clients.facts(STREAM);
    let producers = facts.list(kinex_producer::PRODUCER).await.unwrap();
    let terms = facts.list(kinex_consumer::AUDIT).await.unwrap();
    let (producers, terms): (Vec<_>, Vec<_>) = (parsed(&producers), parsed(&terms));
    judge(&producers, &terms)
}

fn parsed<T: serde::de::DeserializeOwned>(rows: &[(String, String)]) -> Vec<T> {
    rows.iter()
        .map(|(_, body)| serde_json::from_str(body).unwrap())
        .collect()
}

/// How long the leases of the dead were nobody's, from its end until the four others have them all, shared evenly.
fn recovery(failover_after: Duration, witness: bool) -> (Duration, Records) {
    let mut fleet = Fleet::start(failover_after);
    fleet.shared(&[6, 6, 6, 6, 6]);
    until("records on every lane", || {
        (fleet.runtime.block_on(records(&fleet.clients)).delivered > 300).then_some(())
    });
    let incarnation = fleet.kill();
    let dead = Instant::now();
    if witness {
        fleet.prove(incarnation);
    }
    fleet.shared(&[7, 7, 8, 8]);
    let took = dead.elapsed();
    let by = if witness { "a witness" } else { "nobody to witness it" };
    println!("killed for good, {by}, F = {failover_after:?}: all leases owned and even after {took:.2?}");
    (took, fleet.end())
}

#[test]
fn a_witnessed_death_moves_the_leases_at_once() {
    let _alone = alone();
    // So long that only the proof can explain what happens in half of it.
    let failover_after = Duration::from_secs(60);
    let (took, records) = recovery(failover_after, true);
    assert!(took < failover_after / 2, "{took:?}");
    assert_eq!(records.missing, 0, "{records:?}");
    assert!(records.delivered > 300, "{records:?}");
}

#[test]
#[ignore = "a measurement, with the default failover time: `cargo test --test e2e -- --ignored --nocapture recovery`"]
fn recovery_with_and_without_a_witness() {
    let _alone = alone();
    for witness in [true, false] {
        let (_, records) = recovery(Duration::from_secs(10), witness);
        assert_eq!(records.missing, 0, "{records:?}");
    }
}
