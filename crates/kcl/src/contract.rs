//! One suite for every implementation of the ports, to be called from its crate's tests.
//!
//! Each row of a catalogue is met with each write of another, and what the store does is held against what
//! [`LeaseWrite::apply`](kinex_core::lease::LeaseWrite::apply) and
//! [`WorkerWrite::apply`](kinex_core::worker::WorkerWrite::apply) say.
//!
//! # Panics
//! The suite panics with the row, the write and both results when an implementation breaks the contract.

mod leases;
mod races;
mod stream;
mod workers;

use std::future::Future;

use bytes::Bytes;
use kinex_core::id::{SequenceNumber, ShardId};

use crate::ports::{LeaseStore, StreamReader};

/// Makes stores to be tested.
pub trait StoreBench: Sync {
    /// What it makes.
    type Store: LeaseStore;

    /// A store on empty tables that no other store has.
    fn empty(&self) -> impl Future<Output = Self::Store> + Send;

    /// Adds an attribute that the library does not know to a lease row; `false` when the store cannot hold one.
    fn scribble(&self, store: &Self::Store, key: &ShardId) -> impl Future<Output = bool> + Send {
        let _ = (store, key);
        async { false }
    }

    /// Whether that attribute is still there.
    fn scribbled(&self, store: &Self::Store, key: &ShardId) -> impl Future<Output = bool> + Send {
        let _ = (store, key);
        async { false }
    }
}

/// Makes streams to be read, and changes them.
pub trait StreamBench: Sync {
    /// What it makes.
    type Reader: StreamReader;

    /// A new stream with this many open shards.
    fn stream(&self, shards: usize) -> impl Future<Output = Self::Reader> + Send;
    /// Adds a record to the shard that this partition key belongs to.
    fn put(
        &self,
        reader: &Self::Reader,
        partition_key: &str,
        data: Bytes,
    ) -> impl Future<Output = (ShardId, SequenceNumber)> + Send;
    /// Splits a shard in the middle and waits until its children are there.
    fn split(&self, reader: &Self::Reader, shard: &ShardId) -> impl Future<Output = ()> + Send;
    /// Merges two neighbors and waits until their child is there.
    fn merge(&self, reader: &Self::Reader, low: &ShardId, high: &ShardId) -> impl Future<Output = ()> + Send;
}

/// Everything that a [`LeaseStore`] must do.
pub async fn lease_store(bench: &impl StoreBench) {
    leases::every_write_on_every_row(bench).await;
    leases::unknown_attributes_survive(bench).await;
    leases::a_scan_has_every_row_in_order(bench).await;
    workers::every_write_on_every_row(bench).await;
    workers::the_group_is_opened_once(bench).await;
    races::one_taker_wins(bench).await;
    races::one_registration_wins(bench).await;
    races::no_ask_and_no_bump_is_lost(bench).await;
    races::all_open_one_group(bench).await;
}

/// Everything that a [`StreamReader`] must do.
pub async fn stream_reader(bench: &impl StreamBench) {
    stream::records_come_in_order_from_every_place(bench).await;
    stream::a_batch_has_no_more_than_asked_for(bench).await;
    stream::a_closed_shard_ends_behind_its_last_record(bench).await;
    stream::a_merged_shard_names_both_parents(bench).await;
    stream::what_is_not_there_is_missing_or_invalid(bench).await;
}
