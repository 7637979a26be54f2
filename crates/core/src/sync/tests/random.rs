//! Random streams with interrupted, late and simultaneous syncers. A failing case is printed with its seed, and
//! `PROPTEST_RNG_SEED` takes one.

use proptest::prelude::*;

use super::*;

/// A stream that reshards, forgets and is listed late; a table; syncers that are cut short at any write.
#[derive(Default)]
struct Model {
    shards: Vec<Shard>,
    forgotten: BTreeSet<ShardId>,
    table: BTreeMap<ShardId, Lease>,
    syncers: Vec<Syncer>,
    began: BTreeMap<ShardId, Vec<Checkpoint>>,
    initial: InitialPosition,
    finished: BTreeSet<ShardId>,
}

#[derive(Default)]
struct Syncer {
    missing: BTreeSet<ShardId>,
    was_late: bool,
    todo: Vec<LeaseWrite>,
}

impl Model {
    fn new(shards: u128) -> Self {
        let range = |nth: u128| format!("s{nth}[{}-{}]", nth * 16, nth * 16 + 15);
        Self {
            shards: (0..shards).map(|nth| shard(&range(nth))).collect(),
            syncers: vec![Syncer::default(), Syncer::default()],
            ..Self::default()
        }
    }

    fn act(&mut self, (what, which, much): (u8, usize, usize)) {
        match what {
            0 => self.split(which),
            1 => self.merge(which),
            2 => self.finish(which),
            3 => self.forget(which),
            4..=6 => self.look(which % 2, if what == 6 { much } else { 0 }),
            _ => self.write(which % 2, much),
        }
    }

    fn open(&self, which: usize) -> Option<usize> {
        let open: Vec<usize> = (0..self.shards.len()).filter(|nth| self.shards[*nth].open).collect();
        open.get(which % open.len()).copied()
    }

    fn split(&mut self, which: usize) {
        let Some(parent) = self.open(which) else { return };
        let range = self.shards[parent].hash_range;
        if range.width() == 0 {
            return;
        }
        let middle = range.start + range.width() / 2;
        let halves = [(range.start, middle), (middle + 1, range.end)];
        self.replace(&[parent], &halves);
    }

    fn merge(&mut self, which: usize) {
        let Some(a) = self.open(which) else { return };
        let end = self.shards[a].hash_range.end;
        let next = |shard: &Shard| shard.open && shard.hash_range.start == end + 1;
        let Some(b) = self.shards.iter().position(next) else {
            return;
        };
        let whole = (self.shards[a].hash_range.start, self.shards[b].hash_range.end);
        self.replace(&[a, b], &[whole]);
    }

    fn replace(&mut self, parents: &[usize], ranges: &[(u128, u128)]) {
        let names: Vec<String> = parents.iter().map(|nth| self.shards[*nth].id.to_string()).collect();
        for parent in parents {
            self.shards[*parent].open = false;
        }
        for (start, end) in ranges {
            let nth = self.shards.len();
            self.shards
                .push(shard(&format!("s{nth}<{}[{start}-{end}]", names.join("+"))));
        }
    }

    /// A worker reads a closed shard that has a row to its end.
    fn finish(&mut self, which: usize) {
        let closed: Vec<&Shard> = self.shards.iter().filter(|shard| !shard.open).collect();
        let ready: Vec<&ShardId> = closed
            .iter()
            .map(|shard| &shard.id)
            .filter(|id| self.table.contains_key(*id))
            .collect();
        if let Some(id) = ready.get(which % ready.len().max(1)) {
            let id = (*id).clone();
            self.table.get_mut(&id).unwrap().checkpoint = Checkpoint::ShardEnd;
            self.finished.insert(id);
        }
    }

    /// Retention removes a closed shard whose records have all been read, parents before children.
    fn forget(&mut self, which: usize) {
        let old = |shard: &&Shard| {
            self.finished.contains(&shard.id) && shard.parents().all(|parent| self.forgotten.contains(parent))
        };
        let old: Vec<ShardId> = self.shards.iter().filter(old).map(|shard| shard.id.clone()).collect();
        if let Some(id) = old.get(which % old.len().max(1)) {
            self.forgotten.insert(id.clone());
        }
    }

