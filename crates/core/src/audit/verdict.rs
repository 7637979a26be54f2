//! The judgement: what is missing, what came twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Dropped, Lane, ProducerRow, Ranges, Term};
use crate::id::{Epoch, ShardId};

/// What became of the records of the sources that were asked for. `produced - delivered == missing` always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    /// Records that are surely in the stream: acknowledged, or seen by a consumer.
    pub produced: u64,
    /// How many of them were delivered at least once.
    pub delivered: u64,
    /// Acknowledged and not delivered (yet).
    pub missing: u64,
    /// Deliveries beyond the first one of each record.
    pub duplicates: u64,
    /// First deliveries of a term behind a greater number of the same lane.
    pub reordered: u64,
    /// What was read and given to no processor, by the reason.
    pub dropped: Dropped,
}

/// Holds the terms against what the producers say.
///
/// Only the sources that have a producer row count; what other runs left in the stream is no part of the question.
/// The order of the rows does not matter, and a row given twice (or in an older state) counts once, in its newest state.
/// Dropped records have no source: those of a term count unless it delivered records of other sources only.
pub fn judge(producers: &[ProducerRow], terms: &[Term]) -> Records {
    let mut acknowledged: BTreeMap<(&str, Lane), Ranges> = BTreeMap::new();
    let sources: BTreeSet<&str> = producers.iter().map(|row| row.source.as_str()).collect();
    for row in producers {
        for (lane, sent) in &row.lanes {
            acknowledged
                .entry((&row.source, *lane))
                .or_default()
                .union(&sent.acknowledged);
        }
    }

    let mut seen: BTreeMap<(&str, Lane), Ranges> = BTreeMap::new();
    let (mut deliveries, mut reordered) = (0, 0);
    let mut dropped = Dropped::new();
    for term in newest(terms).values() {
        if term.lanes.is_empty() || term.lanes.keys().any(|source| sources.contains(source.as_str())) {
            for (reason, records) in &term.dropped {
                *dropped.entry(reason.clone()).or_default() += records;
            }
        }
        for (source, lanes) in term
            .lanes
            .iter()
            .filter(|(source, _)| sources.contains(source.as_str()))
        {
            for (lane, tally) in lanes {
                deliveries += tally.delivered;
                reordered += tally.reordered;
                seen.entry((source, *lane)).or_default().union(&tally.ranges);
            }
        }
    }

    let nothing = Ranges::default();
    let delivered = seen.values().map(Ranges::count).sum::<u64>();
    let missing = acknowledged
        .iter()
        .map(|(key, sent)| sent.without(seen.get(key).unwrap_or(&nothing)).count())
        .sum::<u64>();
    Records {
        produced: delivered + missing,
        delivered,
        missing,
        duplicates: deliveries - delivered,
        reordered,
        dropped,
    }
}

/// One row per term: of several states of it the one with most deliveries, which is the newest.
pub(super) fn newest(terms: &[Term]) -> BTreeMap<(&ShardId, Epoch), &Term> {
    let rank = |term: &Term| (term.delivered(), term.end.is_some(), term.seen_ms);
    let mut rows: BTreeMap<(&ShardId, Epoch), &Term> = BTreeMap::new();
    for term in terms {
        rows.entry((&term.shard, term.epoch))
            .and_modify(|row| {
                if rank(term) > rank(row) {
                    *row = term;
                }
            })
            .or_insert(term);
    }
    rows
}
