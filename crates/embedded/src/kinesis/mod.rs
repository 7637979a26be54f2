//! Kinesis: a model of streams, shards and records behind the wire protocol (JSON 1.1; CBOR is translated before).
//!
//! The model is one value behind one mutex that is never held across an await. A request is parsed before and an answer
//! is written after it is held, so that calls pass each other. Leaves out enhanced fan-out, encryption and metrics.

mod admin;
mod error;
mod iterator;
mod listing;
mod model;
mod rate;
mod records;
mod reshard;
mod sequence;
mod shard;
mod stream;
#[cfg(test)]
mod tests;
mod token;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::error::{Kind, Result, ensure};
use self::model::Model;
use self::stream::Stream;
use crate::answer::Answer;
use crate::tenant::Tenant;

/// What the model is told once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: bool,
    pub(crate) shard_limit: usize,
    pub(crate) stream_bytes_max: u64,
    pub(crate) create_delay: Duration,
    pub(crate) reshard_delay: Duration,
}

/// What GetRecords does at an iterator whose records have gone past retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trimmed {
    /// It goes on at the oldest record that is left.
    Skipped,
    /// It never gets past them.
    Stalls,
}

/// Accounts and regions that have streams.
const TENANTS_MAX: usize = 64;

/// All streams of one endpoint.
#[derive(Debug)]
pub(crate) struct Streams {
    settings: Settings,
    models: Mutex<BTreeMap<Tenant, Model>>,
    /// Models made so far.
    made: AtomicU32,
}

impl Streams {
    pub(crate) fn new(settings: Settings) -> Self {
        let models = Mutex::default();
        let made = AtomicU32::new(0);
        Self { settings, models, made }
    }

    /// Carries a request out at `now` (milliseconds since the Unix epoch).
    pub(crate) fn call(&self, tenant: &Tenant, api: &str, body: &[u8], now: u64, trimmed: Trimmed) -> Answer {
        Call {
            streams: self,
            tenant,
            api,
            body,
            now,
            trimmed,
        }
        .answer()
    }

    /// Forgets the records that the streams of this name have now, in all accounts and regions. Returns how many they were;
    /// `None` when there is no such stream.
    pub(crate) fn trim(&self, name: &str) -> Option<usize> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = models.values_mut().filter_map(|model| model.streams.get_mut(name));
        streams.map(Stream::forget).reduce(|one, other| one + other)
    }
}

/// One request on its way through.
struct Call<'a> {
    streams: &'a Streams,
    tenant: &'a Tenant,
    api: &'a str,
    body: &'a [u8],
    now: u64,
    trimmed: Trimmed,
}

impl Call<'_> {
    fn answer(&self) -> Answer {
        self.dispatch().map_or_else(|error| error.answer(), Answer::ok)
    }

    fn dispatch(&self) -> Result<Vec<u8>> {
        let (call, api) = (self, self.api);
        match api {
            "AddTagsToStream" => call.run(Model::add_tags),
            "CreateStream" => call.run(Model::create_stream),
            "DecreaseStreamRetentionPeriod" => call.run(Model::decrease_retention),
            "DeleteStream" => call.run(Model::delete_stream),
            "DescribeLimits" => call.run(Model::describe_limits),
            "DescribeStream" => call.run(Model::describe_stream),
            "DescribeStreamSummary" => call.run(Model::describe_stream_summary),
            "GetRecords" => call.run(Model::get_records),
            "GetShardIterator" => call.run(Model::get_shard_iterator),
            "IncreaseStreamRetentionPeriod" => call.run(Model::increase_retention),
            "ListShards" => call.run(Model::list_shards),
            "ListStreams" => call.run(Model::list_streams),
            "ListTagsForStream" => call.run(Model::list_tags),
            "MergeShards" => call.run(Model::merge_shards),
            "PutRecord" => call.run(Model::put_record),
            "PutRecords" => call.run(Model::put_records),
            "RemoveTagsFromStream" => call.run(Model::remove_tags),
            "SplitShard" => call.run(Model::split_shard),
            "UpdateMaxRecordSize" => call.run(Model::update_max_record_size),
            "UpdateShardCount" => call.run(Model::update_shard_count),
            "UpdateStreamRecordDistributionStrategy" => call.run(Model::update_distribution),
            "DeregisterStreamConsumer"
            | "DescribeStreamConsumer"
            | "ListStreamConsumers"
            | "RegisterStreamConsumer"
            | "SubscribeToShard" => Err(Kind::UnknownOperation.because(format!(
                "{api} is not served by this endpoint: it has no enhanced fan-out. Read by polling with GetRecords; \
                 in the Kinesis Client Library for Java, give the RetrievalConfig a PollingConfig"
            ))),
            _ => Err(Kind::UnknownOperation.because(format!("{api} is not served by this endpoint"))),
        }
    }

    /// The streams of the caller's account and region.
    fn model<'m>(&self, models: &'m mut BTreeMap<Tenant, Model>) -> Result<&'m mut Model> {
        if !models.contains_key(self.tenant) {
            if models.len() >= TENANTS_MAX {
                models.retain(|_, model| !model.streams.is_empty());
            }
            ensure(models.len() < TENANTS_MAX, Kind::LimitExceeded, || {
                format!(
                    "this endpoint serves {TENANTS_MAX} accounts and regions at most: {} is one more",
                    self.tenant
                )
            })?;
        }
        let settings = self.streams.settings;
        let serial = || self.streams.made.fetch_add(1, Ordering::Relaxed);
        let new = || Model::new(settings, self.tenant.clone(), serial());
        Ok(models.entry(self.tenant.clone()).or_insert_with(new))
    }

    fn run<Q, A>(&self, act: fn(&mut Model, Q) -> Result<A>) -> Result<Vec<u8>>
    where
        Q: DeserializeOwned,
        A: Serialize,
    {
        let request = read(self.body)?;
        let answer = {
            let mut models = self.streams.models.lock().unwrap_or_else(PoisonError::into_inner);
            let model = self.model(&mut models)?;
            model.advance(self.now);
            model.pace(self.api)?;
            model.trimmed = self.trimmed;
            act(model, request)?
        };
        let body = serde_json::to_vec(&answer).expect("answers have text keys and finite numbers only");
        // An answer without content is an empty body.
        Ok(if body == b"{}" { Vec::new() } else { body })
    }
}

fn read<Q: DeserializeOwned>(body: &[u8]) -> Result<Q> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let kind = if text.starts_with("missing field") {
            Kind::Validation
        } else {
            Kind::Serialization
        };
        kind.because(text)
    })
}