    /// A syncer reads rows and shards; the listing may lack the newest shards, but not twice in a row: that is what
    /// the syncer relies on.
    fn look(&mut self, who: usize, lag: usize) {
        let lag = if self.syncers[who].was_late { 0 } else { lag };
        self.syncers[who].was_late = lag > 0;
        let seen = self.shards.len().saturating_sub(lag % 4).max(1);
        let listed = self.shards[..seen]
            .iter()
            .filter(|shard| !self.forgotten.contains(&shard.id));
        let listing: Vec<Shard> = listed.cloned().collect();
        let rows: Vec<Lease> = self.table.values().cloned().collect();
        let syncer = &mut self.syncers[who];
        let plan = sync(&rows, &listing, self.initial, &syncer.missing, Epoch(0));
        syncer.missing = plan.missing;
        syncer.todo = plan.creates.into_iter().chain(plan.deletes).rev().collect();
    }

    fn write(&mut self, who: usize, much: usize) {
        for _ in 0..=much % 4 {
            let Some(write) = self.syncers[who].todo.pop() else {
                return;
            };
            let key = write.key().clone();
            let is_new = matches!(write, LeaseWrite::Create(_));
            match write.apply(self.table.get(&key)) {
                Ok(Some(row)) => {
                    if is_new {
                        self.began.entry(key.clone()).or_default().push(row.checkpoint.clone());
                    }
                    self.table.insert(key, row);
                }
                Ok(None) => drop(self.table.remove(&key)),
                Err(_) => {}
            }
        }
    }

    /// No more trouble: a few complete rounds, everything closed read to its end.
    fn come_to_rest(&mut self) {
        for _ in 0..8 {
            self.look(0, 0);
            while !self.syncers[0].todo.is_empty() {
                self.write(0, 0);
            }
            for shard in self.shards.iter().filter(|shard| !shard.open) {
                if let Some(row) = self.table.get_mut(&shard.id) {
                    row.checkpoint = Checkpoint::ShardEnd;
                    self.finished.insert(shard.id.clone());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_shard_is_passed_over_and_only_the_open_ones_keep_rows(
        shards in 1_u128..5,
        acts in prop::collection::vec((0_u8..10, 0_usize..16, 0_usize..16), 0..120),
    ) {
        let mut model = Model::new(shards);
        for act in acts {
            model.act(act);
        }
        model.come_to_rest();
        let never: Vec<_> = model.shards.iter().filter(|shard| !model.began.contains_key(&shard.id)).collect();
        prop_assert!(never.is_empty(), "never read: {never:?}");
        let open: BTreeSet<_> = model.shards.iter().filter(|shard| shard.open).map(|shard| shard.id.clone()).collect();
        prop_assert_eq!(model.table.keys().cloned().collect::<BTreeSet<_>>(), open);
    }

    #[test]
    fn one_syncer_at_a_time_never_reads_a_shard_again(
        shards in 1_u128..5,
        acts in prop::collection::vec((0_u8..10, 0_usize..16, 0_usize..16), 0..120),
    ) {
        let mut model = Model::new(shards);
        for (what, which, much) in acts {
            model.act((what, if what >= 4 { which & !1 } else { which }, much));
        }
        model.come_to_rest();
        let again: Vec<_> = model.began.iter().filter(|(_, times)| times.len() > 1).collect();
        prop_assert!(again.is_empty(), "read again: {again:?}");
    }

    #[test]
    fn what_appears_after_the_first_look_is_read_from_its_start(
        shards in 1_u128..5,
        latest in any::<bool>(),
        early in prop::collection::vec((0_u8..2, 0_usize..16, 0_usize..16), 0..6),
        acts in prop::collection::vec((0_u8..10, 0_usize..16, 0_usize..16), 0..80),
    ) {
        let mut model = Model::new(shards);
        model.initial = if latest { InitialPosition::Latest } else { InitialPosition::AtTimestamp };
        for act in early {
            model.act(act);
        }
        model.look(0, 0);
        while !model.syncers[0].todo.is_empty() {
            model.write(0, 0);
        }
        let before = model.shards.len();
        let first: BTreeSet<_> = model.began.keys().cloned().collect();
        for act in acts {
            model.act(act);
        }
        model.come_to_rest();
        for checkpoint in first.iter().map(|id| &model.began[id][0]) {
            prop_assert_eq!(checkpoint, &model.initial.checkpoint());
        }
        for shard in &model.shards[before..] {
            prop_assert_eq!(model.began.get(&shard.id).map(|times| &times[0]), Some(&Checkpoint::TrimHorizon), "{}", shard.id);
        }
        let late: Vec<_> = model.shards[..before].iter().filter(|shard| !first.contains(&shard.id)).collect();
        prop_assert!(late.iter().all(|shard| latest && !model.began.contains_key(&shard.id)), "{late:?}");
    }
}
