//! The leases that this process has: their windows, and the writes that keep them or give them away.

use super::beat::window_end;
use super::wire::{OwnWrite, Purpose};
use super::{Action, Hold, Member, Note, Reply, Request, StopReason, Written};
use crate::hold::{Effect, Input, State, Why, step};
use crate::id::{Incarnation, ShardId, WorkerId};
use crate::lease::{Checkpoint, Fence, Lease, LeaseWrite};
use crate::time::Moment;
use crate::worker::RenewalMode;

/// A lease that this process has.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) hold: Hold,
    /// The row as last known.
    pub(super) lease: Lease,
    pub(super) state: State,
    /// The end of the window that the shell knows of.
    pub(super) until: Moment,
    /// The shell was told to start.
    pub(super) started: bool,
    /// The send of the last write of the row that proved this process's ownership.
    pub(super) proved: Moment,
    /// A write of the row is under way.
    pub(super) writing: bool,
    /// When a write may be sent (again).
    pub(super) write_from: Moment,
    /// `PerLease`: when to renew next.
    pub(super) renew_at: Moment,
    /// When the drain must be over; known as soon as one begins.
    pub(super) drain_by: Option<Moment>,
    /// Who gets it by the yield that was sent.
    given_to: Option<(WorkerId, Option<Incarnation>)>,
}

impl Member {
    /// A lease came to this process. `taken`: by a take that was sent then; else a row that was read says so, and
    /// nothing is delivered before it is renewed.
    pub(super) fn acquire(&mut self, now: Moment, lease: Lease, taken: Option<Moment>) {
        if lease.finished() {
            // Its end was written before it was handed over, and the answer to that was lost.
            return;
        }
        let hold = Hold {
            key: lease.key.clone(),
            fence: Fence {
                worker: self.me().worker.clone(),
                incarnation: self.me().incarnation.clone(),
                epoch: lease.epoch,
            },
        };
        let key = lease.key.clone();
        let asked = lease.handoff_pending();
        let owned = Owned {
            hold,
            lease,
            state: State::Unproved,
            until: Moment::ZERO,
            started: false,
            proved: Moment::ZERO,
            writing: false,
            write_from: now,
            renew_at: now,
            drain_by: None,
            given_to: None,
        };
        self.owned.insert(key.clone(), owned);
        // A read of all rows that was answered while the take was under way may have shown an ask that nobody here could
        // heed yet, and its asks count as looked at. Then only a renewal shows that nobody asks.
        let unwatched = taken.filter(|sent| self.round.last_scan() < Some(*sent));
        if asked {
            self.heed_ask(&key);
        } else if let Some(sent) = unwatched {
            self.proved(now, &key, sent);
        } else if !self.config.rules.write_before_delivery {
            self.proved(now, &key, now);
        }
    }

    /// Hands an input to the table and does what it says.
    pub(super) fn feed(&mut self, key: &ShardId, input: Input) {
        let Some(owned) = self.owned.get_mut(key) else { return };
        let (state, effect) = step(owned.state.clone(), input);
        let (hold, until, started) = (owned.hold.clone(), owned.until, owned.started);
        let action = match effect {
            Effect::Deliver if started => Some(Action::Extend { hold, until }),
            Effect::Deliver => {
                owned.started = true;
                let lease = Box::new(owned.lease.clone());
                Some(Action::Start { hold, lease, until })
            }
            Effect::Drain => Some(Action::Drain { hold }),
            Effect::StopLost => Some(stop(hold, StopReason::Lost)),
            Effect::StopGiven(Why::Asked) => Some(stop(hold, StopReason::Yielded)),
            Effect::StopGiven(_) => Some(stop(hold, StopReason::Released)),
            Effect::StopEvicted => Some(stop(hold, StopReason::Evicted)),
            Effect::Nothing | Effect::Forget => None,
        };
        match state {
            Some(state) => owned.state = state,
            None => {
                let epoch = owned.hold.fence.epoch;
                self.owned.remove(key);
                if effect == Effect::Forget {
                    self.round.finished(key.clone());
                } else {
                    self.round.dropped(key.clone(), epoch);
                }
            }
        }
        self.out
            .extend(action.filter(|action| started || !matches!(action, Action::Stop { .. })));
    }

    /// A row of a lease that this process has was read, or returned by a write.
    pub(super) fn owned_row(&mut self, key: &ShardId, row: Option<&Lease>) {
        let Some(owned) = self.owned.get_mut(key) else { return };
        let fence = &owned.hold.fence;
        let Some(row) = row else {
            return self.feed(key, Input::Lost);
        };
        let older = (row.epoch, row.counter) < (fence.epoch, owned.lease.counter);
        if older {
            return;
        }
        if row.held_by(fence) && row.finished() {
            return self.feed(key, Input::Ended);
        }
        if row.held_by(fence) {
            // An ask leaves the counter as it is, so of two rows with one counter the later read counts.
            if row.handoff_pending() || !owned.lease.handoff_pending() || row.counter > owned.lease.counter {
                owned.lease = row.clone();
            }
            return self.heed_ask(key);
        }
        let given = owned.given_to.as_ref().is_some_and(|(worker, incarnation)| {
            row.epoch == fence.epoch.next() && row.owner.as_ref() == Some(worker) && row.incarnation == *incarnation
        });
        let released = row.owner.is_none() && row.epoch == fence.epoch.next();
        if given || released {
            self.feed(key, Input::Given);
        }
        // Whatever was given is gone; what was not is lost.
        self.feed(key, Input::Lost);
    }

