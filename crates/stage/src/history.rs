//! What happened, derived from one look after the other: moves, stretches without a reader, children.
//!
//! Pure: looks go in, in the order of time. Times are those of the looks, except where somebody knows better (when a
//! process was stopped or reaped).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use kinex_core::experiment::{ChildFacts, Move, Timestamp, UnreadGap};
use kinex_core::id::{ShardId, WorkerId};
use kinex_core::lease::Lease;
use kinex_core::shard_map::Shard;
use serde::{Deserialize, Serialize};

use crate::report::recording::Reason;

/// What one look saw.
pub struct Look<'a> {
    /// When.
    pub at: Timestamp,
    /// Every shard of the stream.
    pub shards: &'a [Shard],
    /// Every row of the lease table.
    pub leases: &'a [Lease],
    /// Whether a lease's present owner can be reading, and if not, since when not and why.
    pub reader: &'a dyn Fn(&Lease) -> Reader,
}

/// Whether somebody reads a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Its present owner is at work.
    Reads,
    /// Nobody, since then when it is known.
    Nobody {
        /// Since when.
        since: Option<Timestamp>,
        /// How that came.
        why: &'static str,
        /// What a change of owner would be put down to.
        reason: Reason,
    },
}

/// A stretch without a reader, and how it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// The stretch.
    pub gap: UnreadGap,
    /// How it came.
    pub why: Cow<'static, str>,
}

/// Everything since the run began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct History {
    /// Changes of owner, with their reasons, oldest first.
    pub moves: Vec<(Move, Reason)>,
    /// Stretches without a reader, oldest first.
    pub unread: Vec<Unread>,
    /// The shards that appeared after the first look at the stream.
    pub children: Vec<ChildFacts>,
    seen: BTreeSet<ShardId>,
    owners: BTreeMap<ShardId, WorkerId>,
    reasons: BTreeMap<ShardId, Reason>,
    finished: BTreeSet<ShardId>,
    open_gaps: BTreeMap<ShardId, usize>,
}

impl History {
    /// Takes in one look.
    pub fn look(&mut self, look: &Look<'_>) {
        self.appear(look);
        let rows: BTreeMap<&ShardId, &Lease> = look.leases.iter().map(|lease| (&lease.key, lease)).collect();
        for lease in look.leases {
            self.moved(lease, look.at);
            if lease.finished() {
                self.finished.insert(lease.key.clone());
            }
        }
        for shard in look.shards {
            let reader = match rows.get(&shard.id) {
                Some(lease) if lease.finished() => Reader::Reads,
                Some(lease) => (look.reader)(lease),
                // The row of a finished shard is removed in the end, and so is the row of one that is past retention.
                None if self.finished.contains(&shard.id) || !shard.open => Reader::Reads,
                None => Reader::Nobody {
                    since: None,
                    why: "new shard",
                    reason: Reason::First,
                },
            };
            self.read(&shard.id, reader, look.at);
        }
        self.start_children(look);
    }

    fn appear(&mut self, look: &Look<'_>) {
        let first = self.seen.is_empty();
        for shard in look.shards {
            if self.seen.insert(shard.id.clone()) && !first && shard.parents().next().is_some() {
                self.children.push(ChildFacts {
                    child: shard.id.clone(),
                    appeared: look.at,
                    started: None,
                    parents_ended: None,
                });
            }
        }
    }

    fn moved(&mut self, lease: &Lease, at: Timestamp) {
        let Some(owner) = lease.present_owner() else { return };
        let before = self.owners.insert(lease.key.clone(), owner.clone());
        if before.as_ref() == Some(owner) {
            return;
        }
        let reason = match (&before, self.reasons.remove(&lease.key)) {
            (None, _) => Reason::First,
            (Some(_), Some(reason)) => reason,
            (Some(_), None) => Reason::HandOff,
        };
        let change = Move {
            lease: lease.key.clone(),
            from: before,
            to: Some(owner.clone()),
            at,
        };
        self.moves.push((change, reason));
    }

    fn read(&mut self, shard: &ShardId, reader: Reader, at: Timestamp) {
        match (reader, self.open_gaps.get(shard)) {
            (Reader::Reads, None) => {
                self.reasons.remove(shard);
            }
            (Reader::Reads, Some(index)) => {
                self.unread[*index].gap.until = Some(at);
                self.open_gaps.remove(shard);
                self.reasons.remove(shard);
            }
            (Reader::Nobody { since, why, reason }, None) => {
                self.open_gaps.insert(shard.clone(), self.unread.len());
                let gap = UnreadGap {
                    shard: shard.clone(),
                    from: since.unwrap_or(at),
                    until: None,
                };
                self.unread.push(Unread { gap, why: why.into() });
                self.reasons.insert(shard.clone(), reason);
            }
            (Reader::Nobody { reason, .. }, Some(_)) => {
                self.reasons.insert(shard.clone(), reason);
            }
        }
    }

