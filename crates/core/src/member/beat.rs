//! This worker's own heartbeat, and the windows that it opens.
//!
//! In both renewal modes a window ends [`failover_after`](super::Config::failover_after) less the margin after the *send*
//! of a beat, because others judge this worker by its beats; in `PerLease` mode each lease's own renewal limits it too.

use super::wire::Purpose;
use super::{Config, Exit, Member, Reply, Request, Written};
use crate::time::Moment;
use crate::worker::{RenewalMode, WorkerRow, WorkerWrite};

/// The beats of this process.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// When to beat next.
    due: Moment,
    /// The send of the newest beat that succeeded.
    newest: Option<Moment>,
    /// The send of the newest beat that extends the windows of leases that are not written.
    clear: Option<Moment>,
    /// A beat that returned more asks than this process has looked at: it extends nothing before it has.
    frozen: Option<(Moment, u64)>,
    /// Since when the beat's window has been open without a break; `None` while it is not open.
    open_since: Option<Moment>,
    /// The highest beat that the own row was seen to show, or was written anew with.
    count: u64,
    /// How many beats were sent. Each may have counted, also one without an answer.
    sent: u64,
    /// The asks that the own row was last seen to count.
    pub(super) asks_known: Option<u64>,
    /// The asks that were known when the own lease rows were last read.
    asks_covered: Option<u64>,
    /// A beat has told the others that this worker leaves.
    pub(super) departing_told: bool,
}

impl Pulse {
    pub(super) fn due(&self) -> Moment {
        self.due
    }

    pub(super) fn beat_now(&mut self, now: Moment) {
        self.due = self.due.min(now);
    }

    /// The first row of this process is written: it counts as a beat. Its leases' rows were never read.
    pub(super) fn registered(&mut self, now: Moment, sent: Moment, asks: u64, config: &Config) {
        self.asks_covered = None;
        self.beat(now, sent, asks, config);
        self.due = sent + config.renew_every;
    }

    /// The count of a row that is written anew: above every count that was shown before, also by beats without an answer.
    pub(super) fn next_count(&mut self) -> u64 {
        self.count += self.sent + 1;
        self.count
    }

    /// A beat succeeded.
    fn beat(&mut self, now: Moment, sent: Moment, asks: u64, config: &Config) {
        let start = if config.rules.window_from_send { sent } else { now };
        self.newest = self.newest.max(Some(start));
        if now < self.end(config) {
            self.open_since = self.open_since.or(Some(now));
        }
        self.asks_known = self.asks_known.max(Some(asks));
        if self.asks_covered >= Some(asks) || !config.rules.freeze_when_asked || config.renewal == RenewalMode::PerLease
        {
            self.clear = self.clear.max(Some(start));
        } else {
            self.frozen = self.frozen.max(Some((start, asks)));
        }
    }

    /// The own lease rows were read; the read was sent when this many asks were known.
    pub(super) fn covered(&mut self, asks: Option<u64>) {
        self.asks_covered = self.asks_covered.max(asks);
        if let Some((start, asks)) = self.frozen
            && self.asks_covered >= Some(asks)
        {
            self.clear = self.clear.max(Some(start));
            self.frozen = None;
        }
    }

    /// Whether there are asks that no read of the own lease rows has covered.
    pub(super) fn asked(&self) -> bool {
        self.asks_known > self.asks_covered
    }

    /// When the beat's window ends.
    pub(super) fn end(&self, config: &Config) -> Moment {
        self.newest.map_or(Moment::ZERO, |sent| window_end(sent, config))
    }

    /// The end of the window may have passed.
    pub(super) fn close(&mut self, now: Moment, config: &Config) {
        if now >= self.end(config) {
            self.open_since = None;
        }
    }

    /// Whether a lease row that was written by a request sent at `sent` may be delivered: the beat's window has been open
    /// ever since. (A write that was sent before proves nothing to somebody who found this worker silent in between.)
    pub(super) fn open_at(&self, sent: Moment) -> bool {
        self.open_since.is_some_and(|since| sent >= since)
    }

