//! Kinesis: a model of streams, shards and records behind the wire protocol (JSON 1.1).
//!
//! The model is one value behind one mutex that is never held across an await. A request is parsed before and an answer
//! is written after it is held, so that calls pass each other. Leaves out enhanced fan-out, encryption, metrics and CBOR.

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

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::error::{Kind, Result};
use self::model::Model;
use crate::front::Answer;

/// What the model is told once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: bool,
    pub(crate) shard_limit: usize,
    pub(crate) stream_bytes_max: u64,
    pub(crate) create_delay: Duration,
    pub(crate) reshard_delay: Duration,
}

/// All streams of one endpoint.
#[derive(Debug)]
pub(crate) struct Streams(Mutex<Model>);

impl Streams {
    pub(crate) fn new(settings: Settings) -> Self {
        Self(Mutex::new(Model::new(settings)))
    }

    /// Carries a request out at `now` (milliseconds since the Unix epoch).
    pub(crate) fn call(&self, api: &str, body: &[u8], now: u64) -> Answer {
        self.dispatch(api, body, now)
            .map_or_else(|error| error.answer(), Answer::ok)
    }

    fn dispatch(&self, api: &str, body: &[u8], now: u64) -> Result<Vec<u8>> {
        let call = Call {
            streams: self,
            api,
            body,
            now,
        };
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
            "UpdateShardCount" => call.run(Model::update_shard_count),
            _ => Err(Kind::UnknownOperation.because(format!("{api} is not served by this endpoint"))),
        }
    }
}

/// One request on its way through.
struct Call<'a> {
    streams: &'a Streams,
    api: &'a str,
    body: &'a [u8],
    now: u64,
}

impl Call<'_> {
    fn run<Q, A>(&self, act: fn(&mut Model, Q) -> Result<A>) -> Result<Vec<u8>>
    where
        Q: DeserializeOwned,
        A: Serialize,
    {
        let request = read(self.body)?;
        let answer = {
            let mut model = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
            model.advance(self.now);
            model.pace(self.api)?;
            act(&mut model, request)?
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
