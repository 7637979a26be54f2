//! Reading the rows, judging who shares in the leases, and planning what shall come here.
//!
//! The workers' rows are read every poll; those of workers that left for good only when a worker vanished or a lease names
//! one of them, and now and then by the worker that removes them: there may be thousands. The lease rows are read only
//! when there is a reason: the set of workers changed and has settled, somebody ended or leaves, the shards changed, this
//! worker was asked for a lease; and once in every failover time, because an asker may have died before it told anybody.

use std::collections::{BTreeMap, BTreeSet};

use super::moves::{Move, Step};
use super::removal::GONE_KEPT;
use super::unlisted::Unlisted;
use super::wire::{OwnWrite, Purpose};
use super::{Exit, Member, Note, Reply, Request};
use crate::balance::Plan;
use crate::id::{Epoch, ShardId, WorkerId};
use crate::lease::Lease;
use crate::liveness::Life;
use crate::time::Moment;
use crate::worker::{Departure, Group};

/// Whose rows a read of the workers' rows returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// Everybody's.
    All,
    /// Those of the workers that have not left for good.
    Present,
}

/// What was read, and when to read again.
#[derive(Debug, Default)]
pub(super) struct Round {
    members_due: Moment,
    /// The send of the newest read of the workers' rows.
    members_sent: Option<Moment>,
    /// When the worker that removes rows reads all of them next.
    all_due: Moment,
    /// The send of the newest answered read of the workers' rows.
    pub(super) members_read: Option<Moment>,
    scan_due: Moment,
    scan_sent: Option<Moment>,
    /// The send of the newest answered read of the lease rows.
    scan_read: Option<Moment>,
    /// The workers that share the leases, in the order of their ids.
    pub(super) sharing: Vec<WorkerId>,
    /// When a worker was last seen to join.
    pub(super) grown_at: Moment,
    /// When the set of workers, or the set of leases, last changed in any way.
    pub(super) changed_at: Moment,
    /// Workers that are known to be no more.
    lost: BTreeSet<WorkerId>,
    lineage: Option<u64>,
    rows: Vec<Lease>,
    pub(super) plan: Option<Plan>,
    /// When leases of this name, but of another process, may be taken.
    pub(super) own_name_from: Moment,
    /// `Stealing`: when to steal next.
    pub(super) steal_due: Moment,
    /// The leases of owners without a worker row.
    pub(super) unlisted: BTreeMap<ShardId, Unlisted>,
    /// The last epoch of each lease that this process had: an older read must not bring it back.
    dropped: BTreeMap<ShardId, Epoch>,
    /// Shards that this process finished while a read of the lease rows was under way, with the send of that read: it may
    /// show the row as it was before its end was written.
    finished: BTreeMap<ShardId, Moment>,
}

impl Round {
    /// Reads from now on, and from `all_due` on what can be removed: nothing is by the first reads.
    pub(super) fn start(&mut self, now: Moment, all_due: Moment) {
        self.all_due = all_due;
        self.members_due = now;
        self.scan_due = now;
    }

    pub(super) fn want_scan(&mut self, at: Moment) {
        self.scan_due = self.scan_due.min(at);
    }

    pub(super) fn want_members(&mut self, at: Moment) {
        self.members_due = self.members_due.min(at);
    }

    pub(super) fn workers(&self) -> &[WorkerId] {
        &self.sharing
    }

    pub(super) fn rows(&self) -> &[Lease] {
        &self.rows
    }

    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    pub(super) fn deadline(&self) -> Moment {
        self.members_due.min(self.scan_due)
    }

    /// The send of the newest answered read of the lease rows.
    pub(super) fn last_scan(&self) -> Option<Moment> {
        self.scan_read
    }

    /// This process has the lease no more.
    pub(super) fn dropped(&mut self, key: ShardId, epoch: Epoch) {
        self.dropped.insert(key, epoch);
    }

    /// This process has finished the shard, and its row says so.
    pub(super) fn finished(&mut self, key: ShardId) {
        self.finished.extend(self.scan_sent.map(|sent| (key, sent)));
    }
}

