//! Processors that fail, panic or hang, at every place where the library calls them.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Running, fast, until};
use kinex_core::lease::{LeaseWrite, Process};
use kinex_kcl::memory::{MemoryStore, MemoryStream};
use kinex_kcl::ports::LeaseStore;
use kinex_kcl::{
    Checkpoint, Checkpointer, DropReason, HoldState, NotHeld, Poison, PoisonAction, Position, ProcessorError,
    ProcessorFactory, RecordBatch, RecordProcessor, ShardId, ShardStart, WorkerConfig, WorkerEvent,
};

/// What a test tells its processors, and what they did.
#[derive(Clone, Default)]
struct Probe(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// So many of the next calls of a method panic.
    panics: BTreeMap<&'static str, usize>,
    /// Records that cannot be processed.
    bad: BTreeSet<String>,
    /// A record whose call does not return.
    hangs_on: Option<String>,
    /// What `poisoned` says; `None`: what is configured.
    poisoned: Option<PoisonAction>,
    has_store: bool,
    flushes: bool,
    processed: Vec<String>,
    asked_about: Vec<(String, u32, String)>,
    stored: Vec<String>,
    /// Calls by name.
    calls: BTreeMap<&'static str, usize>,
}

impl Probe {
    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// This record cannot be processed.
    fn bad(&self, text: &str) {
        self.state(|state| state.bad.insert(text.to_owned()));
    }

    /// The next calls of a method panic, this many of them.
    fn panics(&self, call: &'static str, times: usize) {
        self.state(|state| state.panics.insert(call, times));
    }

    /// Counts a call, and panics when told to.
    fn enter(&self, call: &'static str) {
        let panics = self.state(|state| {
            *state.calls.entry(call).or_default() += 1;
            let left = state.panics.entry(call).or_default();
            let panics = *left > 0;
            *left = left.saturating_sub(1);
            panics
        });
        assert!(!panics, "no database in {call}");
    }

    fn calls(&self, call: &str) -> usize {
        self.state(|state| state.calls.get(call).copied().unwrap_or(0))
    }

    fn processed(&self) -> Vec<String> {
        self.state(|state| state.processed.clone())
    }
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

struct Probing(Probe);

/// An error that cannot even say what it is.
#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Unspeakable {}

impl RecordProcessor for Probing {
    async fn initialize(&mut self, _: &ShardStart) -> Result<(), ProcessorError> {
        self.0.enter("initialize");
        Ok(())
    }

    async fn process(&mut self, batch: &RecordBatch, _: &Checkpointer) -> Result<(), ProcessorError> {
        self.0.enter("process");
        let texts: Vec<_> = batch.records.iter().map(|record| text(&record.data)).collect();
        let (bad, hangs) = self.0.state(|state| {
            let bad = texts.iter().find(|text| state.bad.contains(*text)).cloned();
            (bad, state.hangs_on.as_ref().is_some_and(|text| texts.contains(text)))
        });
        if hangs {
            std::future::pending::<()>().await;
        }
        match bad {
            Some(text) if text == "unspeakable" => Err(Unspeakable.into()),
            Some(text) => Err(format!("cannot digest {text}").into()),
            None => {
                self.0.state(|state| state.processed.extend(texts));
                Ok(())
            }
        }
    }

    async fn lease_lost(&mut self) {
        self.0.enter("lease_lost");
    }

    async fn shard_ended(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        self.0.enter("shard_ended");
        Ok(())
    }

    async fn shutdown_requested(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        self.0.enter("shutdown_requested");
        if self.0.state(|state| state.flushes) {
            Ok(())
        } else {
            Err("nothing was flushed".into())
        }
    }

    async fn poisoned(&mut self, poison: &Poison) -> Result<PoisonAction, ProcessorError> {
        self.0.enter("poisoned");
        assert_eq!(poison.batch.records.len(), 1, "a record is asked about by itself");
        let asked = (
            text(&poison.batch.records[0].data),
            poison.failures,
            poison.error.to_string(),
        );
        Ok(self.0.state(|state| {
            state.asked_about.push(asked);
            state.poisoned.unwrap_or(poison.configured)
        }))
    }

    async fn dead_letter(&mut self, poison: &Poison) -> Result<(), ProcessorError> {
        self.0.enter("dead_letter");
        self.0.state(|state| {
            if !state.has_store {
                return Err("the store is down".into());
            }
            state.stored.push(text(&poison.batch.records[0].data));
            Ok(())
        })
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.enter("drop");
    }
}

struct Factory(Probe);

impl ProcessorFactory for Factory {
    type Processor = Probing;

