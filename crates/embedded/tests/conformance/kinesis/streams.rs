//! Streams: made, described, deleted.

use aws_sdk_kinesis::types::{ShardIteratorType, StreamStatus};

use super::FIRST;
use crate::clients::{Kinesis, TRIES, range};
use crate::suite::{Check, Checked, Facts, Failure, checks, code, eventually};

pub(super) fn all(at: &Kinesis) -> Vec<Check> {
    checks![at;
        "a stream is CREATING and then ACTIVE" => creating,
        "a stream that exists is not made again" => twice,
        "a missing stream is ResourceNotFound" => missing,
        "a name with a blank is refused" => bad_name,
        "a stream of no shards is refused" => no_shards,
        "the shards cover the hash keys evenly" => even,
        "DescribeStream gives its shards page by page" => describe_pages,
        "DescribeStreamSummary counts open shards" => summary,
        "ListStreams gives the names page by page and sorted" => list_streams,
        "an ARN serves instead of a name" => by_arn,
        "retention goes up and down within its bounds" => retention,
        "tags are kept" => tags,
        "a deleted stream is DELETING and then gone" => deleting,
        "a stream made again is empty" => made_again,
    ]
}

/// Those that count what all others make.
pub(super) fn alone(at: &Kinesis) -> Vec<Check> {
    checks![at;
        "DescribeLimits counts open shards" => limits,
    ]
}

async fn creating(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (mut name, mut seen) = (String::new(), None);
    for _ in 0..TRIES {
        name = at.name();
        at.client
            .create_stream()
            .stream_name(&name)
            .shard_count(1)
            .send()
            .await?;
        seen = Some(at.status(&name).await?);
        if seen == Some(StreamStatus::Creating) {
            break;
        }
    }
    facts.same(seen, Some(StreamStatus::Creating), "at first");
    at.active(&name).await?;
    facts.same(at.shards(&name).await?.len(), 1, "shards when ACTIVE");
    Ok(facts)
}

async fn twice(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let again = at.client.create_stream().stream_name(&name).shard_count(1).send().await;
    facts.same(code(again).as_str(), "ResourceInUseException", "CreateStream");
    Ok(facts)
}

async fn missing(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let gone = "ResourceNotFoundException";
    let client = &at.client;
    facts.same(
        code(client.describe_stream_summary().stream_name("none").send().await).as_str(),
        gone,
        "describe",
    );
    facts.same(
        code(client.list_shards().stream_name("none").send().await).as_str(),
        gone,
        "ListShards",
    );
    facts.same(
        code(client.delete_stream().stream_name("none").send().await).as_str(),
        gone,
        "DeleteStream",
    );
    Ok(facts)
}

async fn bad_name(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let created = at.client.create_stream().stream_name("a b").shard_count(1).send().await;
    facts.same(code(created).as_str(), "ValidationException", "CreateStream");
    Ok(facts)
}

async fn no_shards(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let created = at
        .client
        .create_stream()
        .stream_name(at.name())
        .shard_count(0)
        .send()
        .await;
    facts.same(code(created).as_str(), "ValidationException", "CreateStream");
    Ok(facts)
}

async fn even(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let mut ranges: Vec<_> = at.shards(&at.stream(7).await?).await?.iter().map(range).collect();
    ranges.sort_unstable();
    facts.same((ranges[0].0, ranges[6].1), (0, u128::MAX), "the whole");
    facts.holds(
        ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0),
        "no gap and no overlap",
    );
    let widths = || ranges.iter().map(|(first, last)| last - first);
    // Which shards take the odd keys is nobody's business.
    facts.holds(
        widths()
            .max()
            .zip(widths().min())
            .is_some_and(|(max, min)| max - min <= 7),
        "even widths",
    );
    Ok(facts)
}

async fn describe_pages(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(5).await?;
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let ask = at
            .client
            .describe_stream()
            .stream_name(&name)
            .limit(2)
            .set_exclusive_start_shard_id(after);
        let page = ask.send().await?.stream_description.ok_or("no description")?;
        pages += 1;
        found.extend(page.shards.iter().map(|shard| shard.shard_id.clone()));
        after = found.last().cloned();
        if !page.has_more_shards || pages > 5 {
            break;
        }
    }
    facts.same((found.len(), pages), (5, 3), "shards and pages");
    facts.holds(found.is_sorted(), "sorted");
    Ok(facts)
}

async fn summary(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    at.split(&name, FIRST, 1 << 100).await?;
    let answer = at.client.describe_stream_summary().stream_name(&name).send().await?;
    let summary = answer.stream_description_summary.ok_or("no summary")?;
    facts.same(summary.open_shard_count, 3, "open shards");
    facts.same(summary.retention_period_hours, 24, "retention");
    facts.holds(
        summary.stream_arn.ends_with(&format!(":stream/{name}")),
        "the ARN ends with the name",
    );
    Ok(facts)
}