impl Member {
    pub(super) fn read_if_due(&mut self, now: Moment) {
        let poll = self.config.poll_every;
        if now >= self.round.members_due {
            let under_way = self
                .wire
                .any(|purpose| matches!(purpose, Purpose::Members | Purpose::MembersPresent));
            if let Some(sent) = self
                .round
                .members_sent
                .filter(|sent| under_way && now < *sent + poll * 2)
            {
                // A store that takes longer than a poll does not get faster by being asked for more.
                self.round.members_due = sent + poll * 2;
            }
        }
        if now >= self.round.members_due {
            self.round.members_sent = Some(now);
            let period = if self.leaving.is_some() {
                self.config.handoff_poll
            } else {
                poll
            };
            self.round.members_due = now + period + self.jitter(period / 10);
            let all = self.peers.needs_all() || (self.removes_rows() && now >= self.round.all_due);
            let (purpose, request) = if all {
                (Purpose::Members, Request::Members)
            } else {
                (Purpose::MembersPresent, Request::MembersPresent)
            };
            self.send(now, purpose, request);
        }
        if now >= self.round.scan_due {
            let under_way = self.wire.any(|purpose| matches!(purpose, Purpose::Leases { .. }));
            if let Some(sent) = self.round.scan_sent.filter(|sent| under_way && now < *sent + poll * 2) {
                // What made it due may have come after that read: once more when it is answered.
                self.round.scan_due = sent + poll * 2;
                return;
            }
            let asks = self.pulse.asks_known;
            let failover_after = self.config.failover_after;
            self.round.scan_sent = Some(now);
            self.round.scan_due = now + failover_after - self.jitter(failover_after / 20);
            self.send(now, Purpose::Leases { asks }, Request::Leases);
        }
    }

    pub(super) fn members_read(&mut self, now: Moment, sent: Moment, rows: Rows, reply: Reply) {
        let Reply::Members { group, mut workers } = reply else {
            let wait = self.config.poll_every / 4;
            let wait = wait + self.jitter(wait);
            return self.round.want_members(now + wait);
        };
        if self.round.members_read.is_some_and(|read| sent < read) {
            return;
        }
        let first = self.round.members_read.replace(sent).is_none();
        if let Some(group) = group {
            self.group_read(now, &group);
        }
        let me = self.me().worker.clone();
        let own = workers.iter().position(|row| row.id == me).map(|at| workers.remove(at));
        self.own_row_found(now, own);
        if self.over() {
            return;
        }
        match rows {
            Rows::All => {
                self.peers.saw_all(&workers, sent, now);
                self.round.all_due = now + self.config.failover_after * GONE_KEPT;
            }
            Rows::Present => self.peers.saw_present(&workers, sent, now),
        }
        self.membership(now, first);
        self.remove_rows(now);
        self.round.want_members(self.peers.next_proof(sent).max(now));
        if self.peers.needs_all() {
            self.round.want_members(now);
        }
    }

    fn group_read(&mut self, now: Moment, group: &Group) {
        if group.renewal != self.config.renewal {
            let (table, mine) = (group.renewal, self.config.renewal);
            return self.exit(Exit::RenewalModeDiffers { table, mine });
        }
        if self
            .round
            .lineage
            .replace(group.lineage)
            .is_some_and(|before| before != group.lineage)
        {
            self.round.changed_at = now;
            self.round.want_scan(now);
        }
    }

    /// Who shares in the leases now.
    fn membership(&mut self, now: Moment, first: bool) {
        let me = &self.profile.process.worker;
        let staying = self
            .leaving
            .as_ref()
            .is_none_or(|leaving| leaving.how != Departure::Release);
        let others = self.peers.rows().map(|row| &row.id).filter(|id| *id != me);
        let mut sharing: Vec<WorkerId> = others.filter(|id| self.peers.shares(id, now)).cloned().collect();
        if staying {
            sharing.push(me.clone());
        }
        sharing.sort();
        let lost: BTreeSet<WorkerId> = self
            .peers
            .rows()
            .filter(|row| self.peers.life(&row.id) != Life::Live)
            .map(|row| row.id.clone())
            .collect();
        let settle_for = self.config.settle_for;
        let round = &mut self.round;
        if lost.iter().any(|id| !round.lost.contains(id)) {
            round.want_scan(now.max(round.grown_at + settle_for));
        }
        if sharing != round.sharing || first {
            let grown = first || sharing.iter().any(|id| round.sharing.binary_search(id).is_err());
            round.changed_at = now;
            if grown {
                round.grown_at = now;
            }
            let dead = round.sharing.iter().filter(|id| lost.contains(*id)).cloned().collect();
            let workers = sharing.clone();
            round.sharing = sharing;
            round.want_scan(now.max(round.grown_at + settle_for));
            self.note(Note::Membership { workers, dead });
        }
        self.round.lost = lost;
    }

