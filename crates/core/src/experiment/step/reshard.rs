//! Splits, merges and UpdateShardCount: planned by shard, done one at a time, and believed only by the lineage.

use std::time::Duration;

use super::super::effect::Effect;
use super::super::facts;
use super::super::round::Round;
use super::super::spec::ShardSelect;
use super::super::status::{Outcome, Plan, PlannedMerge, PlannedSplit};
use super::super::targets;
use super::Progress;
use crate::id::ShardId;
use crate::shard_map::Shard;
use crate::split;

/// UpdateShardCount is allowed this often within a day.
const UPDATES_MAX: usize = 10;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How one planned reshard stands.
enum Seen {
    /// The shards are open: nothing has happened.
    NotYet,
    /// Under way, or not wholly visible yet.
    Partly,
    /// The lineage shows it.
    Done,
    /// The shards went another way: somebody else's doing.
    Otherwise(String),
}

impl Round<'_> {
    pub(super) fn plan_splits(&self, count: u32, select: &ShardSelect) -> Result<Plan, Progress> {
        self.stream_takes_a_reshard()?;
        let splits = targets::splits(self.world, count, select).map_err(refuse)?;
        Ok(Plan {
            splits,
            ..Plan::default()
        })
    }

    pub(super) fn plan_merges(&self, count: u32) -> Result<Plan, Progress> {
        self.stream_takes_a_reshard()?;
        let merges = targets::merges(self.world, count).map_err(refuse)?;
        Ok(Plan {
            merges,
            ..Plan::default()
        })
    }

    /// What the service would refuse is refused here, before anything is asked of it.
    pub(super) fn plan_target(&mut self, target: u32) -> Result<Plan, Progress> {
        self.stream_takes_a_reshard()?;
        let open = facts::stream_summary(self.world).open;
        split::check_shard_count(open, target).map_err(refuse)?;
        let now = self.now;
        self.status.reshard_times.retain(|time| now.since(*time) < DAY);
        if self.status.reshard_times.len() >= UPDATES_MAX {
            return Err(fail(format!(
                "updateShardCount was used {UPDATES_MAX} times within a day, which is all the service allows"
            )));
        }
        if target != open {
            self.status.reshard_times.push(now);
        }
        Ok(Plan {
            target: Some(target),
            ..Plan::default()
        })
    }

    pub(super) fn split(&mut self, index: usize) -> Progress {
        let planned = self.plan(index).splits.clone();
        let mut next = None;
        for (at, split) in planned.iter().enumerate().filter(|(_, split)| !split.done) {
            match self.seen_split(split) {
                Seen::Done => self.split_is_done(index, at),
                Seen::NotYet => next = next.or(Some(split)),
                Seen::Partly => {}
                Seen::Otherwise(why) => return Progress::Done(Outcome::Inconclusive, Some(why)),
            }
        }
        let effect = next.map(|split| Effect::SplitShard {
            shard: split.shard.clone(),
            at: split.at.clone(),
        });
        let left = self.plan(index).splits.iter().filter(|split| !split.done).count();
        self.reshard_on(effect, left, planned.len(), "splits")
    }

    pub(super) fn merge(&mut self, index: usize) -> Progress {
        let planned = self.plan(index).merges.clone();
        let mut next = None;
        for (at, merge) in planned.iter().enumerate().filter(|(_, merge)| !merge.done) {
            match self.seen_merge(merge) {
                Seen::Done => self.merge_is_done(index, at),
                Seen::NotYet => next = next.or(Some(merge)),
                Seen::Partly => {}
                Seen::Otherwise(why) => return Progress::Done(Outcome::Inconclusive, Some(why)),
            }
        }
        let effect = next.map(|merge| Effect::MergeShards {
            shard: merge.shard.clone(),
            adjacent: merge.adjacent.clone(),
        });
        let left = self.plan(index).merges.iter().filter(|merge| !merge.done).count();
        self.reshard_on(effect, left, planned.len(), "merges")
    }

    pub(super) fn update_shard_count(&mut self, target: u32) -> Progress {
        let stream = facts::stream_summary(self.world);
        if !facts::active(self.world) {
            return Progress::Waiting(format!("resharding to {target}: {} shards are open", stream.open));
        }
        if stream.open == target {
            self.status.shards_expected = Some(stream.total);
            return Progress::pass();
        }
        self.effects.push(Effect::UpdateShardCount { target });
        Progress::Waiting(format!("resharding to {target}: {} shards are open", stream.open))
    }

    /// One reshard at a time, and only on a stream that is ACTIVE.
    fn reshard_on(&mut self, next: Option<Effect>, left: usize, planned: usize, what: &str) -> Progress {
        if left == 0 && facts::active(self.world) {
            return Progress::pass();
        }
        if facts::active(self.world) {
            self.effects.extend(next);
        }
        Progress::Waiting(format!("{} of {planned} {what} are done", planned - left))
    }

    fn stream_takes_a_reshard(&self) -> Result<(), Progress> {
        if facts::active(self.world) {
            return Ok(());
        }
        Err(Progress::Waiting(format!(
            "waiting for the stream to be ACTIVE; it is {}",
            self.world.stream.status.as_str()
        )))
    }

    fn plan(&self, index: usize) -> &Plan {
        const NONE: &Plan = &Plan::NONE;
        self.status.steps[index].plan.as_ref().unwrap_or(NONE)
    }

    fn split_is_done(&mut self, index: usize, at: usize) {
        if let Some(split) = self.status.steps[index]
            .plan
            .as_mut()
            .and_then(|plan| plan.splits.get_mut(at))
        {
            split.done = true;
        }
        self.expect_more(2);
    }

    fn merge_is_done(&mut self, index: usize, at: usize) {
        if let Some(merge) = self.status.steps[index]
            .plan
            .as_mut()
            .and_then(|plan| plan.merges.get_mut(at))
        {
            merge.done = true;
        }
        self.expect_more(1);
    }

    fn expect_more(&mut self, shards: u32) {
        self.status.shards_expected = self.status.shards_expected.map(|expected| expected + shards);
    }

    fn shard(&self, id: &ShardId) -> Option<&Shard> {
        self.world.stream.shards.iter().find(|shard| shard.id == *id)
    }

    fn children(&self, id: &ShardId) -> Vec<&Shard> {
        self.world
            .stream
            .shards
            .iter()
            .filter(|shard| shard.parents().any(|parent| parent == id))
            .collect()
    }

    fn seen_split(&self, split: &PlannedSplit) -> Seen {
        match self.shard(&split.shard) {
            None => Seen::Partly,
            Some(shard) if shard.open => Seen::NotYet,
            Some(_) => {
                let children = self.children(&split.shard);
                if children.iter().any(|child| child.adjacent_parent.is_some()) {
                    return Seen::Otherwise(format!("somebody merged {}, which was to be split", split.shard));
                }
                if children.len() < 2 {
                    return Seen::Partly;
                }
                let as_planned = children
                    .iter()
                    .any(|child| child.hash_range.start.to_string() == split.at);
                if as_planned {
                    Seen::Done
                } else {
                    Seen::Otherwise(format!("somebody split {} elsewhere", split.shard))
                }
            }
        }
    }

    fn seen_merge(&self, merge: &PlannedMerge) -> Seen {
        let (Some(left), Some(right)) = (self.shard(&merge.shard), self.shard(&merge.adjacent)) else {
            return Seen::Partly;
        };
        let both = |child: &&Shard| {
            child.parents().any(|parent| *parent == left.id) && child.parents().any(|parent| *parent == right.id)
        };
        let children: Vec<&Shard> = [left, right]
            .into_iter()
            .flat_map(|shard| self.children(&shard.id))
            .collect();
        match children.iter().any(both) {
            true if left.open || right.open => Seen::Partly,
            true => Seen::Done,
            false if !children.is_empty() => Seen::Otherwise(format!(
                "somebody resharded {} or {}, which were to be merged",
                left.id, right.id
            )),
            false if left.open && right.open => Seen::NotYet,
            false => Seen::Partly,
        }
    }
}

fn refuse(error: split::Error) -> Progress {
    fail(error.to_string())
}

fn fail(message: String) -> Progress {
    Progress::Done(Outcome::Fail, Some(message))
}
