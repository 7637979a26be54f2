//! Becoming a member: one name, one process.
//!
//! A process that finds another's row under its name replaces it only when that process is known to have stopped, or when
//! its beat stood still for the failover time. A beat that changes meanwhile means that the name is in use.

use super::wire::Purpose;
use super::{Exit, Member, Phase, Reply, Request, Written};
use crate::id::Incarnation;
use crate::time::Moment;
use crate::worker::{WorkerRow, WorkerWrite};

/// How far a process has come with joining.
#[derive(Debug)]
pub(super) struct Joining {
    step: Step,
    /// When to send the next request; [`Moment::NEVER`] while one is under way.
    next: Moment,
    /// The process under whose row this one waits, with its beat, and since when.
    watched: Option<(Incarnation, u64, Moment)>,
    /// It found no row of its name and wrote the first.
    registers: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    OpenGroup,
    Look,
    Write(WorkerWrite),
}

impl Joining {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            step: Step::OpenGroup,
            next: now,
            watched: None,
            registers: false,
        }
    }

    pub(super) fn deadline(&self) -> Moment {
        self.next
    }
}

impl Member {
    /// Sends the next request of joining when it is due.
    pub(super) fn join_on(&mut self, now: Moment) {
        let Phase::Joining(joining) = &mut self.phase else {
            return;
        };
        if now < joining.next {
            return;
        }
        joining.next = Moment::NEVER;
        let request = match &joining.step {
            Step::OpenGroup => Request::OpenGroup(self.config.renewal),
            Step::Look => Request::Worker(self.profile.process.worker.clone()),
            Step::Write(write) => Request::WriteWorker(write.clone()),
        };
        self.send(now, Purpose::Join, request);
    }

    pub(super) fn join_answered(&mut self, now: Moment, sent: Moment, reply: Reply) {
        match reply {
            Reply::Group(group) if group.renewal != self.config.renewal => {
                let (table, mine) = (group.renewal, self.config.renewal);
                self.exit(Exit::RenewalModeDiffers { table, mine });
            }
            Reply::Group(_) => self.join_step(Step::Look, now),
            Reply::Worker(row) => self.name_looked_up(now, sent, row),
            Reply::WorkerWritten(Written::Done(row)) => {
                let asks = row.map_or(0, |row| row.asks);
                self.joined(now);
                self.pulse.registered(now, sent, asks, &self.config);
            }
            Reply::WorkerWritten(Written::Refused(row)) => self.name_looked_up(now, sent, row),
            // The write may have happened: look.
            _ => {
                let wait = self.config.poll_every / 2;
                let wait = wait + self.jitter(wait);
                let opened = !matches!(&self.phase, Phase::Joining(j) if j.step == Step::OpenGroup);
                self.join_step(if opened { Step::Look } else { Step::OpenGroup }, now + wait);
            }
        }
    }

    fn join_step(&mut self, step: Step, at: Moment) {
        if let Phase::Joining(joining) = &mut self.phase {
            joining.step = step;
            joining.next = at;
        }
    }

    /// The row of this worker's name is known, as of a read or a refused write that was sent at `sent`.
    fn name_looked_up(&mut self, now: Moment, sent: Moment, row: Option<WorkerRow>) {
        let Some(row) = row else {
            let row = Box::new(self.next_row());
            if let Phase::Joining(joining) = &mut self.phase {
                joining.registers = true;
            }
            return self.join_step(Step::Write(WorkerWrite::Register(row)), now);
        };
        if row.incarnation == self.me().incarnation {
            // The reply to this process's own write was lost, and so was the window that it would have opened.
            return self.joined(now);
        }
        if row.gone() || !self.config.rules.one_process_per_name {
            return self.replace(now, &row);
        }
        let Phase::Joining(joining) = &mut self.phase else {
            return;
        };
        match &joining.watched {
            None => {
                joining.watched = Some((row.incarnation, row.beat, now));
                let wait = self.config.poll_every;
                self.join_step(Step::Look, now + wait);
            }
            Some((incarnation, beat, _)) if *incarnation != row.incarnation || *beat != row.beat => {
                self.exit(Exit::NameInUse(Box::new(row)));
            }
            Some((_, _, since)) => {
                let proof = *since + self.config.failover_after;
                if sent >= proof {
                    return self.replace(now, &row);
                }
                let next = (now + self.config.poll_every).min(proof.max(now));
                self.join_step(Step::Look, next);
            }
        }
    }

    fn replace(&mut self, now: Moment, old: &WorkerRow) {
        let write = WorkerWrite::Replace {
            row: Box::new(self.next_row()),
            old: old.incarnation.clone(),
            beat: old.beat,
        };
        self.join_step(Step::Write(write), now);
    }

    /// The row is written.
    fn joined(&mut self, now: Moment) {
        let registered = matches!(&self.phase, Phase::Joining(joining) if joining.registers);
        self.phase = Phase::Live;
        self.round.start(now, now + self.config.failover_after);
        if registered {
            // Should somebody have removed the row of a process of this name that still runs, its windows end first.
            self.round.own_name_from = now + self.config.failover_after;
        }
    }

    /// A row of this process. Its beat is above all that earlier rows of it can have shown, had their replies been lost:
    /// an observer that slept might see an old count twice and think that it stood still.
    pub(super) fn next_row(&mut self) -> WorkerRow {
        let row = WorkerRow::starting(
            self.me().clone(),
            self.profile.hard_cap,
            self.profile.address.clone(),
            self.profile.started.clone(),
        );
        WorkerRow {
            beat: self.pulse.next_count(),
            failover_after: Some(self.config.failover_after),
            ..row
        }
    }

    /// Leaves before it ever joined.
    pub(super) fn leave_unjoined(&mut self) {
        self.exit(Exit::Departed);
    }
}
