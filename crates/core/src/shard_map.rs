//! The shards of a stream as ListShards tells them.

use crate::id::{HashRange, SequenceNumber, ShardId};

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// The shard it was split off from, or the first of the two it was merged from.
    pub parent: Option<ShardId>,
    /// The second of the two shards it was merged from.
    pub adjacent_parent: Option<ShardId>,
    /// Its hash keys.
    pub hash_range: HashRange,
    /// The sequence number that it starts at.
    pub starts_at: SequenceNumber,
    /// Whether it still takes records. (Emulators differ in the *value* of a closed shard's ending number, so only its
    /// presence counts.)
    pub open: bool,
}

impl Shard {
    /// The parents: none, one (split) or two (merge).
    pub fn parents(&self) -> impl Iterator<Item = &ShardId> {
        self.parent.iter().chain(&self.adjacent_parent)
    }
}
