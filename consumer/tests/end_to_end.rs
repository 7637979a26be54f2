//! Both programs in this process, against the embedded endpoints: what the audit says after what happened.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../crates/kcl/tests/common/aggregate.rs"]
#[allow(unreachable_pub, reason = "the tests of another crate use it as well")]
mod aggregate;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kinex_aws::iam::{Role, apis};
use kinex_aws::{Access, Clients};
use kinex_consumer::{Args, Error, Stop};
use kinex_core::audit::{ProducerRow, Records, Term, TermEnd, judge};
use kinex_core::worker::{WorkerRow, WorkerWrite};
use kinex_embedded::{Endpoints, Fault, Options, Rule, Service};
use kinex_kcl::ports::LeaseStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const STREAM: &str = "orders";
const APPLICATION: &str = "orders-leases";

/// Builds for tests on a busy machine are slow; nothing here takes nearly as long by itself.
const PATIENCE: Duration = Duration::from_secs(90);

/// The endpoints, and a stream of four shards.
struct World {
    endpoints: Endpoints,
    clients: Clients,
    directory: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let options = Options {
            one_port: true,
            ..Options::default()
        };
        let endpoints = Endpoints::start(options).await.unwrap();
        let clients = Clients::connect(&Access::endpoint(endpoints.kinesis_url()))
            .await
            .unwrap();
        clients.streams().create(STREAM, 4).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        Self {
            endpoints,
            clients,
            directory,
        }
    }

    fn consumer(&self, worker: &str, set: &[&str]) -> Consumer {
        let fast = [
            "failover_time_millis=3000",
            "idle_time_between_reads_millis=200",
            "report_interval_millis=500",
        ];
        let identity = self.directory.path().join(format!("{worker}.json"));
        Consumer {
            args: Args {
                worker_id: Some(worker.to_owned()),
                stream: Some(STREAM.to_owned()),
                application: Some(APPLICATION.to_owned()),
                endpoint_url: Some(self.endpoints.kinesis_url()),
                set: fast.iter().chain(set).map(|text| (*text).to_owned()).collect(),
                identity_file: Some(identity.clone()),
                metrics_addr: Some("127.0.0.1:0".to_owned()),
                ..Args::default()
            },
            identity,
        }
    }

    fn produce(
        &self,
        records: u64,
        per_second: f64,
    ) -> (JoinHandle<Result<(), kinex_producer::Error>>, CancellationToken) {
        let args = kinex_producer::Args {
            stream: STREAM.to_owned(),
            application: Some(APPLICATION.to_owned()),
            endpoint_url: Some(self.endpoints.kinesis_url()),
            kinesis_endpoint_url: None,
            dynamodb_endpoint_url: None,
            sign: false,
            region: None,
            records_per_second: per_second,
            record_bytes: 128,
            lanes: 32,
            run: Some("test".to_owned()),
            records: Some(records),
            wait_for_stream: false,
            metrics_addr: None,
            identity_file: None,
        };
        let stop = CancellationToken::new();
        (tokio::spawn(kinex_producer::run_until(args, stop.clone())), stop)
    }

    async fn producers(&self) -> Vec<ProducerRow> {
        let rows = self
            .clients
            .facts(APPLICATION)
            .list(kinex_producer::PRODUCER)
            .await
            .unwrap();
        rows.iter()
            .map(|(_, body)| serde_json::from_str(body).unwrap())
            .collect()
    }

    async fn terms(&self) -> Vec<Term> {
        let rows = self
            .clients
            .facts(APPLICATION)
            .list(kinex_consumer::AUDIT)
            .await
            .unwrap();
        rows.iter()
            .map(|(_, body)| serde_json::from_str(body).unwrap())
            .collect()
    }

    async fn judge(&self) -> Records {
        judge(&self.producers().await, &self.terms().await)
    }

    /// Waits until the audit shows that many records delivered. While the producer runs, some of
    /// what it sent is always missing.
    async fn delivered(&self, at_least: u64) {
        self.judged(|records| records.delivered >= at_least).await;
    }

    /// Waits until the audit shows that many records delivered, and nothing missing.
    async fn all_delivered(&self, sent: u64) {
        self.judged(|records| records.delivered >= sent && records.missing == 0)
            .await;
    }

    async fn judged(&self, met: impl Fn(&Records) -> bool) {
        let since = Instant::now();
        loop {
            let records = self.judge().await;
            if met(&records) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{records:?} after {:?}", since.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn worker_row(&self, worker: &str) -> Option<WorkerRow> {
        self.clients.leases(APPLICATION).worker(&worker.into()).await.unwrap()
    }
}

