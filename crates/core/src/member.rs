//! One worker's part in the lease protocol, as a state machine without I/O.
//!
//! # Expected flow
//! The shell makes a [`Member`], calls [`Member::poll`] whenever [`Member::deadline`] has come, hands every answer and
//! every happening to [`Member::on`], and carries out the [`Action`]s that come back, in their order.
//!
//! # Guarantees
//! The ten rules that keep one owner (`docs/protocol.md`) are all kept here: at no time do two machines that follow their
//! actions deliver records of one shard, whatever is lost, delayed, paused or repeated.
//!
//! # Assumptions
//! `now` never goes back and counts suspend. Nobody delivers a record of a hold at or after the moment that the newest
//! [`Action::Start`] or [`Action::Extend`] of that hold named. The clock's *rate* is right within the margin.

mod beat;
mod config;
mod depart;
mod join;
mod messages;
mod moves;
mod owned;
mod planning;
mod removal;
mod round;
#[cfg(test)]
mod tests;
mod unlisted;
mod windows;
mod wire;

use std::collections::{BTreeMap, VecDeque};

use self::beat::Pulse;
pub use self::config::{Config, Mismatch, Rules, Strategy};
use self::depart::Leaving;
use self::join::Joining;
pub use self::messages::{Action, Event, Exit, Hold, Note, Reply, Request, RequestId, StopReason, Written};
use self::moves::Move;
use self::owned::Owned;
use self::round::{Round, Rows};
use self::wire::{Purpose, Wire};
use crate::balance::{Plan, stable_hash};
use crate::id::{ShardId, WorkerId};
use crate::lease::{Lease, Process};
use crate::liveness::Liveness;
use crate::time::Moment;

/// Who a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name and the process start.
    pub process: Process,
    /// The most leases that it may have.
    pub hard_cap: Option<u32>,
    /// Where a person finds it, `host` or `host:port`; for error texts and tools only.
    pub address: Option<String>,
    /// When the process started, for error texts only (RFC 3339).
    pub started: String,
}

/// How far a member has come.
#[derive(Debug)]
enum Phase {
    /// It makes sure that it is the only process of its name.
    Joining(Joining),
    /// Its row beats.
    Live,
    /// It said [`Action::Exit`]; nothing more comes from it.
    Over,
}

/// One worker in the lease protocol.
#[derive(Debug)]
pub struct Member {
    config: Config,
    profile: Profile,
    phase: Phase,
    leaving: Option<Leaving>,
    /// Requests under way.
    wire: Wire,
    /// What the call that is being served will return.
    out: Vec<Action>,
    /// This worker's own beats and the windows that they open.
    pulse: Pulse,
    /// The other workers.
    peers: Liveness,
    /// The leases that this process has.
    owned: BTreeMap<ShardId, Owned>,
    /// The leases that are on their way here.
    moves: BTreeMap<ShardId, Move>,
    /// What else shall come, when there is room for more moves.
    queue: VecDeque<Move>,
    /// Reading rows and planning.
    round: Round,
    /// Counts draws of jitter.
    draws: u64,
}

impl Member {
    /// A worker that has said nothing yet. Its first [`deadline`](Self::deadline) is `now`.
    pub fn new(config: Config, profile: Profile, now: Moment) -> Self {
        Self {
            peers: Liveness::new(config.failover_after, config.rules.dead_by_late_read),
            phase: Phase::Joining(Joining::new(now)),
            leaving: None,
            wire: Wire::default(),
            out: Vec::new(),
            pulse: Pulse::default(),
            owned: BTreeMap::new(),
            moves: BTreeMap::new(),
            queue: VecDeque::new(),
            round: Round::default(),
            draws: 0,
            config,
            profile,
        }
    }

    /// When [`poll`](Self::poll) must be called next. It changes with every `poll` and `on`.
    pub fn deadline(&self) -> Moment {
        match &self.phase {
            Phase::Joining(joining) => joining.deadline().min(self.wire.deadline(self.config.failover_after)),
            Phase::Live => [
                self.wire.deadline(self.config.failover_after),
                self.pulse.due(),
                self.round.deadline(),
                self.owned_deadline(),
                self.moves_deadline(),
                self.leaving_deadline(),
            ]
            .into_iter()
            .min()
            .expect("the array is not empty"),
            Phase::Over => Moment::NEVER,
        }
    }

    /// Time has passed.
    pub fn poll(&mut self, now: Moment) -> Vec<Action> {
        self.close_windows(now);
        self.work(now)
    }

