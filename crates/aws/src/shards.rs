//! What ListShards and DescribeStreamSummary say, as values.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{self, StreamDescriptionSummary};
use kinex_core::id::{HashRange, SequenceNumber, ShardId};
use kinex_core::shard_map::Shard;

use crate::fault::{Asked, Failure, Subject};
use crate::stream_admin::{Distribution, StreamStatus, StreamSummary};
use crate::{Clients, Fault, FaultKind, StreamIdentity, stream_ref};

/// A listing whose pages change under it, or whose token expires, is begun anew this often.
const LISTINGS_MAX: usize = 3;

/// A page holds 1,000 shards by default; a listing that goes on for longer than this is going round in circles.
const PAGES_MAX: usize = 1000;

/// A request about a stream, for messages.
pub(crate) fn asked<'a>(clients: &'a Clients, api: &'static str, stream: &'a str) -> Asked<'a> {
    Asked {
        api,
        subject: Subject::Stream(stream),
        place: clients.kinesis_place(),
    }
}

/// The status and the figures of a stream.
pub(crate) async fn describe(clients: &Clients, client: &Client, stream: &str) -> Result<StreamSummary, Fault> {
    let asked = asked(clients, "DescribeStreamSummary", stream);
    if let (Some(its), Some(ours)) = (stream_ref::region(stream), clients.kinesis_place().region())
        && its != ours
    {
        let message = format!("the stream is in {its}, and these clients are for {ours}: give --region {its}");
        return Err(asked.fault(FaultKind::Invalid, message));
    }
    let request = client.describe_stream_summary();
    let request = request
        .set_stream_name(stream_ref::name(stream))
        .set_stream_arn(stream_ref::arn(stream));
    let answer = request.send().await;
    let answer = answer.map_err(|error| asked.failed(&Failure::of(&error)))?;
    let described = answer.stream_description_summary;
    described.map(|described| summary(&described)).ok_or_else(|| {
        let message = "the answer has no StreamDescriptionSummary; is it the right address?";
        asked.fault(FaultKind::Service, message)
    })
}

fn summary(described: &StreamDescriptionSummary) -> StreamSummary {
    let hours = u64::try_from(described.retention_period_hours).unwrap_or(0);
    StreamSummary {
        name: described.stream_name.clone(),
        identity: StreamIdentity {
            arn: described.stream_arn.clone(),
            created_millis: described.stream_creation_timestamp.to_millis().unwrap_or(0),
        },
        status: match described.stream_status {
            types::StreamStatus::Creating => StreamStatus::Creating,
            types::StreamStatus::Deleting => StreamStatus::Deleting,
            types::StreamStatus::Updating => StreamStatus::Updating,
            _ => StreamStatus::Active,
        },
        open_shards: u32::try_from(described.open_shard_count).unwrap_or(0),
        retention: Duration::from_secs(hours * 3600),
        distribution: distribution(described),
    }
}

/// On-demand streams alone have a strategy:
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateStreamRecordDistributionStrategy.html>
fn distribution(described: &StreamDescriptionSummary) -> Distribution {
    let mode = described.stream_mode_details.as_ref().map(|mode| &mode.stream_mode);
    match &described.record_distribution_strategy {
        // A strategy that is not known yet: who can tell whether it places records by their keys.
        Some(strategy) if *strategy != types::RecordDistributionStrategy::UserPartitionKey => Distribution::Auto,
        _ if mode == Some(&types::StreamMode::OnDemand) => Distribution::ByKeyForNow,
        _ => Distribution::ByKey,
    }
}

/// Every shard, in the order of the ids: all pages of one listing, or an error.
pub(crate) async fn list(clients: &Clients, client: &Client, stream: &str) -> Result<Vec<Shard>, Fault> {
    let asked = asked(clients, "ListShards", stream);
    for _ in 0..LISTINGS_MAX {
        match list_once(client, stream).await {
            Ok(shards) => {
                let shards: Result<BTreeMap<_, _>, _> = shards.iter().map(decode).collect();
                let shards = shards.map_err(|flaw| asked.fault(FaultKind::Service, flaw))?;
                return Ok(shards.into_values().collect());
            }
            Err(failure) if failure.code() == Some("ExpiredNextTokenException") => {}
            Err(failure) => return Err(asked.failed(&failure)),
        }
    }
    let message = format!("the listing's token expired {LISTINGS_MAX} times; try again");
    Err(asked.fault(FaultKind::Service, message))
}

async fn list_once(client: &Client, stream: &str) -> Result<Vec<types::Shard>, Failure> {
    let mut shards = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        // A token stands for the stream too, and must come alone.
        let request = match &token {
            Some(token) => client.list_shards().next_token(token),
            None => client
                .list_shards()
                .set_stream_name(stream_ref::name(stream))
                .set_stream_arn(stream_ref::arn(stream)),
        };
        let answer = request.send().await.map_err(|error| Failure::of(&error))?;
        shards.extend(answer.shards.unwrap_or_default());
        token = answer.next_token;
        if token.is_none() {
            return Ok(shards);
        }
    }
    Err(Failure::Garbage(format!("a listing of more than {PAGES_MAX} pages")))
}

fn decode(shard: &types::Shard) -> Result<(ShardId, Shard), String> {
    let id = ShardId::from(shard.shard_id.as_str());
    let flaw = |what: &str| format!("shard {id} has no {what}");
    let range = shard.hash_key_range.as_ref().ok_or_else(|| flaw("hash key range"))?;
    let numbers = shard
        .sequence_number_range
        .as_ref()
        .ok_or_else(|| flaw("sequence numbers"))?;
    let key = |text: &str| {
        text.parse::<u128>()
            .map_err(|_| format!("shard {id} has the hash key `{text}`"))
    };
    let decoded = Shard {
        parent: shard.parent_shard_id.as_deref().map(ShardId::from),
        adjacent_parent: shard.adjacent_parent_shard_id.as_deref().map(ShardId::from),
        hash_range: HashRange {
            start: key(&range.starting_hash_key)?,
            end: key(&range.ending_hash_key)?,
        },
        starts_at: SequenceNumber::parse(&numbers.starting_sequence_number)
            .map_err(|error| format!("shard {id}: {error}"))?,
        open: numbers.ending_sequence_number.is_none(),
        id: id.clone(),
    };
    Ok((id, decoded))
}