struct Consumer {
    args: Args,
    identity: PathBuf,
}

struct Running {
    stop: Stop,
    task: JoinHandle<Result<(), Error>>,
    identity: PathBuf,
}

impl Consumer {
    fn start(self) -> Running {
        let stop = Stop::default();
        Running {
            task: tokio::spawn(kinex_consumer::run_until(self.args, stop.clone())),
            stop,
            identity: self.identity,
        }
    }
}

impl Running {
    /// Tells it to leave; how it ended, and how long that took.
    async fn leave(self) -> (Result<(), Error>, Duration) {
        let since = Instant::now();
        self.stop.leave.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        (ended, since.elapsed())
    }

    async fn identity(&self) -> serde_json::Value {
        let since = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(&self.identity) {
                return serde_json::from_str(&text).unwrap();
            }
            assert!(!self.task.is_finished(), "the consumer has ended");
            assert!(since.elapsed() < PATIENCE, "no identity file");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The body of a path of the admin server.
    async fn get(&self, path: &str) -> String {
        let address = self.identity().await["metrics"].as_str().unwrap().to_owned();
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The metrics as soon as they hold this line.
    async fn metrics(&self, line: &str) -> String {
        self.metrics_where(line, |metrics| metrics.contains(line)).await
    }

    /// The metrics as soon as they meet a condition.
    async fn metrics_where(&self, what: &str, met: impl Fn(&str) -> bool) -> String {
        let since = Instant::now();
        loop {
            let metrics = self.get("/metrics").await;
            if met(&metrics) {
                return metrics;
            }
            assert!(since.elapsed() < PATIENCE, "{what} is not in\n{metrics}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ready(&self) {
        let since = Instant::now();
        loop {
            let answer = self.get("/readyz").await;
            if answer.starts_with("HTTP/1.1 200") {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_joins_and_one_that_leaves_lose_and_repeat_nothing() {
    let world = World::start().await;
    let (producer, stop) = world.produce(100_000, 100.0);
    let first = world.consumer("pod-0", &[]).start();
    first.ready().await;
    world.delivered(100).await;
    let second = world.consumer("pod-1", &[]).start();
    second.ready().await;
    let whose = "application=\"orders-leases\",worker=\"pod-1\"";
    let reading = |leases: u32| format!("kinex_leases_by_state{{{whose},state=\"reading\"}} {leases}.0\n");
    second.metrics(&reading(2)).await;
    let (ended, took) = first.leave().await;
    ended.unwrap();
    assert!(took < Duration::from_secs(10), "{took:?}");
    second.metrics(&reading(4)).await;
    let before = world.judge().await.delivered;
    world.delivered(before + 100).await;
    stop.cancel();
    producer.await.unwrap().unwrap();
    let sent = world.producers().await.iter().map(ProducerRow::acknowledged).sum();
    world.all_delivered(sent).await;

    let checkpointed = format!("kinex_checkpoints_total{{{whose},outcome=\"ok\"}} ");
    let written = |metrics: &str| {
        let count = metrics.lines().find_map(|line| line.strip_prefix(&checkpointed));
        count.is_some_and(|count| count != "0")
    };
    let metrics = second.metrics_where("a checkpoint", written).await;
    for (name, labels, rest) in [
        ("kinex_leases_owned", "", "} 4.0\n"),
        ("kinex_leases_by_state", ",state=\"reading\"", "} 4.0\n"),
        ("kinex_leases_by_state", ",state=\"halted\"", "} 0.0\n"),
        ("kinex_leases_by_state", ",state=\"failing\"", "} 0.0\n"),
        ("kinex_lease_moves_total", ",reason=\"handoff\"", "} "),
        ("kinex_records_processed_total", "", "} "),
        ("kinex_records_duplicate_total", "", "} 0\n"),
        ("kinex_behind_latest_seconds", "", "} "),
        ("kinex_checkpoints_total", ",outcome=\"unreachable\"", "} 0\n"),
        ("kinex_aws_requests_total", ",api=\"GetRecords\",outcome=\"ok\"", "} "),
        ("kinex_handoff_unread_seconds_count", "", "} "),
        ("kinex_build_info", ",version=", ""),
        (
            "kinex_shard_behind_latest_seconds",
            ",shard=\"shardId-000000000000\"",
            "} ",
        ),
    ] {
        let line = format!("{name}{{{whose}{labels}{rest}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "the text is cut off");
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("kinex_aws_requests_total{"))
    {
        let api = line.split("api=\"").nth(1).unwrap().split('"').next().unwrap();
        // The tables are made by whoever is first.
        assert!(
            api == "CreateTable" || apis(Role::Consumer).contains(&api),
            "the policy of a consumer lacks {api}"
        );
    }
    second.leave().await.0.unwrap();

    let records = world.judge().await;
    let expected = Records {
        produced: sent,
        delivered: sent,
        ..Records::default()
    };
    assert_eq!(records, expected);
    let terms = world.terms().await;
    assert!(terms.len() > 4, "leases moved: {terms:?}");
    assert!(
        terms.iter().all(|term| matches!(term.end, Some((_, TermEnd::Handed)))),
        "{terms:?}"
    );
    assert!(world.producers().await.iter().all(|row| row.ended));
    let row = world.worker_row("pod-1").await;
    assert!(row.is_none_or(|row| row.departed), "left in good order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_that_vanishes_leaves_nothing_missing() {
    let world = World::start().await;
    let (producer, _) = world.produce(500, 100.0);
    let first = world.consumer("pod-0", &["checkpoint_interval_millis=500"]).start();
    first.ready().await;
    world.delivered(200).await;
    first.stop.quit.cancel();
    let second = world.consumer("pod-1", &[]).start();
    producer.await.unwrap().unwrap();
    world.all_delivered(500).await;
    second.leave().await.0.unwrap();
    first.task.await.unwrap().unwrap();
    let records = world.judge().await;
    assert_eq!((records.produced, records.missing), (500, 0), "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn throttling_and_lost_answers_lose_nothing() {
    let world = World::start().await;
    let faults = world.endpoints.faults();
    faults.add(Rule::new(Service::Kinesis, "PutRecords", Fault::Throttle).every(7));
    faults.add(Rule::new(Service::Kinesis, "PutRecords", Fault::ReplyLost).every(11));
    faults.add(Rule::new(Service::DynamoDb, "UpdateItem", Fault::ReplyLost).every(13));
    let consumer = world.consumer("pod-0", &[]).start();
    let (producer, _) = world.produce(300, 100.0);
    producer.await.unwrap().unwrap();
    let rows = world.producers().await;
    let uncertain: u64 = rows
        .iter()
        .flat_map(|row| row.lanes.values())
        .map(|sent| sent.uncertain.count())
        .sum();
    let acknowledged: u64 = rows.iter().map(ProducerRow::acknowledged).sum();
    assert_eq!(acknowledged + uncertain, 300);
    assert!(uncertain > 0, "no answer was lost");
    // The records whose answers were lost are in the stream all the same.
    world.all_delivered(300).await;
    consumer.leave().await.0.unwrap();
    let records = world.judge().await;
    assert_eq!(
        (records.missing, records.duplicates, records.reordered),
        (0, 0, 0),
        "{records:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dropped_records_are_in_the_metrics_and_in_the_audit_by_reason() {
    let world = World::start().await;
    let keys: Vec<String> = (0..20).map(|number| format!("key-{number}")).collect();
    let users: Vec<_> = keys.iter().map(|key| (key.as_str(), "{}")).collect();
    // Some of its records belong to other shards, whatever shard it is in.
    let entry = kinex_aws::Entry {
        key: "k".to_owned(),
        explicit_hash_key: Some(0),
        data: aggregate::sealed(&aggregate::message(&users)),
    };
    world.clients.sender(STREAM).put_records(&[entry]).await.unwrap();
    let consumer = world.consumer("pod-0", &[]).start();
    let whose = "application=\"orders-leases\",worker=\"pod-0\"";
    consumer
        .metrics(&format!(
            "kinex_records_dropped_total{{{whose},reason=\"out-of-range\"}} 20\n"
        ))
        .await;
    consumer.leave().await.0.unwrap();
    let records = world.judge().await;
    assert_eq!(records.dropped, [("out-of-range".to_owned(), 20)].into(), "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_processor_that_hangs_is_given_up_within_the_grace_period() {
    let world = World::start().await;
    let mut hanging = world.consumer("pod-0", &["drain_timeout_millis=1000", "grace_period_millis=8000"]);
    hanging.args.work_millis = Some(3_600_000);
    let hanging = hanging.start();
    let (producer, _) = world.produce(40, 100.0);
    producer.await.unwrap().unwrap();
    let since = Instant::now();
    while world.terms().await.iter().map(Term::delivered).sum::<u64>() == 0 {
        assert!(since.elapsed() < PATIENCE, "nothing was delivered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (ended, took) = hanging.leave().await;
    ended.unwrap();
    assert!(took < Duration::from_secs(8), "{took:?}");

    let next = world.consumer("pod-1", &[]).start();
    world.delivered(40).await;
    next.leave().await.0.unwrap();
}

/// Every request to the tables or to the stream waits for a response that never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_leaves_within_its_grace_period_whatever_is_unreachable() {
    for service in [Service::DynamoDb, Service::Kinesis] {
        let world = World::start().await;
        let set = ["drain_timeout_millis=1000", "grace_period_millis=3000"];
        let consumer = world.consumer("pod-0", &set).start();
        let (producer, _) = world.produce(40, 100.0);
        producer.await.unwrap().unwrap();
        world.delivered(40).await;
        world.endpoints.faults().add(Rule::new(service, "*", Fault::BlackHole));
        let (ended, took) = consumer.leave().await;
        ended.unwrap();
        // The period itself, and what a busy machine needs to wake everybody; a single request would last longer.
        assert!(took < Duration::from_secs(8), "{service:?}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_process_of_the_same_name_is_told_about_the_first() {
    let world = World::start().await;
    let first = world.consumer("pod-0", &[]).start();
    first.ready().await;
    let mut second = world.consumer("pod-0", &[]);
    second.args.identity_file = None;
    let second = second.start();
    let error = tokio::time::timeout(PATIENCE, second.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.exit_code(), 75, "{error}");
    let row = world.worker_row("pod-0").await.unwrap();
    let text = error.to_string();
    assert!(text.contains("pod-0") && text.contains(&row.started), "{text}");
    first.leave().await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_process_whose_row_says_that_it_has_ended_stops() {
    let world = World::start().await;
    let consumer = world.consumer("pod-0", &[]).start();
    consumer.ready().await;
    let row = world.worker_row("pod-0").await.unwrap();
    let end = WorkerWrite::End {
        process: kinex_core::lease::Process {
            worker: row.id,
            incarnation: row.incarnation,
        },
    };
    world.clients.leases(APPLICATION).write_worker(&end).await.unwrap();
    let error = tokio::time::timeout(PATIENCE, consumer.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.exit_code(), 75, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_rate_follows_the_order_in_the_workers_table() {
    let world = World::start().await;
    let (producer, stop) = world.produce(u64::MAX, 0.0);
    let since = Instant::now();
    let facts = world.clients.facts(APPLICATION);
    let (kind, id) = kinex_producer::CONTROL;
    while facts.put(kind, id, r#"{"recordsPerSecond": 200}"#).await.is_err() {
        assert!(since.elapsed() < PATIENCE, "no workers' table");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent = || async {
        world
            .producers()
            .await
            .iter()
            .map(ProducerRow::acknowledged)
            .sum::<u64>()
    };
    while sent().await < 100 {
        assert!(since.elapsed() < PATIENCE, "the order was not followed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    producer.await.unwrap().unwrap();
    let rows = world.producers().await;
    assert!(rows.iter().all(|row| row.ended), "{rows:?}");
}

#[tokio::test]
async fn what_is_not_there_is_one_clear_error() {
    let world = World::start().await;
    let mut absent = world.consumer("pod-0", &[]);
    absent.args.stream = Some("no-such-stream".to_owned());
    let error = absent.start().task.await.unwrap().unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("no-such-stream"), "{error}");

    let mut busy = world.consumer("pod-0", &[]);
    let taken = world.endpoints.kinesis_url().replace("http://", "");
    busy.args.metrics_addr = Some(taken.clone());
    let error = busy.start().task.await.unwrap().unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains(&taken), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_checkpoints_of_a_stream_are_not_used_for_the_next_one_of_its_name() {
    let world = World::start().await;
    let (producer, _) = world.produce(100, 100.0);
    let first = world.consumer("pod-0", &[]).start();
    producer.await.unwrap().unwrap();
    world.delivered(100).await;
    first.leave().await.0.unwrap();
    let again = world.consumer("pod-1", &[]).start();
    again.ready().await;
    again.leave().await.0.unwrap();

    let streams = world.clients.streams();
    streams.delete(STREAM).await.unwrap();
    streams.create(STREAM, 4).await.unwrap();
    let rows = world.clients.leases(APPLICATION).leases().await.unwrap();
    let late = world.consumer("pod-2", &[]).start();
    let error = tokio::time::timeout(PATIENCE, late.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let text = error.to_string();
    assert!(text.contains("delete the tables"), "{text}");
    assert!(text.contains(STREAM), "{text}");
    let after = world.clients.leases(APPLICATION).leases().await.unwrap();
    assert_eq!(rows.leases, after.leases, "nothing was written");

    world.clients.tables(APPLICATION).delete().await.unwrap();
    let anew = world.consumer("pod-3", &[]).start();
    anew.ready().await;
    anew.leave().await.0.unwrap();
}
