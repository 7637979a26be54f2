//! A small world that obeys effects as the real one does: late, once, and only when they still make sense.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::balance::{self, Candidate, Policy, View};
use crate::experiment::{
    ChildFacts, Effect, Move, PlannedPod, ProcessEnd, RecordFacts, Replicas, Restart, StreamFacts, StreamStatus,
    Timestamp, WorkerFacts, World,
};
use crate::id::{Epoch, HashRange, Incarnation, SequenceNumber, ShardId, WorkerId};
use crate::lease::{Checkpoint, Lease};
use crate::shard_map::Shard;

const RESHARD_TAKES: Duration = Duration::from_millis(700);
const START_TAKES: Duration = Duration::from_millis(1_500);
const SETTLE: Duration = Duration::from_millis(1_200);
const DRAIN_TAKES: Duration = Duration::from_millis(900);
const FAILOVER: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Process {
    incarnation: Incarnation,
    started: Timestamp,
    frozen_at: Option<Timestamp>,
    /// When the helper beside it lets it go on.
    thaws_at: Option<Timestamp>,
    dead_at: Option<Timestamp>,
}

#[derive(Clone)]
pub(super) struct Model {
    pub(super) now: Timestamp,
    pub(super) world: World,
    /// Every split that was carried out, in order.
    pub(super) splits: Vec<ShardId>,
    /// Every merge that was carried out, in order.
    pub(super) merges: Vec<(ShardId, ShardId)>,
    /// The processes that were ended by effects, in order.
    pub(super) killed: Vec<PlannedPod>,
    /// How many times streams were made.
    pub(super) streams_made: u32,
    /// Whether the audit's rows are read.
    pub(super) audits: bool,
    ready_at: Timestamp,
    closed_at: BTreeMap<ShardId, Timestamp>,
    fleet: BTreeMap<WorkerId, Process>,
    members: Vec<WorkerId>,
    changed_at: Timestamp,
    made: u32,
    /// Workers that are not started again.
    lost: BTreeSet<WorkerId>,
    /// What the leases were last dealt out for; nothing moves before it differs.
    dealt_for: (usize, usize, Vec<WorkerId>, bool),
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            now: Timestamp(1_800_000_000_000),
            world: World::default(),
            splits: Vec::new(),
            merges: Vec::new(),
            killed: Vec::new(),
            streams_made: 0,
            audits: true,
            ready_at: Timestamp(0),
            closed_at: BTreeMap::new(),
            fleet: BTreeMap::new(),
            members: Vec::new(),
            changed_at: Timestamp(0),
            made: 0,
            lost: BTreeSet::new(),
            dealt_for: (0, 0, Vec::new(), false),
        }
    }

    /// What is seen now.
    pub(super) fn observe(&self) -> World {
        World {
            seen_at: Some(self.now),
            ..self.world.clone()
        }
    }

    /// Lets time pass, and everything happen that time brings.
    pub(super) fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.stream_settles();
        self.fleet_follows();
        self.leases_follow();
        self.world.workers = self
            .fleet
            .iter()
            .map(|(id, process)| self.facts_of(id, process))
            .collect();
        self.world.replicas.present =
            u32::try_from(self.fleet.values().filter(|process| process.dead_at.is_none()).count()).unwrap();
    }

    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::CreateStream { shards } => self.create(*shards),
            Effect::DeleteStream { created } => {
                if self.world.stream.created == Some(*created) {
                    self.world.stream = StreamFacts::default();
                    self.world.leases.clear();
                }
            }
            Effect::Scale { replicas } => self.scale(*replicas),
            Effect::MirrorReplicas { .. } => {}
            Effect::SetProducer { records_per_second } => self.world.producer_rate = Some(*records_per_second),
            Effect::SplitShard { shard, at } => self.split(shard, at.parse().unwrap()),
            Effect::MergeShards { shard, adjacent } => self.merge(shard, adjacent),
            Effect::UpdateShardCount { target } => self.update(*target),
            Effect::Kill { pod, restart, .. } => {
                let now = self.now;
                if *restart == Restart::Never {
                    self.lost.insert(pod.worker.clone());
                }
                if let Some(process) = self.process(pod).filter(|process| process.dead_at.is_none()) {
                    process.dead_at = Some(now);
                    self.killed.push(pod.clone());
                    self.end(&pod.worker, &pod.incarnation, "killed");
                }
            }
            Effect::Freeze { pod, milliseconds } => {
                let now = self.now;
                if let Some(process) = self.process(pod) {
                    process.frozen_at.get_or_insert(now);
                    process.thaws_at = Some(now + Duration::from_millis(*milliseconds));
                }
            }
            Effect::Thaw { pod } => {
                if let Some(process) = self.process(pod) {
                    process.frozen_at = None;
                }
            }
        }
    }

    /// A worker's process ends by itself, or by somebody's hand; another takes its place.
    pub(super) fn lose(&mut self, worker: &str, why: &str) {
        let now = self.now;
        let worker = WorkerId::from(worker);
        if let Some(process) = self.fleet.get_mut(&worker) {
            process.dead_at = Some(now);
            let incarnation = process.incarnation.clone();
            self.end(&worker, &incarnation, why);
        }
    }

    fn end(&mut self, worker: &WorkerId, incarnation: &Incarnation, why: &str) {
        self.world.ends.push(ProcessEnd {
            worker: worker.clone(),
            incarnation: incarnation.clone(),
            at: self.now,
            why: why.to_owned(),
        });
    }

    /// Every process stops for good; nobody replaces it.
    pub(super) fn freeze_fleet(&mut self) {
        for process in self.fleet.values_mut() {
            process.frozen_at = Some(Timestamp(0));
        }
    }

    /// Somebody scales, this run or another.
    pub(super) fn scale(&mut self, replicas: u32) {
        if self.world.replicas.wanted != replicas {
            let generation = self.world.replicas.generation + 1;
            self.world.replicas = Replicas {
                wanted: replicas,
                generation,
                ..self.world.replicas.clone()
            };
        }
    }

    /// Somebody splits, this run or another. A shard that is closed, or a stream that is busy, refuses.
    pub(super) fn split(&mut self, id: &ShardId, at: u128) {
        let open = self
            .world
            .stream
            .shards
            .iter()
            .find(|shard| shard.id == *id && shard.open)
            .cloned();
        let Some(parent) = open.filter(|_| self.world.stream.status == StreamStatus::Active) else {
            return;
        };
        self.close(id);
        let HashRange { start, end } = parent.hash_range;
        self.add(HashRange { start, end: at - 1 }, Some(id), None);
        self.add(HashRange { start: at, end }, Some(id), None);
        self.splits.push(id.clone());
    }

    fn merge(&mut self, left: &ShardId, right: &ShardId) {
        let open = |id: &ShardId| {
            self.world
                .stream
                .shards
                .iter()
                .find(|shard| shard.id == *id && shard.open)
                .cloned()
        };
        let (Some(one), Some(other)) = (open(left), open(right)) else {
            return;
        };
        if self.world.stream.status != StreamStatus::Active {
            return;
        }
        assert_eq!(
            one.hash_range.end + 1,
            other.hash_range.start,
            "only neighbors can be merged"
        );
        self.close(left);
        self.close(right);
        let range = HashRange {
            start: one.hash_range.start,
            end: other.hash_range.end,
        };
        self.add(range, Some(left), Some(right));
        self.merges.push((left.clone(), right.clone()));
    }

    fn update(&mut self, target: u32) {
        let open: Vec<Shard> = self
            .world
            .stream
            .shards
            .iter()
            .filter(|shard| shard.open)
            .cloned()
            .collect();
        if self.world.stream.status != StreamStatus::Active || open.len() == target as usize {
            return;
        }
        for shard in &open {
            self.close(&shard.id);
        }
        let width = u128::MAX / u128::from(target);
        for nth in 0..u128::from(target) {
            let end = if nth + 1 == u128::from(target) {
                u128::MAX
            } else {
                (nth + 1) * width - 1
            };
            let range = HashRange {
                start: nth * width,
                end,
            };
            let parent = open
                .iter()
                .find(|shard| shard.hash_range.contains(range.start))
                .unwrap()
                .id
                .clone();
            self.add(range, Some(&parent), None);
        }
    }

    fn create(&mut self, shards: u32) {
        if self.world.stream.status != StreamStatus::Missing {
            return;
        }
        self.streams_made += 1;
        self.world.stream.created = Some(self.now);
        let width = u128::MAX / u128::from(shards);
        for nth in 0..u128::from(shards) {
            let end = if nth + 1 == u128::from(shards) {
                u128::MAX
            } else {
                (nth + 1) * width - 1
            };
            self.add(
                HashRange {
                    start: nth * width,
                    end,
                },
                None,
                None,
            );
        }
        self.world.stream.status = StreamStatus::Creating;
    }

    fn close(&mut self, id: &ShardId) {
        for shard in self.world.stream.shards.iter_mut().filter(|shard| shard.id == *id) {
            shard.open = false;
        }
        self.closed_at.insert(id.clone(), self.now);
    }

    fn add(&mut self, hash_range: HashRange, parent: Option<&ShardId>, adjacent_parent: Option<&ShardId>) {
        self.made += 1;
        let id = ShardId::from(format!("shardId-{:012}", self.made - 1));
        if parent.is_some() {
            let (appeared, started) = (self.now, Some(self.now + Duration::from_millis(800)));
            self.world.children.push(ChildFacts {
                child: id.clone(),
                appeared,
                started,
                parents_ended: None,
            });
        }
        self.world.stream.shards.push(Shard {
            id,
            parent: parent.cloned(),
            adjacent_parent: adjacent_parent.cloned(),
            hash_range,
            starts_at: SequenceNumber::from(u128::from(self.made)),
            open: true,
        });
        self.world.stream.status = StreamStatus::Updating;
        self.ready_at = self.now + RESHARD_TAKES;
    }

    fn stream_settles(&mut self) {
        let busy = matches!(
            self.world.stream.status,
            StreamStatus::Creating | StreamStatus::Updating
        );
        if busy && self.now >= self.ready_at {
            self.world.stream.status = StreamStatus::Active;
        }
        let sent = &mut self.world.records;
        *sent = RecordFacts {
            produced: sent.produced + 20,
            delivered: sent.delivered + 20,
            judged_to: self.audits.then_some(self.now),
            ..sent.clone()
        };
    }

    /// A name in the fleet always has a process: one that is dead is replaced, one too many is ended.
    fn fleet_follows(&mut self) {
        let names: Vec<WorkerId> = (0..self.world.replicas.wanted)
            .map(|nth| WorkerId::from(format!("fleet-{nth}")))
            .collect();
        let left = self
            .fleet
            .extract_if(.., |id, _| !names.contains(id))
            .collect::<Vec<_>>();
        for (id, process) in left {
            self.end(&id, &process.incarnation, "scaled away");
        }
        for process in self.fleet.values_mut() {
            if process.thaws_at.take_if(|at| *at <= self.now).is_some() {
                process.frozen_at = None;
            }
        }
        for id in names {
            let gone = self.fleet.get(&id).is_none_or(|process| process.dead_at.is_some());
            if gone && !self.lost.contains(&id) {
                self.made += 1;
                let incarnation = Incarnation::from(format!("process-{}", self.made));
                self.fleet.insert(
                    id,
                    Process {
                        incarnation,
                        started: self.now,
                        frozen_at: None,
                        thaws_at: None,
                        dead_at: None,
                    },
                );
            }
        }
    }

    fn leases_follow(&mut self) {
        for shard in &self.world.stream.shards {
            if self.world.leases.iter().all(|lease| lease.key != shard.id) {
                let mut lease = Lease::unowned(shard.id.clone(), Checkpoint::TrimHorizon, Epoch(1));
                lease.parents = shard.parents().cloned().collect();
                self.world.leases.push(lease);
            }
        }
        for lease in &mut self.world.leases {
            if self
                .closed_at
                .get(&lease.key)
                .is_some_and(|&at| self.now.since(at) >= DRAIN_TAKES)
            {
                lease.checkpoint = Checkpoint::ShardEnd;
                lease.owner = None;
            }
        }
        let members: Vec<WorkerId> = self
            .fleet
            .iter()
            .filter(|(_, process)| self.lives(process))
            .map(|(id, _)| id.clone())
            .collect();
        if members != self.members {
            self.members = members;
            self.changed_at = self.now;
        }
        let settled = self.now.since(self.changed_at) >= SETTLE;
        let finished = self.world.leases.iter().filter(|lease| lease.finished()).count();
        let deal_for = (self.world.leases.len(), finished, self.members.clone(), settled);
        if self.dealt_for == deal_for {
            return;
        }
        self.dealt_for = deal_for;
        let workers: Vec<Candidate> = self
            .members
            .iter()
            .map(|id| Candidate {
                id: id.clone(),
                hard_cap: None,
            })
            .collect();
        let runnable = self
            .world
            .leases
            .iter()
            .filter(|lease| !lease.finished())
            .map(|lease| lease.key.clone())
            .collect();
        let plan = balance::plan(&View::of(&self.world.leases, &runnable, workers), &Policy::default());
        for change in plan
            .moves
            .into_iter()
            .filter(|change| change.to.is_some() && (settled || change.from.is_none()))
        {
            let lease = self
                .world
                .leases
                .iter_mut()
                .find(|lease| lease.key == change.key)
                .unwrap();
            let from = std::mem::replace(&mut lease.owner, change.to.clone());
            self.world.moves.push(Move {
                lease: change.key,
                from,
                to: change.to,
                at: self.now,
            });
        }
    }

    fn lives(&self, process: &Process) -> bool {
        let up = process.dead_at.is_none() && self.now.since(process.started) >= START_TAKES;
        up && process.frozen_at.is_none_or(|at| self.now.since(at) < FAILOVER)
    }

    fn facts_of(&self, id: &WorkerId, process: &Process) -> WorkerFacts {
        let live = self.lives(process);
        WorkerFacts {
            id: id.clone(),
            incarnation: Some(process.incarnation.clone()),
            live,
            ready: live && process.frozen_at.is_none(),
            frozen: process.frozen_at.is_some(),
            departing: false,
        }
    }

    fn process(&mut self, pod: &PlannedPod) -> Option<&mut Process> {
        self.fleet
            .get_mut(&pod.worker)
            .filter(|process| process.incarnation == pod.incarnation)
    }
}
