//! All streams of an endpoint, as a value that only changes when it is called. Time comes in from outside.
//!
//! The calls themselves stand beside their subject: `admin`, `listing`, `iterator`, `records`, `reshard`.

use std::collections::BTreeMap;

use super::Settings;
use super::error::{Kind, Result, ensure};
use super::rate::Bucket;
use super::stream::{Status, Stream};
use super::wire::OnStream;

/// Every emulated account and region.
pub(super) const ARN_PREFIX: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/";

/// The streams, and the time of the call that is being carried out.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) settings: Settings,
    pub(super) now: u64,
    pub(super) streams: BTreeMap<String, Stream>,
    /// Streams made so far.
    pub(super) made: u64,
    rates: BTreeMap<String, Bucket>,
}

impl Model {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: 0,
            streams: BTreeMap::new(),
            made: 0,
            rates: BTreeMap::new(),
        }
    }

    /// Lets the time go on and carries out what has become due.
    pub(super) fn advance(&mut self, now: u64) {
        // Arrival times must not decrease, whatever the machine's clock does.
        self.now = self.now.max(now);
        let bytes_max = self.settings.stream_bytes_max;
        self.streams.retain(|_, stream| {
            stream.trim(self.now, bytes_max);
            stream.settle(self.now)
        });
    }

    /// A stream in any state.
    pub(super) fn stream(&mut self, request: &impl OnStream) -> Result<&mut Stream> {
        let name = stream_name(request)?;
        self.streams
            .get_mut(name)
            .ok_or_else(|| Kind::ResourceNotFound.because(format!("stream {name} does not exist")))
    }

    /// A stream that takes and gives records.
    pub(super) fn readable(&mut self, request: &impl OnStream) -> Result<&mut Stream> {
        let stream = self.stream(request)?;
        ensure(
            matches!(stream.status, Status::Active | Status::Updating),
            Kind::ResourceNotFound,
            || {
                format!(
                    "stream {} has no shards yet: it is {}",
                    stream.name,
                    stream.status.name()
                )
            },
        )?;
        Ok(stream)
    }

    /// A stream that may be changed.
    pub(super) fn active(&mut self, request: &impl OnStream) -> Result<&mut Stream> {
        let stream = self.stream(request)?;
        ensure(stream.status == Status::Active, Kind::ResourceInUse, || {
            format!(
                "stream {} must be ACTIVE for this and is {}",
                stream.name,
                stream.status.name()
            )
        })?;
        Ok(stream)
    }

    /// Open shards of all streams, or those that are about to be.
    pub(super) fn open_shards(&self) -> usize {
        self.streams.values().map(|stream| stream.open.len()).sum()
    }

    /// Refuses to have more open shards than the account may.
    pub(super) fn has_room(&self, more: usize) -> Result<()> {
        let (open, limit) = (self.open_shards(), self.settings.shard_limit);
        ensure(open + more <= limit, Kind::LimitExceeded, || {
            format!("{open} shards are open, {more} more would exceed the limit of {limit}")
        })
    }

    /// Counts a call to an API of the control plane and refuses it when there are too many per second.
    pub(super) fn pace(&mut self, api: &str) -> Result<()> {
        if !self.settings.limits {
            return Ok(());
        }
        let Some(per_second) = calls_per_second(api) else {
            return Ok(());
        };
        let rate = self.rates.entry(api.to_owned()).or_insert(Bucket::full(per_second));
        ensure(rate.has(1, self.now), Kind::LimitExceeded, || {
            format!("more than {per_second} {api} per second")
        })?;
        rate.take(1, self.now);
        Ok(())
    }
}

pub(super) fn arn(name: &str) -> String {
    format!("{ARN_PREFIX}{name}")
}

/// The name that a request gives, by itself or in an ARN.
pub(super) fn stream_name(request: &impl OnStream) -> Result<&str> {
    let name = match request.stream() {
        (Some(name), None) => name,
        (name, Some(arn)) => {
            let named = arn
                .strip_prefix(ARN_PREFIX)
                .filter(|named| name.is_none_or(|name| name == *named));
            named.ok_or_else(|| {
                let message = format!("StreamARN {arn} is none of this endpoint, or not of the StreamName");
                Kind::ResourceNotFound.because(message)
            })?
        }
        (None, None) => return Err(Kind::InvalidArgument.because("give a StreamName or a StreamARN")),
    };
    let valid = (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    ensure(valid, Kind::Validation, || {
        "a StreamName has 1 to 128 of the characters a-z A-Z 0-9 _ . -".to_owned()
    })?;
    Ok(name)
}

/// What an account may call per second; `None` where the limit is another one.
fn calls_per_second(api: &str) -> Option<u32> {
    match api {
        "AddTagsToStream"
        | "CreateStream"
        | "DecreaseStreamRetentionPeriod"
        | "DeleteStream"
        | "IncreaseStreamRetentionPeriod"
        | "ListStreams"
        | "ListTagsForStream"
        | "MergeShards"
        | "RemoveTagsFromStream"
        | "SplitShard" => Some(5),
        "DescribeLimits" => Some(1),
        "DescribeStream" | "UpdateShardCount" => Some(10),
        "DescribeStreamSummary" => Some(20),
        _ => None,
    }
}
