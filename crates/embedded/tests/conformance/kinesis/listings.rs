//! ListShards: pages and filters.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::builders::ShardFilterBuilder;
use aws_sdk_kinesis::types::{Shard, ShardFilter, ShardFilterType};

use super::FIRST;
use crate::clients::{Kinesis, is_open};
use crate::suite::{Check, Checked, Facts, Failure, checks, code};

const A_SECOND: Duration = Duration::from_millis(1_100);

pub(super) fn all(at: &Kinesis) -> Vec<Check> {
    checks![at;
        "ListShards gives its shards page by page" => list_pages,
        "a NextToken of ListShards stands alone" => token_alone,
        "a made-up NextToken is refused" => made_up_token,
        "ListShards goes on after a shard" => list_after,
        "the filter AT_LATEST gives open shards" => at_latest,
        "the filter AT_TRIM_HORIZON gives the shards of the beginning" => at_trim_horizon,
        "the filter FROM_TRIM_HORIZON gives all shards" => from_trim_horizon,
        "the filter AFTER_SHARD_ID gives what comes after" => after_shard_id,
        "the filter AT_TIMESTAMP gives the shards of that time" => at_timestamp,
        "the filter FROM_TIMESTAMP gives the shards since then" => from_timestamp,
    ]
}

async fn list_pages(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(5).await?;
    let mut page = at.client.list_shards().stream_name(&name).max_results(2).send().await?;
    let (mut found, mut pages) = (Vec::new(), 1);
    loop {
        found.extend(page.shards.unwrap_or_default().into_iter().map(|shard| shard.shard_id));
        let Some(next) = page.next_token.filter(|_| pages < 5) else {
            break;
        };
        page = at.client.list_shards().next_token(next).max_results(2).send().await?;
        pages += 1;
    }
    facts.same((found.len(), pages), (5, 3), "shards and pages");
    facts.holds(found.windows(2).all(|pair| pair[0] < pair[1]), "sorted, none twice");
    Ok(facts)
}

async fn token_alone(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    let page = at.client.list_shards().stream_name(&name).max_results(1).send().await?;
    let both = at
        .client
        .list_shards()
        .stream_name(&name)
        .set_next_token(page.next_token)
        .send()
        .await;
    facts.same(code(both).as_str(), "InvalidArgumentException", "with the name");
    Ok(facts)
}

async fn made_up_token(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let listed = at.client.list_shards().next_token("bWFkZSB1cA==").send().await;
    facts.same(code(listed).as_str(), "InvalidArgumentException", "ListShards");
    Ok(facts)
}

async fn list_after(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(3).await?;
    let ask = at
        .client
        .list_shards()
        .stream_name(&name)
        .exclusive_start_shard_id(FIRST);
    facts.same(ids(ask.send().await?.shards()), vec![1, 2], "shards");
    Ok(facts)
}

/// A stream of one shard that was split more than a second after the returned time, and more than a second ago: some
/// implementations know whole seconds only.
async fn split_since(at: &Kinesis) -> Result<&(String, DateTime), Failure> {
    at.split
        .get_or_try_init(async || {
            let name = at.stream(1).await?;
            tokio::time::sleep(A_SECOND).await;
            let before = DateTime::from(SystemTime::now());
            tokio::time::sleep(A_SECOND).await;
            at.split(&name, FIRST, 1 << 127).await?;
            tokio::time::sleep(A_SECOND).await;
            Ok((name, before))
        })
        .await
}

async fn filtered(at: &Kinesis, name: &str, filter: ShardFilterBuilder) -> Result<Vec<u32>, Failure> {
    let answer = at
        .client
        .list_shards()
        .stream_name(name)
        .shard_filter(filter.build()?)
        .send()
        .await?;
    Ok(ids(answer.shards()))
}

fn ids(shards: &[Shard]) -> Vec<u32> {
    let mut ids: Vec<u32> = shards
        .iter()
        .filter_map(|shard| shard.shard_id.get(8..)?.parse().ok())
        .collect();
    ids.sort_unstable();
    ids
}

async fn at_latest(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = split_since(&at).await?;
    let open = at.shards(name).await?.iter().filter(|shard| is_open(shard)).count();
    facts.same(open, 2, "open without a filter");
    let filter = ShardFilter::builder().r#type(ShardFilterType::AtLatest);
    facts.same(filtered(&at, name, filter).await?, vec![1, 2], "shards");
    Ok(facts)
}

async fn at_trim_horizon(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = split_since(&at).await?;
    let filter = ShardFilter::builder().r#type(ShardFilterType::AtTrimHorizon);
    facts.same(filtered(&at, name, filter).await?, vec![0], "shards");
    Ok(facts)
}

async fn from_trim_horizon(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = split_since(&at).await?;
    let filter = ShardFilter::builder().r#type(ShardFilterType::FromTrimHorizon);
    facts.same(filtered(&at, name, filter).await?, vec![0, 1, 2], "shards");
    Ok(facts)
}

async fn after_shard_id(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = split_since(&at).await?;
    let filter = ShardFilter::builder()
        .r#type(ShardFilterType::AfterShardId)
        .shard_id(FIRST);
    facts.same(filtered(&at, name, filter).await?, vec![1, 2], "shards");
    let bare = ShardFilter::builder().r#type(ShardFilterType::AfterShardId).build()?;
    let refused = at
        .client
        .list_shards()
        .stream_name(name)
        .shard_filter(bare)
        .send()
        .await;
    facts.same(code(refused).as_str(), "InvalidArgumentException", "without a shard id");
    Ok(facts)
}

async fn at_timestamp(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, before) = split_since(&at).await?;
    let filter = ShardFilter::builder().r#type(ShardFilterType::AtTimestamp);
    facts.same(
        filtered(&at, name, filter.clone().timestamp(*before)).await?,
        vec![0],
        "before the split",
    );
    let now = DateTime::from(SystemTime::now());
    facts.same(filtered(&at, name, filter.timestamp(now)).await?, vec![1, 2], "now");
    Ok(facts)
}

async fn from_timestamp(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, before) = split_since(&at).await?;
    let filter = ShardFilter::builder().r#type(ShardFilterType::FromTimestamp);
    facts.same(
        filtered(&at, name, filter.clone().timestamp(*before)).await?,
        vec![0, 1, 2],
        "since before the split",
    );
    let now = DateTime::from(SystemTime::now());
    facts.same(
        filtered(&at, name, filter.timestamp(now)).await?,
        vec![1, 2],
        "since now",
    );
    Ok(facts)
}
