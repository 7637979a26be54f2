//! Leaving in good order: every lease goes to somebody else, or waits for the name to come back; then the last write.

use super::wire::Purpose;
use super::{Exit, Member, Phase, Reply, Request};
use crate::hold::{Input, Why};
use crate::id::ShardId;
use crate::time::Moment;
use crate::worker::{Departure, WorkerWrite};

/// A worker that leaves.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) how: Departure,
    since: Moment,
    /// The last write is under way, or may be sent from then on.
    next: Moment,
    /// The last write was sent for the first time then.
    asked: Option<Moment>,
}

impl Member {
    /// The shell wants to end.
    pub(super) fn depart(&mut self, now: Moment, how: Departure) {
        if self.leaving.is_some() {
            return;
        }
        match self.phase {
            Phase::Over => return,
            Phase::Joining(_) => return self.leave_unjoined(),
            Phase::Live => {}
        }
        self.leaving = Some(Leaving {
            how,
            since: now,
            next: now,
            asked: None,
        });
        self.queue.clear();
        self.pulse.departing_told = false;
        self.pulse.beat_now(now);
        self.round.want_members(now);
        if let Departure::Reserve(_) = how {
            self.give_up_all(Why::Reserve);
        }
    }

    /// Goes on with leaving: gives up what nobody asks for, and ends when nothing is left.
    pub(super) fn leave_if_done(&mut self, now: Moment) {
        let Some(leaving) = &self.leaving else { return };
        match leaving.how {
            Departure::Reserve(_) => self.give_up_all(Why::Reserve),
            Departure::Release => {
                let unasked_for_long = now >= leaving.since + self.config.failover_after;
                if unasked_for_long || !self.others_share(now) {
                    self.give_up_all(Why::Release);
                }
            }
        }
        // No lease may come here after the last write, which says that nothing more comes from this process.
        self.moves.retain(|_, a_move| a_move.next == Moment::NEVER);
        // What was given up above and needs a write gets it now.
        self.tend_owned(now);
        let idle = self.owned.is_empty() && self.pulse.departing_told && !self.taking();
        let Some(leaving) = &mut self.leaving else { return };
        if !idle || now < leaving.next {
            return;
        }
        leaving.next = Moment::NEVER;
        leaving.asked = leaving.asked.or(Some(now));
        let by = self.me().clone();
        self.send(now, Purpose::Depart, Request::WriteWorker(WorkerWrite::Depart { by }));
    }

    pub(super) fn depart_answered(&mut self, now: Moment, reply: Reply) {
        let Some(leaving) = &mut self.leaving else { return };
        let tried_for_long = leaving
            .asked
            .is_some_and(|asked| now >= asked + self.config.failover_after);
        if reply == Reply::Failed && !tried_for_long {
            leaving.next = now + self.config.handoff_poll;
            return;
        }
        self.exit(Exit::Departed);
    }

    fn give_up_all(&mut self, why: Why) {
        let keys: Vec<ShardId> = self.owned.keys().cloned().collect();
        for key in keys {
            self.feed(&key, Input::Leave(why));
        }
    }

    /// A take or an ask may still bring a lease.
    fn taking(&self) -> bool {
        self.wire.any(|purpose| matches!(purpose, Purpose::Move { .. }))
    }

    fn others_share(&self, now: Moment) -> bool {
        let me = &self.profile.process.worker;
        self.peers
            .rows()
            .any(|row| row.id != *me && !row.gone() && self.peers.shares(&row.id, now))
    }

    pub(super) fn leaving_deadline(&self) -> Moment {
        let Some(leaving) = &self.leaving else {
            return Moment::NEVER;
        };
        if self.owned.is_empty() && self.pulse.departing_told && !self.taking() {
            leaving.next
        } else {
            Moment::NEVER
        }
    }
}
