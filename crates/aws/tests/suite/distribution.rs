//! Streams that distribute records by themselves, from the producer's request to the processor.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, RecordDistributionStrategy, StreamMode, StreamModeDetails};
use aws_sdk_kinesis::{Client, Config, config};
use kinex_aws::Distribution;
use kinex_kcl::ports::{ReadFrom, StreamReader};
use kinex_kcl::{Checkpointer, Departure, ProcessorError, RecordBatch, RecordProcessor, ShardId, Worker, WorkerEvent};

use crate::aggregate::{message, sealed};
use crate::bench::Bench;

/// No machine is so slow that it needs longer than this.
const LIMIT: Duration = Duration::from_secs(60);

/// Aggregates, and user records of each.
const AGGREGATES: usize = 20;
const EACH: usize = 20;

/// The SDK's own client, as a producer has it.
fn producer(bench: &Bench) -> Client {
    let config = Config::builder()
        .behavior_version(config::BehaviorVersion::v2026_01_12())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(config::Region::new("us-east-1"))
        .credentials_provider(config::Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(bench.endpoints.kinesis_url());
    Client::from_conf(config.build())
}

async fn make(bench: &Bench, client: &Client, stream: &str, strategy: RecordDistributionStrategy) {
    let on_demand = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build();
    client
        .create_stream()
        .stream_name(stream)
        .stream_mode_details(on_demand.expect("a mode"))
        .record_distribution_strategy(strategy)
        .send()
        .await
        .expect("create");
    // It is there, so this waits until it is active.
    bench.clients.streams().create(stream, 4).await.expect("active");
}

/// An aggregate whose records belong to all shards by their keys.
fn aggregated(number: usize) -> Blob {
    let names: Vec<String> = (0..EACH).map(|user| format!("{number}-{user}")).collect();
    let users: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    Blob::new(sealed(&message(&users)))
}

/// Half of them one by one with a key, the other half together and without any.
async fn put_aggregates(client: &Client, stream: &str) {
    let (keyed, unkeyed) = (0..AGGREGATES / 2, AGGREGATES / 2..AGGREGATES);
    for number in keyed {
        let put = client.put_record().stream_name(stream).partition_key("same");
        put.data(aggregated(number)).send().await.expect("put");
    }
    let entry = |number| PutRecordsRequestEntry::builder().data(aggregated(number)).build();
    let entries: Result<Vec<_>, _> = unkeyed.map(entry).collect();
    let put = client.put_records().stream_name(stream);
    let put = put.set_records(Some(entries.expect("data"))).send().await;
    assert_eq!(put.expect("put").failed_record_count, Some(0));
}

/// Writes down what it is given.
struct Collector(Arc<Mutex<Vec<Vec<u8>>>>);

impl RecordProcessor for Collector {
    async fn process(&mut self, batch: &RecordBatch, _: &Checkpointer) -> Result<(), ProcessorError> {
        let data = batch.records.iter().map(|record| record.data.to_vec());
        self.0.lock().expect("no panic").extend(data);
        Ok(())
    }

    async fn shard_ended(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        Ok(())
    }

    async fn shutdown_requested(&mut self, _: &Checkpointer) -> Result<(), ProcessorError> {
        Ok(())
    }
}

/// Reads a stream until so many records are delivered; returns them, and how many were dropped.
async fn deliveries(bench: &Bench, stream: &str, at_least: usize) -> (Vec<Vec<u8>>, u64) {
    let (store, _) = bench.store().await;
    let found = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&found);
    let worker = Worker::builder(store, bench.clients.reader(stream), move |_: &ShardId| {
        Collector(Arc::clone(&collected))
    })
    .worker_id("worker-0")
    .build()
    .expect("the settings are good");
    let handle = worker.handle();
    let mut events = handle.subscribe();
    let run = tokio::spawn(worker.run());
    let delivered = async {
        while found.lock().expect("no panic").len() < at_least {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, delivered).await.expect("all are delivered");
    handle.shutdown(Departure::Release).await;
    run.await.expect("no panic").expect("it leaves in good order");
    let mut dropped = 0;
    while let Ok(event) = events.try_recv() {
        if let WorkerEvent::RecordsDropped { records, .. } = event {
            dropped += records;
        }
    }
    let found = found.lock().expect("no panic").clone();
    (found, dropped)
}

#[tokio::test]
async fn stream_that_distributes_records_delivers_every_user_record_once() {
    let bench = Bench::start().await;
    let client = producer(&bench);
    make(&bench, &client, "auto", RecordDistributionStrategy::Auto).await;
    let described = bench.clients.streams().describe("auto").await.expect("describe");
    assert_eq!(described.distribution, Distribution::Auto);
    put_aggregates(&client, "auto").await;
    let all = AGGREGATES * EACH;
    let (found, dropped) = deliveries(&bench, "auto", all).await;
    let distinct: BTreeSet<_> = found.iter().collect();
    assert_eq!((found.len(), distinct.len(), dropped), (all, all, 0));
}

#[tokio::test]
async fn stream_that_was_switched_delivers_what_came_since() {
    let bench = Bench::start().await;
    let client = producer(&bench);
    make(&bench, &client, "later", RecordDistributionStrategy::UserPartitionKey).await;
    let described = bench.clients.streams().describe("later").await.expect("describe");
    assert_eq!(described.distribution, Distribution::ByKeyForNow);
    client
        .update_stream_record_distribution_strategy()
        .stream_arn(described.identity.arn)
        .record_distribution_strategy(RecordDistributionStrategy::Auto)
        .send()
        .await
        .expect("update");
    put_aggregates(&client, "later").await;
    let all = AGGREGATES * EACH;
    let (found, dropped) = deliveries(&bench, "later", all).await;
    assert_eq!((found.len(), dropped), (all, 0));
}

#[tokio::test]
async fn record_without_partition_key_is_read_without_one() {
    let bench = Bench::start().await;
    let client = producer(&bench);
    make(&bench, &client, "auto", RecordDistributionStrategy::Auto).await;
    let put = client.put_record().stream_name("auto").data(Blob::new("no key"));
    let put = put.send().await.expect("put");
    let reader = bench.clients.reader("auto");
    let shard = ShardId::from(put.shard_id);
    let iterator = reader.iterator(&shard, &ReadFrom::TrimHorizon).await.expect("iterator");
    let batch = reader.read(&iterator, 10).await.expect("read");
    assert_eq!(batch.records.len(), 1);
    assert_eq!(batch.records[0].partition_key, None);
}