    /// A lease that is asked for is drained, unless its asker is gone: then it is taken back.
    fn heed_ask(&mut self, key: &ShardId) {
        let Some(owned) = self.owned.get(key) else { return };
        if owned.lease.handoff_pending() && !self.asker_gone(&owned.lease) {
            self.feed(key, Input::Asked);
        }
    }

    /// Sends the writes that are due.
    pub(super) fn tend_owned(&mut self, now: Moment) {
        let keys: Vec<ShardId> = self.owned.keys().cloned().collect();
        for key in keys {
            self.heed_ask(&key);
            let drain_timeout = self.config.drain_timeout;
            let owned = self.owned.get_mut(&key).expect("the keys are those of the map");
            if matches!(owned.state, State::Draining(_)) {
                owned.drain_by = owned.drain_by.or(Some(now + drain_timeout));
            }
            let owned = &self.owned[&key];
            if owned.writing || now < owned.write_from {
                continue;
            }
            if owned.state == State::Drained(Why::Reserve, None) {
                self.feed(&key, Input::Given);
                continue;
            }
            let Some((kind, write)) = self.due_write(now, owned) else {
                continue;
            };
            let given_to = match &write {
                LeaseWrite::Yield { .. } => owned
                    .lease
                    .owner
                    .clone()
                    .map(|to| (to, owned.lease.next_incarnation.clone())),
                _ => None,
            };
            let owned = self.owned.get_mut(&key).expect("it was there above");
            owned.writing = true;
            if kind == OwnWrite::Renew {
                owned.renew_at = now + self.config.renew_every;
            }
            owned.given_to = given_to.or(owned.given_to.take());
            self.send(now, Purpose::Owned { key, write: kind }, Request::WriteLease(write));
        }
    }

    /// The write that the lease's state calls for.
    fn due_write(&self, now: Moment, owned: &Owned) -> Option<(OwnWrite, LeaseWrite)> {
        let (key, by) = (owned.hold.key.clone(), owned.hold.fence.clone());
        let lease = &owned.lease;
        let per_lease = self.config.renewal == RenewalMode::PerLease;
        let asked = lease.handoff_pending();
        match &owned.state {
            State::Unproved | State::Lapsed | State::Delivering if asked => {
                // Its asker is gone, or it would be draining.
                let gone = lease.next_incarnation.clone()?;
                Some((OwnWrite::Reclaim, LeaseWrite::Reclaim { key, by, gone }))
            }
            State::Unproved | State::Lapsed if self.pulse.open() => {
                Some((OwnWrite::Renew, LeaseWrite::Renew { key, by }))
            }
            State::Delivering if per_lease && now >= owned.renew_at => {
                Some((OwnWrite::Renew, LeaseWrite::Renew { key, by }))
            }
            State::Unproved | State::Lapsed | State::Delivering => None,
            State::Draining(_) if now < self.extend_at(owned) => None,
            State::Draining(_) if asked => Some((OwnWrite::Renew, LeaseWrite::Extend { key, by })),
            State::Draining(_) => Some((OwnWrite::Renew, LeaseWrite::Renew { key, by })),
            State::Drained(why, checkpoint) => {
                let checkpoint = checkpoint.clone();
                let write = match why {
                    // Nothing can be released while somebody asks, dead or not; and when the ask was taken back by a
                    // write whose answer came too late, nobody is there to yield to.
                    Why::Asked | Why::Release if asked => LeaseWrite::Yield { key, by, checkpoint },
                    Why::Asked | Why::Release => LeaseWrite::Release { key, by, checkpoint },
                    Why::Reserve => LeaseWrite::Checkpoint {
                        key,
                        by,
                        checkpoint: checkpoint?,
                        children: lease.children.clone(),
                    },
                };
                Some((OwnWrite::GiveAway, write))
            }
        }
    }

    /// When the row of a lease that is drained must be written, so that its window lasts: as long before the window's end
    /// as any renewal, and only while the window is open and the drain may go on.
    fn extend_at(&self, owned: &Owned) -> Moment {
        let by_beat = self.config.renewal == RenewalMode::PerWorker && !owned.lease.handoff_pending();
        if by_beat || !self.config.rules.extend_when_asked {
            return Moment::NEVER;
        }
        let config = &self.config;
        let spare = config.failover_after - config.margin - config.renew_every;
        let written = window_end(owned.proved, config).max(owned.until);
        let at = (written - spare).max(owned.write_from);
        let last = owned.until.min(owned.drain_by.unwrap_or(Moment::NEVER));
        if at < last { at } else { Moment::NEVER }
    }