async fn list_streams(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(at.stream(1).await?);
    }
    let (mut found, mut after, mut pages) = (Vec::<String>::new(), None, 0);
    loop {
        let page = at
            .client
            .list_streams()
            .limit(3)
            .set_exclusive_start_stream_name(after)
            .send()
            .await?;
        facts.holds(page.stream_names.len() <= 3, "a page has no more than asked for");
        found.extend(page.stream_names);
        after = found.last().cloned();
        pages += 1;
        if !page.has_more_streams || pages > 100 {
            break;
        }
    }
    facts.holds(found.windows(2).all(|pair| pair[0] < pair[1]), "sorted, none twice");
    facts.holds(made.iter().all(|name| found.contains(name)), "all are listed");
    Ok(facts)
}

async fn by_arn(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let answer = at.client.describe_stream_summary().stream_name(&name).send().await?;
    let arn = answer.stream_description_summary.ok_or("no summary")?.stream_arn;
    facts.same(
        at.client.list_shards().stream_arn(&arn).send().await?.shards().len(),
        1,
        "ListShards",
    );
    let again = at.client.describe_stream_summary().stream_arn(&arn).send().await?;
    facts.same(
        again.stream_description_summary.map(|summary| summary.stream_name),
        Some(name),
        "the name",
    );
    Ok(facts)
}

async fn retention(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    let up = |hours| {
        at.client
            .increase_stream_retention_period()
            .stream_name(&name)
            .retention_period_hours(hours)
            .send()
    };
    let down = |hours| {
        at.client
            .decrease_stream_retention_period()
            .stream_name(&name)
            .retention_period_hours(hours)
            .send()
    };
    up(48).await?;
    at.active(&name).await?;
    let answer = at.client.describe_stream_summary().stream_name(&name).send().await?;
    let hours = answer
        .stream_description_summary
        .map(|summary| summary.retention_period_hours);
    facts.same(hours, Some(48), "after the increase");
    let invalid = "InvalidArgumentException";
    facts.same(code(up(36).await).as_str(), invalid, "an increase that decreases");
    facts.same(code(down(72).await).as_str(), invalid, "a decrease that increases");
    facts.same(code(down(1).await).as_str(), invalid, "less than a day");
    facts.same(code(up(8_761).await).as_str(), invalid, "more than a year");
    down(24).await?;
    Ok(facts)
}

async fn tags(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    at.client
        .add_tags_to_stream()
        .stream_name(&name)
        .tags("team", "blue")
        .tags("cost", "7")
        .send()
        .await?;
    at.client
        .remove_tags_from_stream()
        .stream_name(&name)
        .tag_keys("cost")
        .send()
        .await?;
    let answer = at.client.list_tags_for_stream().stream_name(&name).send().await?;
    let tags: Vec<_> = answer
        .tags
        .iter()
        .map(|tag| (tag.key.as_str(), tag.value.as_deref()))
        .collect();
    facts.same(tags, vec![("team", Some("blue"))], "tags");
    Ok(facts)
}

async fn deleting(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (mut name, mut seen) = (String::new(), None);
    for _ in 0..TRIES {
        name = at.stream(1).await?;
        at.delete(&name).await?;
        // Gone already: too late to see it.
        seen = at.status(&name).await.ok();
        if seen == Some(StreamStatus::Deleting) {
            break;
        }
    }
    facts.same(seen, Some(StreamStatus::Deleting), "at first");
    facts.holds(at.put(&name, "k", "late").await.is_err(), "nothing can be put");
    gone(&at, &name).await?;
    Ok(facts)
}

async fn made_again(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    at.put(&name, "k", "old").await?;
    let old = at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?;
    at.delete(&name).await?;
    gone(&at, &name).await?;
    at.client
        .create_stream()
        .stream_name(&name)
        .shard_count(1)
        .send()
        .await?;
    at.active(&name).await?;
    facts.same(at.texts(&name, FIRST).await?, vec![], "records");
    let stale = at.client.get_records().shard_iterator(old).send().await;
    facts.holds(
        stale.is_err() || stale.is_ok_and(|answer| answer.records.is_empty()),
        "an old iterator gives nothing old",
    );
    Ok(facts)
}

async fn gone(at: &Kinesis, name: &str) -> Result<(), Failure> {
    eventually("the stream is gone", async || {
        let asked = at.client.describe_stream_summary().stream_name(name).send().await;
        Ok((code(asked) == "ResourceNotFoundException").then_some(()))
    })
    .await
}

async fn limits(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let before = at.client.describe_limits().send().await?;
    at.stream(3).await?;
    let after = at.client.describe_limits().send().await?;
    facts.same(after.open_shard_count - before.open_shard_count, 3, "more open shards");
    facts.holds(after.shard_limit > after.open_shard_count, "the limit is above");
    Ok(facts)
}
