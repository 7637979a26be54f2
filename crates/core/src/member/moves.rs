//! The way of a lease to this worker: a take, or an ask and the wait for the yield.

use super::wire::Purpose;
use super::{Member, Note, Reply, Request, Written};
use crate::id::{ShardId, WorkerId};
use crate::lease::{Lease, LeaseWrite};
use crate::liveness::Life;
use crate::time::Moment;
use crate::worker::WorkerWrite;

/// A lease that shall come here.
#[derive(Debug)]
pub(super) struct Move {
    /// The row that the move rests on, as last read.
    pub(super) lease: Lease,
    /// Who has it at present.
    pub(super) from: Option<WorkerId>,
    /// Why it comes, for the note.
    pub(super) reason: &'static str,
    pub(super) step: Step,
    /// The counter that the row last showed while the yield is awaited, and since when.
    pub(super) still: Option<(u64, Moment)>,
    /// When to go on; [`Moment::NEVER`] while an answer is awaited.
    pub(super) next: Moment,
}

/// How far a move has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The lease row is known; the owner's silence is to be confirmed after it.
    Confirm,
    /// To take it, on the row as it is known.
    Take,
    /// The take was sent then and had no answer: see what the row says.
    Taken(Moment),
    /// To ask the live owner for it, in the place of an asker that is gone if there is one.
    Ask,
    /// The ask had no answer: see what the row says.
    Asked,
    /// The ask stands in the row; tell the owner.
    Tell,
    /// The owner was told then.
    Wait(Moment),
}

impl Member {
    /// Puts a move on its way, or in the queue while too many are under way.
    pub(super) fn begin(&mut self, a_move: Move) {
        let known = self.moves.contains_key(&a_move.lease.key);
        if known || self.owned.contains_key(&a_move.lease.key) {
            return;
        }
        if self.moves.len() < self.config.moves_in_flight {
            self.moves.insert(a_move.lease.key.clone(), a_move);
        } else {
            self.queue.push_back(a_move);
        }
    }

    /// Sends what is due.
    pub(super) fn tend_moves(&mut self, now: Moment) {
        while self.moves.len() < self.config.moves_in_flight {
            let Some(a_move) = self.queue.pop_front() else { break };
            self.begin(a_move);
        }
        self.confirm_owners(now);
        let due: Vec<ShardId> = self
            .moves
            .iter()
            .filter(|(_, m)| m.next <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let to = self.me().clone();
            let a_move = self.moves.get_mut(&key).expect("the keys are those of the map");
            a_move.next = Moment::NEVER;
            let lease = &a_move.lease;
            let from = a_move.from.clone();
            let request = match &a_move.step {
                Step::Confirm => continue,
                Step::Take => {
                    let (key, seen) = (key.clone(), lease.seen());
                    a_move.step = Step::Taken(now);
                    Request::WriteLease(LeaseWrite::Take { key, to, seen })
                }
                Step::Ask => {
                    let Some(from) = from else { continue };
                    let (key, epoch, gone) = (key.clone(), lease.epoch, lease.next_incarnation.clone());
                    a_move.step = Step::Asked;
                    Request::WriteLease(match gone.filter(|_| lease.handoff_pending()) {
                        Some(gone) => LeaseWrite::AskOver {
                            key,
                            from,
                            to,
                            gone,
                            epoch,
                        },
                        None => LeaseWrite::Ask { key, from, to, epoch },
                    })
                }
                Step::Tell => {
                    let Some(worker) = from else { continue };
                    Request::WriteWorker(WorkerWrite::NotifyAsk { worker })
                }
                Step::Taken(_) | Step::Asked | Step::Wait(_) => Request::Lease(key.clone()),
            };
            self.send(now, Purpose::Move { key }, request);
        }
    }

    /// One read for each silent owner, after the rows of its leases were read.
    fn confirm_owners(&mut self, now: Moment) {
        let mut owners: std::collections::BTreeMap<WorkerId, Vec<ShardId>> = std::collections::BTreeMap::new();
        for (key, a_move) in &mut self.moves {
            if a_move.step == Step::Confirm
                && a_move.next <= now
                && let Some(owner) = &a_move.from
            {
                a_move.next = Moment::NEVER;
                owners.entry(owner.clone()).or_default().push(key.clone());
            }
        }
        for (owner, keys) in owners {
            let request = Request::Worker(owner.clone());
            self.send(now, Purpose::Confirm { owner, keys }, request);
        }
    }

    /// The row of an owner was read after the rows of these leases.
    pub(super) fn owner_confirmed(
        &mut self,
        now: Moment,
        sent: Moment,
        owner: &WorkerId,
        keys: Vec<ShardId>,
        reply: Reply,
    ) {
        let retry = now + self.config.handoff_poll;
        let take = if let Reply::Worker(row) = reply {
            self.peers.saw(owner, row.as_ref(), sent, now);
            (self.peers.life(owner) == Life::Live || self.peers.is_proved_dead(owner))
                .then(|| self.peers.is_proved_dead(owner))
        } else {
            None
        };
        for key in keys {
            let Some(a_move) = self.moves.get_mut(&key).filter(|a_move| a_move.step == Step::Confirm) else {
                continue;
            };
            match take {
                Some(true) => (a_move.step, a_move.next) = (Step::Take, now),
                Some(false) => {
                    self.moves.remove(&key);
                    self.round.want_scan(retry);
                }
                None => a_move.next = retry,
            }
        }
    }

