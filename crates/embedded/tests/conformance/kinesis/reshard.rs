//! Splits, merges and updates of the shard count, and the lineage that they leave.

use aws_sdk_kinesis::types::{ScalingType, Shard, ShardIteratorType, StreamStatus};

use super::{FIRST, SECOND, THIRD};
use crate::clients::{Kinesis, TRIES, is_open, range, text};
use crate::suite::{Check, Checked, Facts, Failure, checks, code};

pub(super) fn all(at: &Kinesis) -> Vec<Check> {
    checks![at;
        "a split closes the parent and opens two children" => split,
        "a stream takes records while it is UPDATING" => put_while_updating,
        "a second split while UPDATING is ResourceInUse" => split_while_updating,
        "a closed shard is not split again" => split_closed,
        "a split outside of the shard is refused" => split_outside,
        "a closed shard ends and names its children" => shard_end,
        "children start after their parent's end" => lineage_order,
        "a merge opens one child with two parents" => merge,
        "shards that are not neighbors are not merged" => merge_apart,
        "UpdateShardCount doubles evenly" => scale_up,
        "UpdateShardCount halves evenly" => scale_down,
        "UpdateShardCount stays between half and double" => scale_bounds,
        "a shard's records are read along two generations" => generations,
    ]
}

/// A stream of one shard with a record, split in the middle.
async fn split_stream(at: &Kinesis) -> Result<(String, Vec<Shard>), Failure> {
    let name = at.stream(1).await?;
    at.put(&name, "k", "parent").await?;
    at.split(&name, FIRST, 1 << 127).await?;
    let shards = at.shards(&name).await?;
    Ok((name, shards))
}

async fn split(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, shards) = split_stream(&at).await?;
    facts.same(shards.len(), 3, "shards");
    facts.same(shards.iter().map(is_open).collect(), vec![false, true, true], "open");
    facts.same(range(&shards[1]), (0, (1 << 127) - 1), "the lower child");
    facts.same(range(&shards[2]), (1 << 127, u128::MAX), "the upper child");
    facts.holds(
        shards[1..]
            .iter()
            .all(|child| child.parent_shard_id.as_deref() == Some(FIRST)),
        "the parent's name",
    );
    facts.holds(
        shards[1..].iter().all(|child| child.adjacent_parent_shard_id.is_none()),
        "one parent",
    );
    facts.same(
        at.put_at(&name, 0, "x").await?.shard_id.as_str(),
        SECOND,
        "a record's shard",
    );
    Ok(facts)
}

/// Begins to split the only shard of a new stream.
async fn begin_split(at: &Kinesis) -> Result<String, Failure> {
    let name = at.stream(1).await?;
    let split = at.client.split_shard().stream_name(&name).shard_to_split(FIRST);
    split.new_starting_hash_key((1u128 << 127).to_string()).send().await?;
    Ok(name)
}

async fn put_while_updating(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (mut name, mut seen) = (String::new(), None);
    for _ in 0..TRIES {
        name = begin_split(&at).await?;
        seen = Some(at.status(&name).await?);
        if seen == Some(StreamStatus::Updating) {
            break;
        }
    }
    facts.same(seen, Some(StreamStatus::Updating), "status");
    let put = at.put(&name, "k", "meanwhile").await?;
    at.active(&name).await?;
    let texts = at.texts(&name, &put.shard_id).await?;
    facts.same(texts, vec!["meanwhile".to_owned()], "records");
    Ok(facts)
}

async fn split_while_updating(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let mut refusal = String::new();
    for _ in 0..TRIES {
        let name = begin_split(&at).await?;
        let split = at
            .client
            .split_shard()
            .stream_name(&name)
            .shard_to_split(FIRST)
            .new_starting_hash_key("1000");
        refusal = code(split.send().await);
        // The first split may be over already; then the shard is closed.
        if refusal == "ResourceInUseException" && at.status(&name).await? == StreamStatus::Updating {
            break;
        }
    }
    facts.same(refusal.as_str(), "ResourceInUseException", "SplitShard");
    Ok(facts)
}

async fn split_closed(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = split_stream(&at).await?;
    let split = at
        .client
        .split_shard()
        .stream_name(&name)
        .shard_to_split(FIRST)
        .new_starting_hash_key("1000");
    facts.same(
        code(split.send().await).as_str(),
        "InvalidArgumentException",
        "SplitShard",
    );
    facts.same(at.shards(&name).await?.len(), 3, "shards");
    Ok(facts)
}

async fn split_outside(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    let outside = (u128::MAX - 5).to_string();
    let split = at
        .client
        .split_shard()
        .stream_name(&name)
        .shard_to_split(FIRST)
        .new_starting_hash_key(outside);
    facts.same(
        code(split.send().await).as_str(),
        "InvalidArgumentException",
        "SplitShard",
    );
    facts.same(at.shards(&name).await?.len(), 2, "shards");
    Ok(facts)
}

async fn shard_end(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, _) = split_stream(&at).await?;
    let iterator = at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?;
    let (records, last) = at.drain(iterator).await?;
    facts.same(records.len(), 1, "records");
    facts.same(last.next_shard_iterator.as_deref(), None, "the last iterator");
    let children: Vec<_> = last
        .child_shards()
        .iter()
        .map(|child| (child.shard_id.as_str(), child.parent_shards.len()))
        .collect();
    facts.same(children, vec![(SECOND, 1), (THIRD, 1)], "children");
    Ok(facts)
}