    /// Whether the process that asked for this lease is known to be no more.
    pub(super) fn asker_gone(&self, lease: &Lease) -> bool {
        let (Some(asker), Some(_), Some(incarnation)) =
            (&lease.owner, &lease.checkpoint_owner, &lease.next_incarnation)
        else {
            return false;
        };
        *asker != self.me().worker && self.peers.is_gone(asker, Some(incarnation))
    }

    pub(super) fn owned_written(&mut self, now: Moment, sent: Moment, key: &ShardId, write: OwnWrite, reply: Reply) {
        let retry = self.config.renew_every / 16;
        let retry = now + retry + self.jitter(retry);
        if let Reply::Lease(row) = reply {
            return self.owned_row(key, row.as_ref());
        }
        let Some(owned) = self.owned.get_mut(key) else { return };
        if write == OwnWrite::Look {
            return;
        }
        owned.writing = false;
        match reply {
            Reply::LeaseWritten(Written::Done(row)) => match write {
                OwnWrite::Renew | OwnWrite::Reclaim => {
                    self.owned_row(key, row.as_ref());
                    self.proved(now, key, sent);
                }
                OwnWrite::GiveAway => self.given_away(key),
                OwnWrite::Look => {}
            },
            Reply::LeaseWritten(Written::Refused(row)) => {
                owned.write_from = retry;
                self.owned_row(key, row.as_ref());
                if !self.owned.contains_key(key) && write != OwnWrite::GiveAway {
                    let write = if write == OwnWrite::Renew { "renew" } else { "reclaim" };
                    let key = key.clone();
                    self.note(Note::Conflict { key, write });
                }
            }
            _ => owned.write_from = retry,
        }
    }

    fn given_away(&mut self, key: &ShardId) {
        self.feed(key, Input::Given);
    }

    /// The processor is idle, as it was asked to be.
    pub(super) fn drained(&mut self, now: Moment, hold: &Hold, checkpoint: Option<Checkpoint>) {
        if self.has(hold) {
            let owned = self.owned.get_mut(&hold.key).expect("it has the hold");
            owned.write_from = now;
            self.feed(&hold.key, Input::Idle(checkpoint));
        }
    }

    /// A checkpoint of the shell was written or refused.
    pub(super) fn checkpointed(&mut self, now: Moment, hold: &Hold, sent: Moment, written: Written<Lease>) {
        if !self.has(hold) {
            return;
        }
        match written {
            Written::Done(row) => {
                let unasked = row.as_ref().is_some_and(|row| !row.handoff_pending());
                self.owned_row(&hold.key, row.as_ref());
                let renewed = self.owned.get(&hold.key).is_some_and(|owned| match owned.state {
                    State::Delivering => unasked,
                    State::Draining(_) => true,
                    _ => false,
                });
                if renewed {
                    // It renewed the row like any other write.
                    self.proved(now, &hold.key, sent);
                }
            }
            Written::Refused(row) => self.owned_row(&hold.key, row.as_ref()),
        }
    }

    pub(super) fn shard_ended(&mut self, now: Moment, hold: &Hold) {
        if self.has(hold) {
            self.feed(&hold.key, Input::Ended);
            self.round.want_scan(now);
        }
    }

    pub(super) fn evict_all(&mut self) {
        let keys: Vec<ShardId> = self.owned.keys().cloned().collect();
        for key in keys {
            self.feed(&key, Input::Evicted);
        }
    }

    fn has(&self, hold: &Hold) -> bool {
        self.owned.get(&hold.key).is_some_and(|owned| owned.hold == *hold)
    }

    /// When something of these leases is due by itself.
    pub(super) fn owned_deadline(&self) -> Moment {
        let of = |owned: &Owned| {
            let window = if owned.state == State::Delivering {
                owned.until
            } else {
                Moment::NEVER
            };
            let per_lease = self.config.renewal == RenewalMode::PerLease;
            let write = match owned.state {
                _ if owned.writing => Moment::NEVER,
                State::Unproved | State::Lapsed | State::Delivering if owned.lease.handoff_pending() => {
                    owned.write_from
                }
                State::Delivering if per_lease => owned.renew_at.max(owned.write_from),
                State::Delivering => Moment::NEVER,
                State::Unproved | State::Lapsed if !self.pulse.open() => Moment::NEVER,
                State::Draining(_) => self.extend_at(owned),
                _ => owned.write_from,
            };
            window.min(write)
        };
        self.owned.values().map(of).min().unwrap_or(Moment::NEVER)
    }
}

fn stop(hold: Hold, reason: StopReason) -> Action {
    Action::Stop { hold, reason }
}