    /// Whether the beat's window is open.
    pub(super) fn open(&self) -> bool {
        self.open_since.is_some()
    }

    /// The end of the window of a lease whose row was last written by a request sent at `written`.
    ///
    /// A beat that came back with new asks may still count for a lease that was proved unasked after it.
    pub(super) fn window(&self, written: Moment, config: &Config) -> Moment {
        let proved_after = self.frozen.map(|(start, _)| start).filter(|start| *start <= written);
        let start = self.clear.max(proved_after);
        start.map_or(Moment::ZERO, |sent| window_end(sent, config))
    }
}

/// When a window ends that a request sent at `sent` opened.
pub(super) fn window_end(sent: Moment, config: &Config) -> Moment {
    sent + (config.failover_after - config.margin)
}

impl Member {
    pub(super) fn beat_if_due(&mut self, now: Moment) {
        if now < self.pulse.due {
            return;
        }
        self.pulse.due = now + self.config.renew_every;
        self.pulse.sent += 1;
        let write = WorkerWrite::Beat {
            by: self.me().clone(),
            leases: u32::try_from(self.owned.len()).unwrap_or(u32::MAX),
            departing: self.leaving.as_ref().map(|leaving| leaving.how),
        };
        self.send(now, Purpose::Beat, Request::WriteWorker(write));
    }

    pub(super) fn beat_answered(&mut self, now: Moment, sent: Moment, reply: Reply) {
        match reply {
            Reply::WorkerWritten(Written::Done(row)) => {
                let (asks, count) = row.as_ref().map_or((0, 0), |row| (row.asks, row.beat));
                if self.round.own_name_from == Moment::NEVER {
                    // The row is this process's again, and the beats of another one have been refused since. (Its window
                    // cannot open before this beat, whether the reply to the registration was lost or not.)
                    self.round.own_name_from = now + self.config.failover_after;
                }
                self.pulse.count = self.pulse.count.max(count);
                self.pulse.beat(now, sent, asks, &self.config);
                self.pulse.departing_told |= row.is_some_and(|row| row.departing.is_some());
                self.extend_windows(now);
                if self.pulse.asked() {
                    self.round.want_scan(now);
                }
            }
            Reply::WorkerWritten(Written::Refused(row)) => self.own_row_found(now, row),
            _ => {
                // Whether it happened or not, the next beat is as good, and soon.
                let wait = self.config.renew_every / 10;
                let wait = wait + self.jitter(wait);
                self.pulse.beat_now(now + wait);
            }
        }
    }

    /// The own row as somebody else left it.
    pub(super) fn own_row_found(&mut self, now: Moment, row: Option<WorkerRow>) {
        match row {
            Some(row) if row.incarnation != self.me().incarnation || row.ended => {
                self.exit(Exit::Replaced(Some(Box::new(row))));
            }
            Some(row) => {
                self.pulse.count = self.pulse.count.max(row.beat);
                self.pulse.asks_known = self.pulse.asks_known.max(Some(row.asks));
                if self.pulse.asked() {
                    self.round.want_scan(now);
                }
            }
            None if self.wire.any(|purpose| *purpose == Purpose::Register) => {}
            None => {
                let row = self.same_row();
                // The row that was removed may have been that of another process of this name, which still runs.
                self.round.own_name_from = Moment::NEVER;
                self.send(
                    now,
                    Purpose::Register,
                    Request::WriteWorker(WorkerWrite::Register(Box::new(row))),
                );
            }
        }
    }

    /// The own row again. As nobody knows who asked meanwhile, it counts one ask more than were looked at.
    fn same_row(&mut self) -> WorkerRow {
        WorkerRow {
            asks: self.pulse.asks_known.unwrap_or(0) + 1,
            ..self.next_row()
        }
    }

    pub(super) fn registered_again(&mut self, now: Moment, reply: Reply) {
        match reply {
            Reply::WorkerWritten(Written::Done(_)) => self.pulse.beat_now(now),
            // Perhaps an earlier try, whose reply was lost, wrote it.
            Reply::WorkerWritten(Written::Refused(row)) => self.own_row_found(now, row),
            _ => {}
        }
    }
}
