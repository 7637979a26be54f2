//! Making, deleting and describing streams; retention, tags, limits.

use super::error::{Kind, Result, ensure};
use super::model::Model;
use super::stream::{Change, Distribution, Due, Status, Stream};
use super::wire::{self, Nothing, OnStream};
use crate::clock::millis;

/// Open shards of an on-demand stream at its start.
const ON_DEMAND_SHARDS: usize = 4;
const TAGS_MAX: usize = 50;
/// The largest record of a stream that was given no other maximum, in KiB.
const RECORD_KIB: u64 = 1_024;
/// The bounds of a stream's own maximum, in KiB:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateMaxRecordSize.html>
const RECORD_KIB_BOUNDS: std::ops::RangeInclusive<u64> = RECORD_KIB..=10_240;
/// Streams that may be CREATING at a time.
const CREATING_MAX: usize = 5;

impl Model {
    pub(super) fn create_stream(&mut self, request: wire::CreateStream) -> Result<Nothing> {
        let name = self.stream_name(&request)?.to_owned();
        let max_record_kib = request.max_record_size_in_ki_b.map_or(Ok(RECORD_KIB), record_kib)?;
        let on_demand = request
            .stream_mode_details
            .is_some_and(|mode| mode.stream_mode == "ON_DEMAND");
        let distribution = distribution(request.record_distribution_strategy.as_deref(), on_demand)?;
        let shards = match request.shard_count {
            None if on_demand => ON_DEMAND_SHARDS,
            count => count
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| *count > 0)
                .ok_or_else(|| {
                    Kind::Validation.because("ShardCount must be at least 1, or the StreamMode ON_DEMAND")
                })?,
        };
        ensure(!self.streams.contains_key(&name), Kind::ResourceInUse, || {
            format!("stream {name} exists already")
        })?;
        let opening: Vec<usize> = self
            .streams
            .values()
            .filter_map(|stream| match stream.due.as_ref()?.change {
                Change::Open { shards } => Some(shards),
                _ => None,
            })
            .collect();
        ensure(
            !self.settings.limits || opening.len() < CREATING_MAX,
            Kind::LimitExceeded,
            || format!("{CREATING_MAX} streams are CREATING already"),
        )?;
        self.has_room(shards.saturating_add(opening.iter().sum()))?;
        let due = Due {
            at: self.now + millis(self.settings.create_delay),
            change: Change::Open { shards },
        };
        self.made += 1;
        let mut stream = Stream::new(name.clone(), self.arn(&name), self.now, self.made, on_demand, due);
        stream.start_after(self.reached);
        stream.max_record_kib = max_record_kib;
        stream.distribution = distribution;
        stream.tags = request.tags.unwrap_or_default();
        // A delay of zero makes an ACTIVE stream at once.
        stream.settle(self.now);
        self.streams.insert(name, stream);
        Ok(Nothing {})
    }

    pub(super) fn delete_stream(&mut self, request: wire::DeleteStream) -> Result<Nothing> {
        let at = self.now + millis(self.settings.create_delay);
        let stream = self.stream(&request)?;
        let deleting = stream.status == Status::Deleting;
        ensure(!deleting, Kind::ResourceInUse, || {
            format!("stream {} is DELETING already", stream.name)
        })?;
        stream.status = Status::Deleting;
        stream.due = Some(Due {
            at,
            change: Change::Delete,
        });
        Ok(Nothing {})
    }

    pub(super) fn describe_stream(&mut self, request: wire::DescribeStream) -> Result<wire::DescribeStreamAnswer> {
        let now = self.now;
        let limit = page(request.limit, 100, 10_000)?;
        let stream = self.stream(&request)?;
        let (shards, more) =
            super::listing::shards_after(stream, request.exclusive_start_shard_id.as_deref(), limit, now)?;
        let mut description = describe(stream);
        (description.shards, description.has_more_shards) = (Some(shards), Some(more));
        Ok(wire::DescribeStreamAnswer {
            stream_description: description,
        })
    }

    pub(super) fn describe_stream_summary(
        &mut self,
        request: wire::DescribeStreamSummary,
    ) -> Result<wire::DescribeStreamSummaryAnswer> {
        let stream = self.stream(&request)?;
        let mut description = describe(stream);
        (description.open_shard_count, description.consumer_count) = (Some(stream.open.len()), Some(0));
        description.max_record_size_in_ki_b = Some(stream.max_record_kib);
        description.record_distribution_strategy = stream.on_demand.then_some(stream.distribution.name());
        Ok(wire::DescribeStreamSummaryAnswer {
            stream_description_summary: description,
        })
    }

    pub(super) fn describe_limits(&mut self, _: wire::DescribeLimits) -> Result<wire::Limits> {
        let on_demand_stream_count = self.streams.values().filter(|stream| stream.on_demand).count();
        Ok(wire::Limits {
            shard_limit: self.settings.shard_limit,
            open_shard_count: self.open_shards(),
            on_demand_stream_count,
            on_demand_stream_count_limit: 50,
        })
    }

    pub(super) fn increase_retention(&mut self, request: wire::Retention) -> Result<Nothing> {
        self.retain(&request, |wanted, present| wanted >= present, "at least")
    }

    pub(super) fn decrease_retention(&mut self, request: wire::Retention) -> Result<Nothing> {
        self.retain(&request, |wanted, present| wanted <= present, "at most")
    }

    fn retain(&mut self, request: &wire::Retention, fits: fn(u64, u64) -> bool, bound: &str) -> Result<Nothing> {
        let hours = u64::try_from(request.retention_period_hours).unwrap_or(0);
        let stream = self.active(request)?;
        ensure((24..=8_760).contains(&hours), Kind::InvalidArgument, || {
            "RetentionPeriodHours must be 24 to 8760".to_owned()
        })?;
        ensure(fits(hours, stream.retention_hours), Kind::InvalidArgument, || {
            format!(
                "RetentionPeriodHours must be {bound} the present {}",
                stream.retention_hours
            )
        })?;
        stream.retention_hours = hours;
        Ok(Nothing {})
    }

    pub(super) fn update_max_record_size(&mut self, request: wire::UpdateMaxRecordSize) -> Result<Nothing> {
        let kib = record_kib(request.max_record_size_in_ki_b)?;
        self.active(&request)?.max_record_kib = kib;
        Ok(Nothing {})
    }

    /// Takes effect at once, on the records that come from now on.
    pub(super) fn update_distribution(&mut self, request: wire::UpdateDistribution) -> Result<Nothing> {
        let named = OnStream::stream(&request).1.is_some();
        ensure(named, Kind::Validation, || {
            "UpdateStreamRecordDistributionStrategy needs a StreamARN".to_owned()
        })?;
        let stream = self.active(&request)?;
        stream.distribution = distribution(Some(&request.record_distribution_strategy), stream.on_demand)?;
        Ok(Nothing {})
    }

    pub(super) fn add_tags(&mut self, request: wire::AddTags) -> Result<Nothing> {
        let stream = self.stream(&request)?;
        let mut tags = stream.tags.clone();
        tags.extend(request.tags);
        ensure(tags.len() <= TAGS_MAX, Kind::InvalidArgument, || {
            format!("a stream has at most {TAGS_MAX} tags")
        })?;
        stream.tags = tags;
        Ok(Nothing {})
    }

    pub(super) fn remove_tags(&mut self, request: wire::RemoveTags) -> Result<Nothing> {
        let stream = self.stream(&request)?;
        for key in &request.tag_keys {
            stream.tags.remove(key);
        }
        Ok(Nothing {})
    }

    pub(super) fn list_tags(&mut self, request: wire::ListTags) -> Result<wire::Tags> {
        let limit = page(request.limit, TAGS_MAX, TAGS_MAX)?;
        let stream = self.stream(&request)?;
        let after = request.exclusive_start_tag_key.unwrap_or_default();
        let mut rest = stream.tags.iter().filter(|(key, _)| **key > after);
        let tag = |(key, value): (&String, &String)| wire::Tag {
            key: key.clone(),
            value: value.clone(),
        };
        let tags = rest.by_ref().take(limit).map(tag).collect();
        Ok(wire::Tags {
            tags,
            has_more_tags: rest.next().is_some(),
        })
    }
}