    pub(super) fn leases_read(&mut self, now: Moment, sent: Moment, asks: Option<u64>, reply: Reply) {
        let Reply::Leases(mut rows) = reply else {
            let wait = self.config.poll_every / 4;
            let wait = wait + self.jitter(wait);
            return self.round.want_scan(now + wait);
        };
        if self.round.scan_read.is_some_and(|read| sent < read) {
            return;
        }
        let first = self.round.scan_read.replace(sent).is_none();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        // The rows of new shards may be read before the count that announces them to everybody.
        if !first && rows.iter().any(|row| find(&self.round.rows, &row.key).is_none()) {
            self.round.changed_at = now;
        }
        self.own_rows_read(now, asks, &rows);
        if self.round.members_read.is_some() {
            self.watch_unlisted(now, sent, &rows);
        }
        if self.leaving.is_none() {
            self.gather_own(now, sent, &rows);
            self.plan_if_settled(now, &rows);
        }
        if self.pulse.asked() {
            self.round.want_scan(now);
        }
        self.round.rows = rows;
    }

    /// The rows of this process's leases: who asks, and what is lost.
    fn own_rows_read(&mut self, now: Moment, asks: Option<u64>, rows: &[Lease]) {
        let named = rows
            .iter()
            .flat_map(|row| row.owner.iter().chain(&row.checkpoint_owner));
        let named: BTreeSet<&WorkerId> = named.filter(|id| **id != self.profile.process.worker).collect();
        for id in &named {
            self.peers.expect(id);
        }
        self.peers.forget_missing(|id| named.contains(id));
        if !self.removes_rows() {
            self.peers.forget_left(|id| named.contains(id));
        }
        let keys: Vec<ShardId> = self.owned.keys().cloned().collect();
        for key in keys {
            match find(rows, &key) {
                Some(row) => self.owned_row(&key, Some(row)),
                // The row is gone, or could not be read: ask for this one.
                None => {
                    let write = OwnWrite::Look;
                    let purpose = Purpose::Owned {
                        key: key.clone(),
                        write,
                    };
                    self.send(now, purpose, Request::Lease(key));
                }
            }
        }
        self.pulse.covered(asks);
        self.extend_windows(now);
    }

    /// Rows that name this worker although nothing here knows of them: of the process before it, or of writes whose
    /// replies were lost.
    fn gather_own(&mut self, now: Moment, sent: Moment, rows: &[Lease]) {
        let me = self.me().clone();
        // What was sent after the end was written shows the end.
        self.round.finished.retain(|_, newest| sent <= *newest);
        for row in rows.iter().filter(|row| !row.finished()) {
            if self.owned.contains_key(&row.key) || self.moves.contains_key(&row.key) {
                continue;
            }
            let present = row.present_owner() == Some(&me.worker);
            let older = self
                .round
                .dropped
                .get(&row.key)
                .is_some_and(|epoch| row.epoch <= *epoch)
                || self.round.finished.contains_key(&row.key);
            if present && row.incarnation.as_ref() == Some(&me.incarnation) {
                if !older {
                    let (key, from, reason) = (row.key.clone(), None, "found");
                    self.note(Note::Moved { key, from, reason });
                    self.acquire(now, row.clone(), None);
                }
            } else if present {
                if now >= self.round.own_name_from {
                    self.begin(arriving(row, "own-name", Step::Take, now));
                } else {
                    self.round.want_scan(self.round.own_name_from);
                }
            } else if row.owner.as_ref() == Some(&me.worker) && row.next_incarnation.as_ref() == Some(&me.incarnation) {
                self.begin(arriving(row, "handoff", Step::Tell, now));
            }
        }
    }
}

pub(super) fn arriving(row: &Lease, reason: &'static str, step: Step, now: Moment) -> Move {
    Move {
        lease: row.clone(),
        from: row.present_owner().cloned(),
        reason,
        step,
        still: None,
        next: now,
    }
}

pub(super) fn find<'a>(rows: &'a [Lease], key: &ShardId) -> Option<&'a Lease> {
    let at = rows.binary_search_by(|row| row.key.cmp(key)).ok()?;
    rows.get(at)
}
