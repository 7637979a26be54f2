//! The stream: shards split, their rows are made and removed.

use std::time::Duration;

use kinex_core::id::{Epoch, ShardId};
use kinex_core::lease::{Checkpoint, Lease, LeaseWrite};
use kinex_core::member::Event;

use super::{Happening, World};
use crate::consumer::Shard;
use crate::history::Entry;

impl World<'_> {
    pub(super) fn open_shard(&mut self, parents: Vec<ShardId>) -> ShardId {
        let id = ShardId::from(format!("shard-{:04}", self.shards.len()));
        self.shards.push(Shard {
            id: id.clone(),
            opened: self.now,
            closed: None,
            children: Vec::new(),
        });
        let shard = id.clone();
        self.record(Entry::Opened { shard, parents });
        id
    }

    pub(super) fn make_row(&mut self, id: &ShardId, parents: &[ShardId]) {
        let epoch = Epoch(self.rng.rand_range(1..1_000_000));
        let mut row = Lease::unowned(id.clone(), Checkpoint::TrimHorizon, epoch);
        row.parents.extend(parents.iter().cloned());
        let _ = self.database.write_lease(&LeaseWrite::Create(Box::new(row)));
    }

    pub(super) fn split(&mut self, nth: usize) {
        let open: Vec<usize> = (0..self.shards.len())
            .filter(|at| self.shards[*at].closed.is_none())
            .collect();
        let Some(parent) = open.get(nth % open.len().max(1)).copied() else {
            return;
        };
        let parent_id = self.shards[parent].id.clone();
        self.shards[parent].closed = Some(self.now);
        let records = self.shards[parent].records(self.now, self.scenario.rate, self.last_record());
        let shard = parent_id.clone();
        self.record(Entry::Closed { shard, records });
        let children: Vec<ShardId> = (0..2).map(|_| self.open_shard(vec![parent_id.clone()])).collect();
        self.shards[parent].children.clone_from(&children);
        self.after(Duration::from_millis(300), Happening::Sync(children, parent_id));
    }

    /// What the shard syncer of some worker does.
    pub(super) fn sync(&mut self, children: &[ShardId], parent: &ShardId) {
        for child in children {
            self.make_row(child, std::slice::from_ref(parent));
        }
        self.database.bump_lineage();
        let anybody = self.processes.iter().position(|process| process.alive);
        if let Some(process) = anybody {
            self.tell(process, Event::LineageChanged);
        }
    }

    pub(super) fn sweep(&mut self, shard: &ShardId) {
        if let Some(row) = self.database.leases.get(shard) {
            let (key, epoch) = (shard.clone(), row.epoch);
            let _ = self.database.write_lease(&LeaseWrite::Delete { key, epoch });
            self.database.bump_lineage();
        }
    }
}