async fn lineage_order(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let (name, shards) = split_stream(&at).await?;
    let iterator = at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?;
    let last = at.drain(iterator).await?.0.pop().ok_or("no record")?.sequence_number;
    let number = |shard: &Shard| {
        shard
            .sequence_number_range
            .clone()
            .map(|r| (r.starting_sequence_number, r.ending_sequence_number))
    };
    let end = number(&shards[0])
        .and_then(|(_, end)| end)
        .ok_or("no ending sequence number")?;
    facts.same(end.len(), 56, "digits of the end");
    facts.holds(last <= end, "the last record is not after the end");
    let starts = shards[1..].iter().filter_map(number).map(|(start, _)| start);
    facts.holds(
        starts.clone().all(|start| start > last),
        "children start after the parent's last record",
    );
    let child = at.put_at(&name, 0, "child").await?.sequence_number;
    facts.holds(child > last, "a child's record comes after the parent's");
    Ok(facts)
}

async fn merge(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    at.put_at(&name, 0, "lower").await?;
    at.merge(&name, FIRST, SECOND).await?;
    let shards = at.shards(&name).await?;
    facts.same(shards.len(), 3, "shards");
    facts.same(shards.iter().map(is_open).collect(), vec![false, false, true], "open");
    facts.same(shards[2].parent_shard_id.as_deref(), Some(FIRST), "parent");
    facts.same(
        shards[2].adjacent_parent_shard_id.as_deref(),
        Some(SECOND),
        "adjacent parent",
    );
    facts.same(range(&shards[2]), (0, u128::MAX), "range");
    let end = at
        .drain(at.iterator(&name, FIRST, ShardIteratorType::TrimHorizon).await?)
        .await?
        .1;
    let children: Vec<_> = end
        .child_shards()
        .iter()
        .map(|child| (child.shard_id.as_str(), child.parent_shards.len()))
        .collect();
    facts.same(children, vec![(THIRD, 2)], "child shards");
    Ok(facts)
}

async fn merge_apart(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(3).await?;
    let merge = at
        .client
        .merge_shards()
        .stream_name(&name)
        .shard_to_merge(FIRST)
        .adjacent_shard_to_merge(THIRD);
    facts.same(
        code(merge.send().await).as_str(),
        "InvalidArgumentException",
        "MergeShards",
    );
    facts.same(at.shards(&name).await?.len(), 3, "shards");
    Ok(facts)
}

async fn scale(at: &Kinesis, name: &str, count: i32) -> String {
    let update = at
        .client
        .update_shard_count()
        .stream_name(name)
        .target_shard_count(count);
    code(update.scaling_type(ScalingType::UniformScaling).send().await)
}

async fn open_ranges(at: &Kinesis, name: &str) -> Result<Vec<(u128, u128)>, Failure> {
    at.active(name).await?;
    let mut open: Vec<_> = at
        .shards(name)
        .await?
        .iter()
        .filter(|shard| is_open(shard))
        .map(range)
        .collect();
    open.sort_unstable();
    Ok(open)
}

async fn scale_up(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    facts.same(scale(&at, &name, 4).await.as_str(), "ok", "UpdateShardCount");
    let open = open_ranges(&at, &name).await?;
    facts.same(open.len(), 4, "open shards");
    facts.holds(
        open.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0),
        "no gap and no overlap",
    );
    facts.holds(
        open.iter()
            .all(|(first, last)| (last - first).abs_diff(u128::MAX / 4) <= 4),
        "even widths",
    );
    let lineage = at.shards(&name).await?;
    facts.holds(
        lineage
            .iter()
            .filter(|shard| is_open(shard))
            .all(|shard| shard.parent_shard_id.is_some()),
        "parents",
    );
    Ok(facts)
}

async fn scale_down(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(4).await?;
    facts.same(scale(&at, &name, 2).await.as_str(), "ok", "UpdateShardCount");
    let open = open_ranges(&at, &name).await?;
    facts.same(open.len(), 2, "open shards");
    facts.holds(
        open.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0),
        "no gap and no overlap",
    );
    facts.holds(
        open.iter()
            .all(|(first, last)| (last - first).abs_diff(u128::MAX / 2) <= 4),
        "even widths",
    );
    Ok(facts)
}

async fn scale_bounds(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(4).await?;
    facts.same(
        scale(&at, &name, 9).await.as_str(),
        "InvalidArgumentException",
        "more than double",
    );
    at.active(&name).await?;
    facts.same(
        scale(&at, &name, 1).await.as_str(),
        "InvalidArgumentException",
        "less than half",
    );
    at.active(&name).await?;
    facts.same(open_ranges(&at, &name).await?.len(), 4, "open shards");
    Ok(facts)
}

async fn generations(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(1).await?;
    at.put_at(&name, 0, "1").await?;
    at.split(&name, FIRST, 1 << 127).await?;
    at.put_at(&name, 0, "2").await?;
    at.split(&name, SECOND, 1 << 126).await?;
    at.put_at(&name, 0, "3").await?;
    let (mut shard, mut found) = (FIRST.to_owned(), String::new());
    loop {
        let iterator = at.iterator(&name, &shard, ShardIteratorType::TrimHorizon).await?;
        let (records, last) = at.drain(iterator).await?;
        found.extend(records.iter().map(text));
        let lower = last.child_shards().iter().find(|child| {
            child
                .hash_key_range
                .as_ref()
                .is_some_and(|range| range.starting_hash_key == "0")
        });
        let Some(child) = lower else { break };
        shard.clone_from(&child.shard_id);
    }
    facts.same(found.as_str(), "123", "records");
    Ok(facts)
}