    /// Something happened.
    pub fn on(&mut self, now: Moment, event: Event) -> Vec<Action> {
        // Before anything else: an answer must not hide that a window has ended.
        self.close_windows(now);
        match event {
            Event::Reply { id, reply } => self.answered(now, id, reply),
            Event::LineageChanged => self.round.want_scan(now),
            Event::Drained { hold, checkpoint } => self.drained(now, &hold, checkpoint),
            Event::Checkpointed { hold, sent, written } => self.checkpointed(now, &hold, sent, written),
            Event::ShardEnded { hold } => self.shard_ended(now, &hold),
            Event::Depart(departure) => self.depart(now, departure),
        }
        self.work(now)
    }

    /// Who this is.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The leases that this process has at present, delivering or not, with the end of each window.
    pub fn holds(&self) -> BTreeMap<ShardId, (Hold, Moment)> {
        let entry = |(key, owned): (&ShardId, &Owned)| (key.clone(), (owned.hold.clone(), owned.until));
        self.owned.iter().map(entry).collect()
    }

    /// The workers that share the leases, as far as this one knows, in the order of their ids.
    pub fn workers(&self) -> &[WorkerId] {
        self.round.workers()
    }

    /// The rows of all lease holders and workers as last read, for a monitor.
    pub fn leases(&self) -> &[Lease] {
        self.round.rows()
    }

    /// The plan that this worker last acted on.
    pub fn last_plan(&self) -> Option<&Plan> {
        self.round.plan()
    }

    /// Does everything that is due.
    fn work(&mut self, now: Moment) -> Vec<Action> {
        for (purpose, sent) in self.wire.expired(now, self.config.failover_after) {
            self.take_reply(now, purpose, sent, Reply::Failed);
        }
        match self.phase {
            Phase::Joining(_) => self.join_on(now),
            Phase::Live => {
                self.beat_if_due(now);
                self.read_if_due(now);
                self.tend_owned(now);
                self.tend_moves(now);
                self.leave_if_done(now);
            }
            Phase::Over => {}
        }
        std::mem::take(&mut self.out)
    }

    fn answered(&mut self, now: Moment, id: RequestId, reply: Reply) {
        // An answer that was given up long ago says nothing that a later read will not say.
        if let Some((purpose, sent)) = self.wire.done(id) {
            self.take_reply(now, purpose, sent, reply);
        }
    }

    fn take_reply(&mut self, now: Moment, purpose: Purpose, sent: Moment, reply: Reply) {
        match (&self.phase, purpose) {
            (Phase::Over, _) => {}
            (_, Purpose::Join) => self.join_answered(now, sent, reply),
            (_, Purpose::Beat) => self.beat_answered(now, sent, reply),
            (_, Purpose::Register) => self.registered_again(now, reply),
            (_, Purpose::Members) => self.members_read(now, sent, Rows::All, reply),
            (_, Purpose::MembersPresent) => self.members_read(now, sent, Rows::Present, reply),
            (_, Purpose::Leases { asks }) => self.leases_read(now, sent, asks, reply),
            (_, Purpose::Confirm { owner, keys }) => self.owner_confirmed(now, sent, &owner, keys, reply),
            (_, Purpose::Owned { key, write }) => self.owned_written(now, sent, &key, write, reply),
            (_, Purpose::Move { key }) => self.move_answered(now, sent, &key, reply),
            (_, Purpose::Remove(process)) => self.row_removed(&process, &reply),
            (_, Purpose::Depart) => self.depart_answered(now, reply),
        }
    }

    fn send(&mut self, now: Moment, purpose: Purpose, request: Request) -> RequestId {
        let id = self.wire.sent(now, purpose);
        self.out.push(Action::Send { id, request });
        id
    }

    fn note(&mut self, note: Note) {
        self.out.push(Action::Note(note));
    }

    /// Ends the process: every hold is stopped first.
    fn exit(&mut self, exit: Exit) {
        if self.over() {
            return;
        }
        self.evict_all();
        self.phase = Phase::Over;
        self.out.push(Action::Exit(exit));
    }

    fn over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn me(&self) -> &Process {
        &self.profile.process
    }

    /// A share of `span`, from 0 to less than 1: the core draws no randomness, so it is a hash of who draws and when.
    fn jitter(&mut self, span: std::time::Duration) -> std::time::Duration {
        self.draws += 1;
        let process = &self.profile.process;
        let draw = self.draws.to_string();
        let hash = stable_hash(&[process.worker.as_str(), process.incarnation.as_str(), &draw]);
        let thousandths = u32::try_from(hash % 1_000).expect("less than 1,000");
        span * thousandths / 1_000
    }
}
