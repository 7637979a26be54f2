//! The requests and answers as they stand on the wire (JSON 1.1). Times are seconds since the Unix epoch.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};

/// A request that names its stream by name or ARN.
pub(super) trait OnStream {
    fn stream(&self) -> (Option<&str>, Option<&str>);
}

macro_rules! on_stream {
    ($($(#[$doc:meta])* $request:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "PascalCase")]
        pub(super) struct $request {
            stream_name: Option<String>,
            #[serde(rename = "StreamARN")]
            stream_arn: Option<String>,
            $($(#[$meta])* pub(super) $field: $type,)*
        }

        impl OnStream for $request {
            fn stream(&self) -> (Option<&str>, Option<&str>) {
                (self.stream_name.as_deref(), self.stream_arn.as_deref())
            }
        }
    )*};
}

on_stream! {
    AddTags { tags: BTreeMap<String, String>, }
    CreateStream {
        shard_count: Option<i64>,
        stream_mode_details: Option<StreamMode>,
        tags: Option<BTreeMap<String, String>>,
        max_record_size_in_ki_b: Option<i64>,
        record_distribution_strategy: Option<String>,
    }
    DeleteStream {}
    DescribeStream { limit: Option<i64>, exclusive_start_shard_id: Option<String>, }
    DescribeStreamSummary {}
    GetShardIterator {
        shard_id: String,
        shard_iterator_type: String,
        starting_sequence_number: Option<String>,
        timestamp: Option<f64>,
    }
    ListShards {
        next_token: Option<String>,
        exclusive_start_shard_id: Option<String>,
        max_results: Option<i64>,
        shard_filter: Option<ShardFilter>,
    }
    ListTags { exclusive_start_tag_key: Option<String>, limit: Option<i64>, }
    MergeShards { shard_to_merge: String, adjacent_shard_to_merge: String, }
    PutRecord { data: Data, partition_key: Option<String>, explicit_hash_key: Option<String>, }
    PutRecords { records: Vec<PutRecordsEntry>, }
    RemoveTags { tag_keys: Vec<String>, }
    Retention { retention_period_hours: i64, }
    SplitShard { shard_to_split: String, new_starting_hash_key: String, }
    UpdateMaxRecordSize { max_record_size_in_ki_b: i64, }
    UpdateShardCount { target_shard_count: i64, scaling_type: String, }
    UpdateDistribution { record_distribution_strategy: String, }
}

#[derive(Debug, Deserialize)]
pub(super) struct DescribeLimits {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecords {
    pub(super) shard_iterator: String,
    pub(super) limit: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListStreams {
    pub(super) limit: Option<i64>,
    pub(super) exclusive_start_stream_name: Option<String>,
    pub(super) next_token: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamMode {
    pub(super) stream_mode: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShardFilter {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) shard_id: Option<String>,
    pub(super) timestamp: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecordsEntry {
    pub(super) data: Data,
    pub(super) partition_key: Option<String>,
    pub(super) explicit_hash_key: Option<String>,
}

/// Base64 that was checked, and how many bytes it stands for.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) base64: String,
    pub(super) size: u64,
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let base64 = String::deserialize(deserializer)?;
        let data = STANDARD
            .decode(&base64)
            .map_err(|_| serde::de::Error::custom("Data is not base64"))?;
        Ok(Self {
            base64,
            size: data.len() as u64,
        })
    }
}

/// An answer without content: a success is an empty body.
#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put {
    pub(super) shard_id: String,
    pub(super) sequence_number: String,
}

#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "PascalCase")]
pub(super) enum PutResult {
    Done(Put),
    Failed {
        error_code: &'static str,
        error_message: String,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutRecordsAnswer {
    pub(super) failed_record_count: usize,
    pub(super) records: Vec<PutResult>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShardIterator {
    pub(super) shard_iterator: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetRecordsAnswer {
    pub(super) records: Vec<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_shard_iterator: Option<String>,
    pub(super) millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) child_shards: Vec<ChildShard>,
}

/// A record, borrowed from the model until it is on the wire.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) shard: u32,
    pub(super) record: std::sync::Arc<super::shard::Record>,
}

impl Serialize for Record {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Shown<'a> {
            sequence_number: String,
            approximate_arrival_timestamp: f64,
            data: &'a str,
            /// Absent when the producer gave none, which is not the same as an empty one.
            #[serde(skip_serializing_if = "Option::is_none")]
            partition_key: Option<&'a str>,
        }
        let super::shard::Record {
            position,
            arrived,
            partition_key,
            data,
            size: _,
        } = self.record.as_ref();
        Shown {
            sequence_number: position.number(self.shard),
            approximate_arrival_timestamp: seconds(*arrived),
            data,
            partition_key: partition_key.as_deref(),
        }
        .serialize(serializer)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChildShard {
    pub(super) shard_id: String,
    pub(super) parent_shards: Vec<String>,
    pub(super) hash_key_range: HashKeyRange,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HashKeyRange {
    pub(super) starting_hash_key: String,
    pub(super) ending_hash_key: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SequenceNumberRange {
    pub(super) starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ending_sequence_number: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shard {
    pub(super) shard_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) adjacent_parent_shard_id: Option<String>,
    pub(super) hash_key_range: HashKeyRange,
    pub(super) sequence_number_range: SequenceNumberRange,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListShardsAnswer {
    pub(super) shards: Vec<Shard>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListStreamsAnswer {
    pub(super) stream_names: Vec<String>,
    pub(super) stream_summaries: Vec<StreamSummary>,
    pub(super) has_more_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StreamSummary {
    pub(super) stream_name: String,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: String,
    pub(super) stream_status: &'static str,
    pub(super) stream_mode_details: StreamMode,
    pub(super) stream_creation_timestamp: f64,
}

/// What DescribeStream and DescribeStreamSummary have in common, and what each of them adds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Description {
    #[serde(flatten)]
    pub(super) summary: StreamSummary,
    pub(super) retention_period_hours: u64,
    pub(super) enhanced_monitoring: Vec<EnhancedMetrics>,
    pub(super) encryption_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shards: Option<Vec<Shard>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) has_more_shards: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) open_shard_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) consumer_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_record_size_in_ki_b: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) record_distribution_strategy: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EnhancedMetrics {
    pub(super) shard_level_metrics: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeStreamAnswer {
    pub(super) stream_description: Description,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeStreamSummaryAnswer {
    pub(super) stream_description_summary: Description,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Limits {
    pub(super) shard_limit: usize,
    pub(super) open_shard_count: usize,
    pub(super) on_demand_stream_count: usize,
    pub(super) on_demand_stream_count_limit: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tags {
    pub(super) tags: Vec<Tag>,
    pub(super) has_more_tags: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ShardCount {
    pub(super) stream_name: String,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: String,
    pub(super) current_shard_count: usize,
    pub(super) target_shard_count: usize,
}

/// Milliseconds as the wire's seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of the next millennia fit into 53 bits"
)]
pub(super) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}

/// The wire's seconds as whole milliseconds, so that a time that has been does not lie in the future; a time before 1970
/// is 1970.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such casts saturate"
)]
pub(super) fn millis(seconds: f64) -> u64 {
    // A float of today's seconds is exact to a quarter of a microsecond: a whole millisecond must not become one less.
    (seconds * 1_000.0 + 0.000_5).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_milliseconds_survive_the_wire_and_parts_are_cut_off() {
        for at in [0, 1, 999, 1_790_000_000_123, 1_790_000_000_999, 4_102_444_799_999] {
            assert_eq!(millis(seconds(at)), at);
        }
        assert_eq!(millis(1_790_000_000.123_99), 1_790_000_000_123);
        assert_eq!(millis(-5.0), 0);
    }
}
