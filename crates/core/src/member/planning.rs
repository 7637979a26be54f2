//! From the rows that were read to the leases that shall come here, and how each comes.

use std::collections::BTreeSet;

use super::moves::{Move, Step};
use super::round::{arriving, find};
use super::{Member, Note, Strategy};
use crate::balance::{self, Candidate, Plan, View};
use crate::id::{ShardId, WorkerId};
use crate::lease::Lease;
use crate::liveness::Life;
use crate::sync::{self, ChildOrder};
use crate::time::Moment;

impl Member {
    /// Plans, unless the set of workers is still changing.
    pub(super) fn plan_if_settled(&mut self, now: Moment, rows: &[Lease]) {
        let settled_at = self.round.grown_at + self.config.settle_for;
        if self.round.members_read.is_none() || now < settled_at {
            return self.round.want_scan(settled_at.max(now + self.config.handoff_poll));
        }
        let view = self.view(rows);
        let me = self.me().worker.clone();
        // After a loss the orphans go at once; live leases wait until all views agree.
        let orphans_only_until = self.round.changed_at + self.config.settle_for;
        let policy = self.config.policy;
        let coming: Vec<balance::Move> = match self.config.strategy {
            Strategy::Balanced => {
                let plan = balance::plan(&view, &policy);
                let coming = plan.coming_to(&me).cloned().collect();
                self.watch_orphans(now, &plan);
                self.keep_plan(&view, plan);
                coming
            }
            Strategy::Stealing { every } => {
                let mut coming = balance::adopt(&view, &policy, &me);
                if now >= self.round.steal_due {
                    self.round.steal_due = now + every;
                    coming.extend(balance::steal(&view, &policy, &me));
                }
                self.round
                    .want_scan(self.round.steal_due.max(now + self.config.poll_every));
                coming
            }
        };
        self.queue.clear();
        let mut coming: Vec<(u64, balance::Move)> = coming
            .into_iter()
            .map(|a_move| (balance::stable_hash(&[me.as_str(), a_move.key.as_str()]), a_move))
            .collect();
        coming.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
        for (_, a_move) in coming {
            if a_move.from.is_some() && now < orphans_only_until {
                self.round.want_scan(orphans_only_until);
                continue;
            }
            let Some(row) = find(rows, &a_move.key) else { continue };
            if let Some(a_move) = self.way_here(now, row) {
                self.begin(a_move);
            }
        }
    }

    /// Orphans that shall go to others: whoever plans a little later sees other counts and may mean this worker, so look
    /// again soon, at growing intervals, until they are gone or the next regular read is as near.
    fn watch_orphans(&mut self, now: Moment, plan: &Plan) {
        let me = &self.profile.process.worker;
        let elsewhere = plan
            .moves
            .iter()
            .any(|a_move| a_move.from.is_none() && a_move.to.as_ref().is_some_and(|to| to != me));
        let since = now.since(self.round.changed_at.max(self.round.grown_at));
        if elsewhere && since < self.config.settle_for * 2 {
            self.round.want_scan(now + since.max(self.config.handoff_poll));
        }
    }

    fn view(&self, rows: &[Lease]) -> View {
        let me = &self.profile.process.worker;
        let cap = |id: &WorkerId| {
            if id == me {
                self.profile.hard_cap
            } else {
                self.peers.row(id).and_then(|row| row.hard_cap)
            }
        };
        let candidates = self.round.sharing.iter().map(|id| Candidate {
            id: id.clone(),
            hard_cap: cap(id),
        });
        let planned = rows.iter().filter(|row| !self.is_unlisted(row));
        let mut view = View::of(planned, &self.runnable(rows), candidates.collect());
        if !self.config.rules.asker_is_no_owner {
            for placed in &mut view.leases {
                let owner = find(rows, &placed.key).and_then(|row| row.owner.clone());
                placed.owner = owner.filter(|owner| self.round.sharing.contains(owner));
            }
        }
        view
    }

    /// The leases that somebody should have.
    fn runnable(&self, rows: &[Lease]) -> BTreeSet<ShardId> {
        let order = if self.config.parents_first {
            ChildOrder::AfterParents
        } else {
            ChildOrder::Immediate
        };
        sync::runnable(rows, order)
    }

    fn keep_plan(&mut self, view: &View, plan: Plan) {
        self.note(Note::Planned {
            leases: view.leases.len(),
            workers: view.workers.len(),
            coming: plan.coming_to(&self.profile.process.worker).count(),
        });
        let before = self.round.plan.as_ref().and_then(|plan| plan.cap_exceeded);
        if let Some(exceeded) = plan.cap_exceeded
            && before != Some(exceeded)
        {
            let (by, unowned) = (exceeded.by, exceeded.unowned);
            self.note(Note::CapExceeded { by, unowned });
        }
        self.round.plan = Some(plan);
    }

    /// How a lease that shall come here comes: it follows from who is live, not from who shares.
    fn way_here(&self, now: Moment, row: &Lease) -> Option<Move> {
        let rules = self.config.rules;
        if !rules.asker_is_no_owner && self.asker_gone(row) {
            let mut taken = arriving(row, "dead", Step::Take, now);
            taken.from.clone_from(&row.owner);
            return Some(taken);
        }
        let Some(present) = row.present_owner() else {
            return Some(arriving(row, "orphan", Step::Take, now));
        };
        if *present == self.me().worker {
            return None;
        }
        if self.peers.has_ended(row) {
            return Some(arriving(row, "ended", Step::Take, now));
        }
        if self.is_unlisted(row) {
            return None;
        }
        if self.peers.life(present) != Life::Live {
            let step = if rules.beat_after_row {
                Step::Confirm
            } else {
                Step::Take
            };
            return Some(arriving(row, "dead", step, now));
        }
        // Of an owner without a row nothing is known until it has been missing for the failover time.
        self.peers.row(present)?;
        let reason = if self.config.strategy == Strategy::Balanced {
            "handoff"
        } else {
            "steal"
        };
        let free = !row.handoff_pending() || self.asker_gone(row);
        free.then(|| arriving(row, reason, Step::Ask, now))
    }
}