    pub(super) fn move_answered(&mut self, now: Moment, sent: Moment, key: &ShardId, reply: Reply) {
        let soon = self.config.handoff_poll;
        let Some(a_move) = self.moves.get_mut(key) else { return };
        match (a_move.step.clone(), reply) {
            (Step::Taken(_), Reply::LeaseWritten(Written::Done(Some(row)))) => {
                let a_move = self.moves.remove(key).expect("it was there above");
                self.arrived(now, a_move, row, Some(sent));
            }
            (Step::Asked, Reply::LeaseWritten(Written::Done(Some(row)))) => {
                a_move.lease = row;
                (a_move.step, a_move.next) = (Step::Tell, now);
            }
            (Step::Taken(_) | Step::Asked, Reply::LeaseWritten(Written::Refused(row))) => {
                self.move_row(now, sent, key, row, true);
            }
            // An owner without a row to be told in finds the ask by itself when it reads its rows.
            (Step::Tell, Reply::WorkerWritten(_)) => {
                (a_move.step, a_move.next) = (Step::Wait(now), now + soon);
            }
            (Step::Taken(_) | Step::Asked | Step::Wait(_), Reply::Lease(row)) => {
                self.move_row(now, sent, key, row, false);
            }
            _ => {
                let wait = soon / 2;
                let wait = wait + self.jitter(wait);
                if let Some(a_move) = self.moves.get_mut(key) {
                    a_move.next = now + wait;
                }
            }
        }
    }

    /// The row of a lease that is on its way, after a lost or refused write or while its owner drains.
    fn move_row(&mut self, now: Moment, sent: Moment, key: &ShardId, row: Option<Lease>, refused: bool) {
        let me = self.me().clone();
        let Some(a_move) = self.moves.get_mut(key) else { return };
        let Some(row) = row else {
            return drop(self.moves.remove(key));
        };
        let mine = row.present_owner() == Some(&me.worker) && row.incarnation.as_ref() == Some(&me.incarnation);
        let asking = row.handoff_pending()
            && row.owner.as_ref() == Some(&me.worker)
            && row.next_incarnation.as_ref() == Some(&me.incarnation);
        if mine {
            let by_take = match a_move.step {
                Step::Taken(taken) if row.epoch == a_move.lease.epoch.next() => Some(taken),
                _ => None,
            };
            let a_move = self.moves.remove(key).expect("it was there above");
            return self.arrived(now, a_move, row, by_take);
        }
        if row.finished() {
            return drop(self.moves.remove(key));
        }
        if asking {
            return self.still_asking(now, sent, key, row);
        }
        let write = match a_move.step {
            Step::Taken(_) => "take",
            _ => "ask",
        };
        let unchanged = row.seen() == a_move.lease.seen() && row.owner == a_move.lease.owner;
        if unchanged && !refused {
            // The write was lost before it happened. (Should it still happen, the next scan finds that.)
            a_move.step = if write == "take" { Step::Take } else { Step::Ask };
            a_move.next = now;
            if write == "take" && a_move.from.is_some() && a_move.reason != "own-name" {
                // Its ground may have gone in the meantime.
                a_move.step = Step::Confirm;
            }
            return;
        }
        self.moves.remove(key);
        let key = key.clone();
        self.note(Note::Conflict { key, write });
        // Somebody else was first, or the owner is back: make a new plan, but not all at the same moment.
        let wait = self.config.handoff_poll;
        let wait = self.jitter(wait);
        self.round.want_scan(now + wait);
    }

    /// The row names this process as the next owner, as of a read sent at `sent`.
    fn still_asking(&mut self, now: Moment, sent: Moment, key: &ShardId, row: Lease) {
        let rules = self.config.rules;
        let ended = self.peers.has_ended(&row);
        let owner = row.checkpoint_owner.clone();
        let silent = owner.as_ref().is_some_and(|owner| self.peers.life(owner) != Life::Live);
        let Some(a_move) = self.moves.get_mut(key) else { return };
        let since = match a_move.step {
            Step::Wait(since) => Some(since),
            _ => None,
        };
        // An owner that finishes its batch writes the row, and each write may have opened a window of the failover time.
        let still_since = match a_move.still {
            Some((counter, since)) if counter == row.counter => since,
            _ => now,
        };
        a_move.still = Some((row.counter, still_since));
        let still_at = if rules.take_still_row {
            still_since + self.config.failover_after
        } else {
            Moment::ZERO
        };
        let over_at = |since: Moment| (since + self.config.handoff_timeout).max(still_at);
        let over = since.is_some_and(|since| !rules.patient_handoff || sent >= over_at(since));
        a_move.from = owner;
        a_move.lease = row;
        (a_move.step, a_move.next) = if ended {
            a_move.reason = "ended";
            (Step::Take, now)
        } else if silent {
            a_move.reason = "dead";
            (Step::Confirm, now)
        } else if over {
            a_move.reason = "handoff-timeout";
            (Step::Take, now)
        } else if let Some(since) = since {
            let timeout = over_at(since);
            (
                Step::Wait(since),
                (now + self.config.handoff_poll).min(timeout.max(now)),
            )
        } else {
            (Step::Tell, now)
        };
    }

    /// The lease is here.
    fn arrived(&mut self, now: Moment, a_move: Move, row: Lease, taken: Option<Moment>) {
        let (key, from, reason) = (row.key.clone(), a_move.from, a_move.reason);
        self.note(Note::Moved { key, from, reason });
        self.acquire(now, row, taken);
    }

    pub(super) fn moves_deadline(&self) -> Moment {
        self.moves
            .values()
            .map(|a_move| a_move.next)
            .min()
            .unwrap_or(Moment::NEVER)
    }
}
