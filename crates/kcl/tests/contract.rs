//! The implementations in memory keep the contract of the ports.

use bytes::Bytes;
use kinex_kcl::contract::{self, StoreBench, StreamBench};
use kinex_kcl::memory::{MemoryStore, MemoryStream};
use kinex_kcl::{SequenceNumber, ShardId};

struct Memory;

impl StoreBench for Memory {
    type Store = MemoryStore;

    async fn empty(&self) -> MemoryStore {
        MemoryStore::new()
    }
}

impl StreamBench for Memory {
    type Reader = MemoryStream;

    async fn stream(&self, shards: usize) -> MemoryStream {
        MemoryStream::new(shards)
    }

    async fn put(&self, stream: &MemoryStream, partition_key: &str, data: Bytes) -> (ShardId, SequenceNumber) {
        stream.put(partition_key, data)
    }

    async fn split(&self, stream: &MemoryStream, shard: &ShardId) {
        stream.split(shard);
    }

    async fn merge(&self, stream: &MemoryStream, low: &ShardId, high: &ShardId) {
        stream.merge(low, high);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_in_memory_keep_the_contract() {
    contract::lease_store(&Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_in_memory_keeps_the_contract() {
    contract::stream_reader(&Memory).await;
}
