//! The contract suites of the ports.

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use kinex_aws::{Entry, Leases, Outcome, Reader};
use kinex_core::id::{SequenceNumber, ShardId};
use kinex_kcl::contract::{self, StoreBench, StreamBench};
use kinex_kcl::ports::StreamReader;

use crate::bench::{Bench, s};

#[tokio::test]
async fn the_lease_store_keeps_the_contract() {
    contract::lease_store(&Stores(Bench::start().await)).await;
}

#[tokio::test]
async fn the_stream_reader_keeps_the_contract() {
    contract::stream_reader(&Streams(Bench::start().await)).await;
}

struct Stores(Bench);

impl StoreBench for Stores {
    type Store = Leases;

    async fn empty(&self) -> Leases {
        self.0.store().await.0
    }

    async fn scribble(&self, store: &Leases, key: &ShardId) -> bool {
        let request = self.0.raw.update_item().table_name(store.table());
        let request = request
            .key("leaseKey", s(key.as_str()))
            .update_expression("SET margin = :note");
        request
            .expression_attribute_values(":note", note())
            .send()
            .await
            .expect("scribble");
        true
    }

    async fn scribbled(&self, store: &Leases, key: &ShardId) -> bool {
        let request = self.0.raw.get_item().table_name(store.table()).consistent_read(true);
        let answer = request.key("leaseKey", s(key.as_str())).send().await.expect("read");
        answer.item.is_some_and(|item| item.get("margin") == Some(&note()))
    }
}

fn note() -> AttributeValue {
    AttributeValue::L(vec![s("not ours"), AttributeValue::Null(true)])
}

struct Streams(Bench);

impl Streams {
    async fn shard(&self, reader: &Reader, id: &ShardId) -> kinex_core::shard_map::Shard {
        let shards = reader.shards().await.expect("shards");
        shards.into_iter().find(|shard| shard.id == *id).expect("the shard")
    }
}

impl StreamBench for Streams {
    type Reader = Reader;

    async fn stream(&self, shards: usize) -> Reader {
        let stream = self.0.name("stream");
        let shards = u32::try_from(shards).expect("few shards");
        self.0.clients.streams().create(&stream, shards).await.expect("create");
        self.0.clients.reader(&stream)
    }

    async fn put(&self, reader: &Reader, partition_key: &str, data: Bytes) -> (ShardId, SequenceNumber) {
        let entry = Entry {
            key: partition_key.to_owned(),
            explicit_hash_key: None,
            data,
        };
        let outcomes = self
            .0
            .clients
            .sender(reader.stream())
            .put_records(&[entry])
            .await
            .expect("put");
        match outcomes.into_iter().next() {
            Some(Outcome::Taken { shard, sequence }) => (shard, sequence),
            other => panic!("{other:?}"),
        }
    }

    async fn split(&self, reader: &Reader, shard: &ShardId) {
        let range = self.shard(reader, shard).await.hash_range;
        let middle = range.start + range.width() / 2 + 1;
        let children = self
            .0
            .clients
            .streams()
            .split(reader.stream(), shard, middle)
            .await
            .expect("split");
        assert_eq!(children.len(), 2, "{children:?}");
    }

    async fn merge(&self, reader: &Reader, low: &ShardId, high: &ShardId) {
        let child = self
            .0
            .clients
            .streams()
            .merge(reader.stream(), low, high)
            .await
            .expect("merge");
        assert!(child.open);
    }
}
