//! The windows of the leases that this process has: what opens them, what extends them, when they are over.

use super::beat::window_end;
use super::owned::Owned;
use super::{Action, Hold, Member, Note};
use crate::hold::{Input, State};
use crate::id::ShardId;
use crate::time::Moment;
use crate::worker::RenewalMode;

impl Member {
    /// A write of the row that was sent at `sent` shows that the lease is this process's and that nobody asks for it.
    pub(super) fn proved(&mut self, now: Moment, key: &ShardId, sent: Moment) {
        let Some(owned) = self.owned.get_mut(key) else { return };
        let start = if self.config.rules.window_from_send { sent } else { now };
        owned.proved = owned.proved.max(start);
        owned.renew_at = sent + self.config.renew_every;
        let open = self.pulse.open_at(sent) || (!self.config.rules.renew_after_lapse && self.pulse.open());
        let until = self.window_of(&self.owned[key]);
        let asked = self.owned[key].lease.handoff_pending();
        if matches!(self.owned[key].state, State::Draining(_)) {
            return self.extend_windows(now);
        }
        if open && now < until && !asked {
            let owned = self.owned.get_mut(key).expect("it was there above");
            owned.until = owned.until.max(until);
            self.feed(key, Input::Proved);
        } else {
            let wait = self.config.renew_every / 16;
            self.owned.get_mut(key).expect("it was there above").write_from = now + wait;
        }
    }

    /// The end of the window as the writes so far have it.
    pub(super) fn window_of(&self, owned: &Owned) -> Moment {
        let by_beat = self.pulse.window(owned.proved, &self.config);
        match self.config.renewal {
            RenewalMode::PerWorker => by_beat,
            RenewalMode::PerLease => by_beat.min(window_end(owned.proved, &self.config)),
        }
    }

    /// The end of the window of a lease that is asked for and drained. Only writes of its row count, because the asker
    /// waits for its counter to stand still; and the beat's window, because everybody judges life by the beat.
    fn drain_window(&self, owned: &Owned) -> Moment {
        if self.pulse.open_at(owned.proved) {
            window_end(owned.proved, &self.config).min(self.pulse.end(&self.config))
        } else {
            Moment::ZERO
        }
    }

    /// A beat or the write of a row succeeded: the windows that it counts for grow. What is drained is never revived: once
    /// its window is over, its batch has been cut.
    pub(super) fn extend_windows(&mut self, now: Moment) {
        let rules = self.config.rules;
        let keys: Vec<ShardId> = self.owned.keys().cloned().collect();
        for key in keys {
            let owned = &self.owned[&key];
            let asked = owned.lease.handoff_pending();
            let by_row = asked && rules.extend_when_asked && matches!(owned.state, State::Draining(_));
            let until = if by_row {
                self.drain_window(owned)
            } else {
                self.window_of(owned)
            };
            let owned = self.owned.get_mut(&key).expect("the keys are those of the map");
            let grows = match owned.state {
                State::Delivering => !asked || !rules.freeze_when_asked,
                State::Draining(_) => (rules.extend_when_asked && now < owned.until) || !rules.freeze_when_asked,
                State::Lapsed => !rules.renew_after_lapse,
                State::Unproved | State::Drained(..) => false,
            };
            if !grows || until <= owned.until || now >= until {
                continue;
            }
            owned.until = until;
            if owned.state == State::Lapsed {
                self.feed(&key, Input::Proved);
            } else {
                let hold = owned.hold.clone();
                self.out.push(Action::Extend { hold, until });
            }
        }
    }

    /// Every window whose end has come is over, whatever the answer that is about to be looked at says.
    pub(super) fn close_windows(&mut self, now: Moment) {
        self.pulse.close(now, &self.config);
        let over = self
            .owned
            .values()
            .filter(|owned| owned.state == State::Delivering && now >= owned.until);
        let over: Vec<Hold> = over.map(|owned| owned.hold.clone()).collect();
        for hold in over {
            self.feed(&hold.key, Input::WindowOver);
            self.note(Note::Lapsed { hold });
        }
    }
}
