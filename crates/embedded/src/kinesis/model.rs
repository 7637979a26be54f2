//! All streams of an endpoint, as a value that only changes when it is called. Time comes in from outside.
//!
//! The calls themselves stand beside their subject: `admin`, `listing`, `iterator`, `records`, `reshard`.

use std::collections::BTreeMap;

use super::error::{Kind, Result, ensure};
use super::rate::Bucket;
use super::sequence::Position;
use super::stream::{Status, Stream};
use super::wire::OnStream;
use super::{Settings, Trimmed};
use crate::tenant::Tenant;

/// The streams of one account and region, and the time of the call that is being carried out.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) settings: Settings,
    tenant: Tenant,
    pub(super) now: u64,
    pub(super) streams: BTreeMap<String, Stream>,
    /// Streams made so far; begins where no other model has been.
    pub(super) made: u64,
    /// What the streams that are gone had reached: a stream that is made again repeats none of its sequence numbers.
    pub(super) reached: Position,
    /// What the call that is being carried out does at an iterator before the trim horizon.
    pub(super) trimmed: Trimmed,
    rates: BTreeMap<String, Bucket>,
}

impl Model {
    pub(super) fn new(settings: Settings, tenant: Tenant, serial: u32) -> Self {
        Self {
            settings,
            tenant,
            now: 0,
            streams: BTreeMap::new(),
            made: u64::from(serial) << 32,
            reached: Position::START,
            trimmed: Trimmed::Skipped,
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
            let stays = stream.settle(self.now);
            if !stays {
                self.reached = self.reached.max(stream.tip());
            }
            stays
        });
    }

    /// A stream in any state.
    pub(super) fn stream(&mut self, request: &impl OnStream) -> Result<&mut Stream> {
        let name = self.stream_name(request)?;
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
                    "stream {} takes and gives records when it is ACTIVE or UPDATING; it is {}",
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

    /// The ARN of a stream.
    pub(super) fn arn(&self, name: &str) -> String {
        format!("{}stream/{name}", self.tenant.arn_prefix("kinesis"))
    }

    /// The name that a request gives, by itself or in an ARN.
    pub(super) fn stream_name<'r>(&self, request: &'r impl OnStream) -> Result<&'r str> {
        let name = match request.stream() {
            (Some(name), None) => name,
            (name, Some(arn)) => self.named_by(arn, name)?,
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

    fn named_by<'r>(&self, arn: &'r str, name: Option<&str>) -> Result<&'r str> {
        let resource = arn
            .starts_with("arn:")
            .then(|| arn.splitn(6, ':').nth(5)?.strip_prefix("stream/"))
            .flatten();
        let named = resource
            .ok_or_else(|| Kind::Validation.because(format!("StreamARN {arn} is not the ARN of a Kinesis stream")))?;
        ensure(arn == self.arn(named), Kind::ResourceNotFound, || {
            format!(
                "StreamARN {arn} is of another account or region: the request was signed for {}",
                self.tenant
            )
        })?;
        ensure(name.is_none_or(|name| name == named), Kind::InvalidArgument, || {
            format!(
                "StreamARN {arn} and StreamName {} are two streams",
                name.unwrap_or_default()
            )
        })?;
        Ok(named)
    }
}

/// What an account may call per second in a region; `None` where the limit is another one.
///
/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>; the limit of `UpdateShardCount` per
/// 24 hours and those of single shards and streams are kept where they are counted.
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