    fn start_children(&mut self, look: &Look<'_>) {
        let shards: BTreeMap<&ShardId, &Shard> = look.shards.iter().map(|shard| (&shard.id, shard)).collect();
        for child in &mut self.children {
            if child.started.is_none()
                && self.owners.contains_key(&child.child)
                && !self.open_gaps.contains_key(&child.child)
            {
                child.started = Some(look.at);
            }
            if child.parents_ended.is_none() {
                let parents = shards
                    .get(&child.child)
                    .map(|shard| shard.parents().collect::<Vec<_>>());
                let ended = |parent: &&ShardId| self.finished.contains(*parent) || !shards.contains_key(*parent);
                if parents.is_some_and(|parents| parents.iter().all(ended)) {
                    child.parents_ended = Some(look.at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kinex_core::id::{Epoch, HashRange, SequenceNumber};
    use kinex_core::lease::Checkpoint;

    use super::*;

    fn shard(id: &str, parent: Option<&str>) -> Shard {
        Shard {
            id: id.into(),
            parent: parent.map(ShardId::from),
            adjacent_parent: None,
            hash_range: HashRange::FULL,
            starts_at: SequenceNumber::from(0),
            open: true,
        }
    }

    fn lease(id: &str, owner: Option<&str>) -> Lease {
        let mut lease = Lease::unowned(id.into(), Checkpoint::TrimHorizon, Epoch(1));
        lease.owner = owner.map(WorkerId::from);
        lease
    }

    /// Plays looks at seconds 0, 1, 2 ...: each says who reads `a`, `!` behind the name when the process is dead.
    fn check(looks: &[&str], expected: &str) {
        let mut history = History::default();
        for (second, owner) in looks.iter().enumerate() {
            let dead = owner.ends_with('!');
            let owner = owner.trim_end_matches('!');
            let leases = [lease("a", (owner != "-").then_some(owner))];
            let reader = |lease: &Lease| match lease.present_owner() {
                Some(_) if !dead => Reader::Reads,
                Some(_) => Reader::Nobody {
                    since: None,
                    why: "ended",
                    reason: Reason::Ended,
                },
                None => Reader::Nobody {
                    since: None,
                    why: "nobody",
                    reason: Reason::Departure,
                },
            };
            let at = Timestamp(i64::try_from(second).unwrap() * 1000);
            history.look(&Look {
                at,
                shards: &[shard("a", None)],
                leases: &leases,
                reader: &reader,
            });
        }
        let name = |worker: &Option<WorkerId>| worker.as_ref().map_or("-", WorkerId::as_str).to_owned();
        let moves = history
            .moves
            .iter()
            .map(|(m, why)| format!("{}->{} {why:?}", name(&m.from), name(&m.to)));
        let gaps = history.unread.iter().map(|u| {
            let until = u
                .gap
                .until
                .map_or_else(|| "..".to_owned(), |t| (t.0 / 1000).to_string());
            format!("{}-{until} {}", u.gap.from.0 / 1000, u.why)
        });
        assert_eq!(moves.chain(gaps).collect::<Vec<_>>().join(", "), expected, "{looks:?}");
    }

    #[test]
    fn every_change_of_owner_is_a_move_with_its_reason() {
        check(&["x", "x"], "-->x First");
        check(&["x", "y"], "-->x First, x->y HandOff");
        check(&["x", "-", "y"], "-->x First, x->y Departure, 1-2 nobody");
        check(&["x", "x!", "x!", "y"], "-->x First, x->y Ended, 1-3 ended");
        check(&["x", "-", "x"], "-->x First, 1-2 nobody");
        check(&["-", "-", "x", "-"], "-->x First, 0-2 nobody, 3-.. nobody");
    }

    #[test]
    fn a_child_starts_with_its_first_reader() {
        let mut history = History::default();
        let reads = |lease: &Lease| match lease.present_owner() {
            Some(_) => Reader::Reads,
            None => Reader::Nobody {
                since: None,
                why: "nobody",
                reason: Reason::First,
            },
        };
        let parent = [shard("a", None)];
        let both = [shard("a", None), shard("b", Some("a"))];
        let mut ended = lease("a", Some("x"));
        ended.checkpoint = Checkpoint::ShardEnd;
        let looks: [(&[Shard], Vec<Lease>); 4] = [
            (&parent, vec![lease("a", Some("x"))]),
            (&both, vec![lease("a", Some("x"))]),
            (&both, vec![lease("a", Some("x")), lease("b", Some("y"))]),
            (&both, vec![ended, lease("b", Some("y"))]),
        ];
        for (second, (shards, leases)) in looks.iter().enumerate() {
            let at = Timestamp(i64::try_from(second).unwrap() * 1000);
            history.look(&Look {
                at,
                shards,
                leases,
                reader: &reads,
            });
        }
        let child = &history.children[0];
        assert_eq!(child.appeared, Timestamp(1000));
        assert_eq!(child.started, Some(Timestamp(2000)));
        assert_eq!(child.parents_ended, Some(Timestamp(3000)));
        let children: BTreeSet<_> = history.children.iter().map(|c| c.child.as_str()).collect();
        assert_eq!(children, ["b"].into());
    }
}