/// A maximum of record sizes within its bounds.
fn record_kib(requested: i64) -> Result<u64> {
    u64::try_from(requested)
        .ok()
        .filter(|kib| RECORD_KIB_BOUNDS.contains(kib))
        .ok_or_else(|| {
            let (min, max) = (RECORD_KIB_BOUNDS.start(), RECORD_KIB_BOUNDS.end());
            Kind::Validation.because(format!("MaxRecordSizeInKiB must be {min} to {max}, not {requested}"))
        })
}

/// How records are distributed: as asked for, within what the capacity mode allows.
fn distribution(requested: Option<&str>, on_demand: bool) -> Result<Distribution> {
    let strategy = requested.map_or(Ok(Distribution::default()), Distribution::of)?;
    let allowed = on_demand || strategy != Distribution::Auto;
    ensure(allowed, Kind::InvalidArgument, || {
        "the RecordDistributionStrategy AUTO is for streams with the StreamMode ON_DEMAND".to_owned()
    })?;
    Ok(strategy)
}

/// The size of a page: what is asked for, within bounds.
pub(super) fn page(asked: Option<i64>, default: usize, max: usize) -> Result<usize> {
    let Some(asked) = asked else { return Ok(default) };
    usize::try_from(asked)
        .ok()
        .filter(|asked| (1..=max).contains(asked))
        .ok_or_else(|| Kind::Validation.because(format!("a page has 1 to {max} entries, not {asked}")))
}

pub(super) fn summarize(stream: &Stream) -> wire::StreamSummary {
    let mode = if stream.on_demand { "ON_DEMAND" } else { "PROVISIONED" };
    wire::StreamSummary {
        stream_name: stream.name.clone(),
        stream_arn: stream.arn.clone(),
        stream_status: stream.status.name(),
        stream_mode_details: wire::StreamMode {
            stream_mode: mode.to_owned(),
        },
        stream_creation_timestamp: wire::seconds(stream.created),
    }
}

fn describe(stream: &Stream) -> wire::Description {
    wire::Description {
        summary: summarize(stream),
        retention_period_hours: stream.retention_hours,
        enhanced_monitoring: vec![wire::EnhancedMetrics {
            shard_level_metrics: Vec::new(),
        }],
        encryption_type: "NONE",
        shards: None,
        has_more_shards: None,
        open_shard_count: None,
        consumer_count: None,
        max_record_size_in_ki_b: None,
        record_distribution_strategy: None,
    }
}