    fn create(&self, _: &ShardId) -> Probing {
        self.0.enter("create");
        Probing(self.0.clone())
    }
}

struct World {
    store: MemoryStore,
    stream: MemoryStream,
    probe: Probe,
    config: WorkerConfig,
}

impl World {
    fn new(shards: usize) -> Self {
        Self {
            store: MemoryStore::new(),
            stream: MemoryStream::new(shards),
            probe: Probe::default(),
            config: WorkerConfig {
                processor_retries: 2,
                ..fast()
            },
        }
    }

    fn start(&self, name: &str) -> Running {
        let factory = Factory(self.probe.clone());
        Running::start(name, &self.store, &self.stream, self.config.clone(), factory)
    }

    fn shard(&self) -> ShardId {
        self.stream.open_shards().remove(0)
    }

    fn put(&self, texts: &[&str]) -> Vec<Position> {
        let shard = self.shard();
        let put = |text: &&str| Position {
            sequence: self.stream.put_into(&shard, "key", (*text).to_owned()),
            sub: 0,
        };
        texts.iter().map(put).collect()
    }

    fn state_of(&self, worker: &Running) -> Option<HoldState> {
        Some(worker.handle.status().holds.get(&self.shard())?.state)
    }

    fn checkpoint(&self) -> Checkpoint {
        self.store.lease_rows()[0].checkpoint.clone()
    }
}

fn failed(call: &'static str) -> impl Fn(&WorkerEvent) -> bool {
    move |event| matches!(event, WorkerEvent::ProcessorFailed { call: failed, .. } if *failed == call)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_processor_is_called_until_the_cause_is_gone() {
    let world = World::new(1);
    world.probe.state(|state| {
        state.bad.insert("1".into());
        state.flushes = true;
    });
    let positions = world.put(&["0", "1", "2"]);
    let worker = world.start("a");
    let alarm = |event: &WorkerEvent| matches!(event, WorkerEvent::ShardFailing { call: "process", error, .. } if error == "cannot digest 1");
    until("three alarms", || worker.count(alarm) >= 3).await;
    assert_eq!(world.probe.processed(), ["0"], "the good record before the bad one");
    assert!(!worker.saw(|event| matches!(event, WorkerEvent::ShardHalted { .. })));
    until("the state", || world.state_of(&worker) == Some(HoldState::Failing)).await;
    world.probe.state(|state| state.bad.clear());
    until("all", || world.probe.processed() == ["0", "1", "2"]).await;
    until("the state", || world.state_of(&worker) == Some(HoldState::Reading)).await;
    worker.leave().await;
    assert_eq!(world.checkpoint(), Checkpoint::At(positions[2].clone()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisonous_record_is_skipped_alone_and_told() {
    let mut world = World::new(1);
    world.config.on_poison = PoisonAction::Skip;
    world.probe.state(|state| {
        state.bad.extend(["2".to_owned(), "4".to_owned()]);
        state.flushes = true;
    });
    let positions = world.put(&["0", "1", "2", "3", "4"]);
    let worker = world.start("a");
    until("both told", || {
        worker.count(|event| matches!(event, WorkerEvent::RecordsDropped { .. })) == 2
    })
    .await;
    world.put(&["5"]);
    until("the rest", || world.probe.processed() == ["0", "1", "3", "5"]).await;
    for bad in [&positions[2], &positions[4]] {
        let told = |event: &WorkerEvent| {
            matches!(event, WorkerEvent::RecordsDropped { reason: DropReason::Poison, records: 1, first, last, .. }
                if first == bad && last == bad)
        };
        assert_eq!(worker.count(told), 1, "{bad}");
    }
    let asked = world.probe.state(|state| state.asked_about.clone());
    assert_eq!(
        asked,
        [
            ("2".to_owned(), 3, "cannot digest 2".to_owned()),
            ("4".to_owned(), 3, "cannot digest 4".to_owned())
        ]
    );
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisonous_record_at_the_end_of_a_shard_does_not_hold_its_end_up() {
    let mut world = World::new(1);
    world.config.on_poison = PoisonAction::Skip;
    world.probe.bad("last");
    world.put(&["0", "last"]);
    let parent = world.shard();
    world.stream.split(&parent);
    let worker = world.start("a");
    until("the end of the shard", || {
        worker.saw(|event| matches!(event, WorkerEvent::ShardEnded { shard, .. } if *shard == parent))
    })
    .await;
    assert_eq!(world.probe.processed(), ["0"]);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_given_up_only_when_it_is_stored() {
    let world = World::new(1);
    world.probe.state(|state| {
        state.poisoned = Some(PoisonAction::DeadLetter);
        state.bad.insert("bad".into());
        state.panics.insert("poisoned", 1);
    });
    world.put(&["bad", "good"]);
    let worker = world.start("a");
    until("a store that is down", || world.probe.calls("dead_letter") >= 2).await;
    assert!(worker.saw(failed("poisoned")));
    assert!(!worker.saw(|event| matches!(event, WorkerEvent::RecordsDropped { .. })));
    assert!(world.probe.processed().is_empty());
    world.probe.state(|state| state.has_store = true);
    until("the good one", || world.probe.processed() == ["good"]).await;
    assert_eq!(world.probe.state(|state| state.stored.clone()), ["bad"]);
    let told = |event: &WorkerEvent| {
        matches!(
            event,
            WorkerEvent::RecordsDropped {
                reason: DropReason::DeadLetter,
                records: 1,
                ..
            }
        )
    };
    assert_eq!(worker.count(told), 1);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_shard_goes_on_where_it_stopped_when_it_is_resumed() {
    let mut world = World::new(1);
    world.config.on_poison = PoisonAction::Halt;
    world.probe.bad("1");
    world.put(&["0", "1", "2"]);
    let worker = world.start("a");
    until("the halt", || world.state_of(&worker) == Some(HoldState::Halted)).await;
    let calls = world.probe.calls("process");
    let beats = || world.store.worker_rows()[0].beat;
    let before = beats();
    until("ten more heartbeats", || beats() >= before + 10).await;
    assert_eq!(world.probe.calls("process"), calls, "nothing is called");
    world.probe.state(|state| state.bad.clear());
    worker.handle.resume(&world.shard()).await.expect("it has the shard");
    until("the rest", || world.probe.processed() == ["0", "1", "2"]).await;
    assert!(worker.saw(|event| matches!(event, WorkerEvent::ShardResumed { .. })));
    let stranger = ShardId::from("shardId-000000000099");
    assert_eq!(
        worker.handle.resume(&stranger).await,
        Err(NotHeld(stranger.clone())),
        "it does not have that one"
    );
    let handle = worker.handle.clone();
    worker.leave().await;
    assert_eq!(handle.resume(&stranger).await, Err(NotHeld(stranger)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_shard_that_is_resumed_does_not_wait_for_its_pause() {
    let mut world = World::new(1);
    world.config.retry_pause = Duration::from_secs(3_600);
    world.config.retry_pause_max = Duration::from_secs(3_600);
    world.probe.bad("0");
    world.put(&["0"]);
    let worker = world.start("a");
    until("a failure", || worker.saw(failed("process"))).await;
    world.probe.state(|state| state.bad.clear());
    until("the state", || world.state_of(&worker) == Some(HoldState::Failing)).await;
    worker.handle.resume(&world.shard()).await.expect("it has the shard");
    until("the record", || world.probe.processed() == ["0"]).await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_the_way_in_is_told_and_tried_again() {
    let world = World::new(1);
    world.probe.state(|state| {
        state
            .panics
            .extend([("create", 4), ("initialize", 2), ("process", 1), ("shard_ended", 2)]);
    });
    world.put(&["0", "1"]);
    let parent = world.shard();
    let worker = world.start("a");
    until("the records", || world.probe.processed() == ["0", "1"]).await;
    let created = |event: &WorkerEvent| matches!(event, WorkerEvent::ProcessorFailed { call: "initialize", error, .. } if error == "panicked: no database in create");
    assert_eq!(worker.count(created), 4);
    assert_eq!(world.probe.calls("create"), 5);
    assert_eq!(world.probe.calls("initialize"), 3);
    assert!(worker.saw(|event| matches!(event, WorkerEvent::ShardFailing { call: "initialize", .. })));
    world.stream.split(&parent);
    until("the end", || {
        worker.saw(|event| matches!(event, WorkerEvent::ShardEnded { .. }))
    })
    .await;
    assert_eq!(worker.count(failed("shard_ended")), 2);
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_factory_that_panics_halts_its_shard_when_told_to_and_says_so() {
    let mut world = World::new(1);
    world.config.on_poison = PoisonAction::Halt;
    world.probe.panics("create", 3);
    world.put(&["0"]);
    let worker = world.start("a");
    until("the halt", || world.state_of(&worker) == Some(HoldState::Halted)).await;
    let told = |event: &WorkerEvent| matches!(event, WorkerEvent::ShardHalted { call: "initialize", error, .. } if error.contains("no database"));
    assert!(worker.saw(told));
    worker.handle.resume(&world.shard()).await.expect("it has the shard");
    until("the record", || world.probe.processed() == ["0"]).await;
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_the_way_out_is_told_and_commits_nothing() {
    let world = World::new(1);
    world.probe.state(|state| {
        state.flushes = true;
        state.panics.extend([("shutdown_requested", 1), ("drop", 1)]);
    });
    world.put(&["0", "1"]);
    let worker = world.start("a");
    until("the records", || world.probe.processed() == ["0", "1"]).await;
    let events = Arc::clone(&worker.events);
    let seen = |call| events.lock().unwrap().iter().any(failed(call));
    worker.leave().await;
    assert!(seen("shutdown_requested"));
    // The worker does not wait for a processor to be dropped.
    until("the panic in drop", || seen("drop")).await;
    assert_eq!(world.checkpoint(), Checkpoint::TrimHorizon, "nothing was flushed");
    let next = world.start("b");
    until("both again", || world.probe.processed() == ["0", "1", "0", "1"]).await;
    next.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_processor_could_not_flush_comes_again_to_the_next_owner() {
    let world = World::new(1);
    world.put(&["0", "1", "2"]);
    let worker = world.start("a");
    until("the records", || world.probe.processed().len() == 3).await;
    worker.leave().await;
    assert_eq!(world.checkpoint(), Checkpoint::TrimHorizon);
    let next = world.start("b");
    until("all again", || world.probe.processed().len() == 6).await;
    next.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_lease_lost_is_told() {
    let world = World::new(1);
    world.probe.panics("lease_lost", 1);
    world.put(&["0"]);
    let worker = world.start("a");
    until("the record", || world.probe.processed() == ["0"]).await;
    let row = world.store.lease(&world.shard()).await.unwrap().unwrap();
    let take = LeaseWrite::Take {
        key: row.key.clone(),
        to: Process {
            worker: "thief".into(),
            incarnation: "elsewhere".into(),
        },
        seen: row.seen(),
    };
    world.store.write_lease(&take).await.unwrap();
    until("the panic", || worker.saw(failed("lease_lost"))).await;
    worker.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_whose_text_panics_is_a_failure_like_others() {
    let world = World::new(1);
    world.probe.bad("unspeakable");
    world.put(&["unspeakable"]);
    let worker = world.start("a");
    let told = |event: &WorkerEvent| matches!(event, WorkerEvent::ProcessorFailed { error, .. } if error == "panicked: no words");
    until("the failure", || worker.saw(told)).await;
    world.probe.state(|state| state.bad.clear());
    until("the record", || world.probe.processed() == ["unspeakable"]).await;
    assert_eq!(world.probe.calls("create"), 1, "the same processor");
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_never_returns_is_told_and_the_other_shards_go_on() {
    let mut world = World::new(2);
    world.config.slow_call_after = Duration::from_millis(200);
    world.config.protocol.drain_timeout = Duration::from_millis(300);
    world.probe.state(|state| state.hangs_on = Some("hang".into()));
    let shards = world.stream.open_shards();
    world.stream.put_into(&shards[0], "key", "hang".to_owned());
    let worker = world.start("a");
    let slow = |event: &WorkerEvent| {
        matches!(event, WorkerEvent::ProcessorSlow { shard, call: "process", running_millis }
            if *shard == shards[0] && *running_millis >= 200)
    };
    until("two warnings", || worker.count(slow) >= 2).await;
    world.stream.put_into(&shards[1], "key", "other".to_owned());
    until("the other shard", || world.probe.processed() == ["other"]).await;
    assert!(!worker.saw(|event| matches!(event, WorkerEvent::ProcessorSlow { shard, .. } if *shard == shards[1])));
    let ended = worker.leave().await;
    assert_eq!(ended.hung, [shards[0].clone()].into());
}
