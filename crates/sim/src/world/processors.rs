//! Processors: they read, hand out, finish and save what their windows allow.

use std::time::Duration;

use kinex_core::id::ShardId;
use kinex_core::lease::{Checkpoint, LeaseWrite};
use kinex_core::member::{Event, Hold, Reply, Request, Written};
use kinex_core::time::Moment;

use super::{Call, Happening, Sender, World};
use crate::consumer::{Consumer, Work, behind, up_to};
use crate::history::{Entry, Who};
use crate::network::{between, chance};

impl World<'_> {
    pub(super) fn consumer(&mut self, process: usize, hold: &Hold) -> Option<&mut Consumer> {
        let consumer = self.processes[process].consumers.get_mut(&hold.key)?;
        (consumer.hold == *hold).then_some(consumer)
    }

    pub(super) fn extend(&mut self, process: usize, hold: &Hold, until: Moment) {
        let was = self.processes[process].delivers(&hold.key, self.now);
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        consumer.until = until;
        if !was {
            self.activated(process, &hold.key);
        }
        self.tick_soon(process, hold, Duration::ZERO);
    }

    /// The process may deliver the shard from now on: who else may?
    pub(super) fn activated(&mut self, process: usize, key: &ShardId) {
        if !self.processes[process].delivers(key, self.now) {
            return;
        }
        let others = self.processes.iter().enumerate().filter(|(other, _)| *other != process);
        let rivals: Vec<Who> = others
            .filter(|(_, other)| other.delivers(key, self.now))
            .filter_map(|(_, other)| other.who(key))
            .chain(self.foreign_rival(key))
            .collect();
        let actor = &self.processes[process];
        let by = actor.who(key).expect("it delivers the shard");
        let until = actor.clock.world(actor.consumers[key].until);
        let shard = key.clone();
        self.record(Entry::OwnStart {
            by,
            shard,
            until,
            rivals,
        });
    }

    pub(super) fn ended(&mut self, process: usize, hold: &Hold) {
        if let Some(by) = self.processes[process].who(&hold.key) {
            let shard = hold.key.clone();
            self.record(Entry::OwnEnd { by, shard });
        }
    }

    pub(super) fn tick_soon(&mut self, process: usize, hold: &Hold, span: Duration) {
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        if !consumer.ticking && consumer.in_flight.is_none() {
            consumer.ticking = true;
            self.after(span, Happening::Tick(process, hold.clone()));
        }
    }

    /// Reads and hands out a batch, while the window is open.
    pub(super) fn tick(&mut self, process: usize, hold: &Hold) {
        const BATCH: u64 = 10;
        let now = self.now;
        if !self.processes[process].alive {
            return;
        }
        if self.processes[process].paused {
            return self.processes[process]
                .stalled
                .push(Happening::Tick(process, hold.clone()));
        }
        let (rate, stops) = (self.scenario.rate, self.last_record());
        let Some(shard) = self.shards.iter().find(|shard| shard.id == hold.key).cloned() else {
            return;
        };
        let local = self.processes[process].clock.local(now);
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        consumer.ticking = false;
        if consumer.work != Work::Running || local >= consumer.until || consumer.in_flight.is_some() {
            return;
        }
        let (from, to) = (
            consumer.next,
            shard.records(now, rate, stops).min(consumer.next + BATCH),
        );
        if to > from {
            consumer.in_flight = Some(to);
            let by = self.processes[process].who(&hold.key).expect("it has the consumer");
            let shard = hold.key.clone();
            self.record(Entry::Deliver { by, shard, from, to });
            let work = self.batch_takes();
            let ready = (now + work).max(self.processes[process].hangs_until);
            if let Some(consumer) = self.consumer(process, hold) {
                consumer.ready = ready;
            }
            self.at(ready, Happening::Finish(process, hold.clone()));
            self.window_end(process, hold.clone());
        } else if shard.closed.is_some() {
            self.save(process, hold, Checkpoint::ShardEnd);
            self.tick_soon(process, hold, Duration::from_millis(800));
        } else {
            self.tick_soon(process, hold, Duration::from_millis(500));
        }
    }

    /// How long the processor needs for a batch.
    fn batch_takes(&mut self) -> Duration {
        // The calm after a storm is there to catch up.
        let over = self.calm && self.scenario.storm.is_some();
        match self.scenario.slow.filter(|_| !over) {
            Some(slow) if chance(&mut self.rng, slow.share) => between(&mut self.rng, slow.least, slow.longest),
            _ => between(&mut self.rng, Duration::from_millis(5), Duration::from_millis(150)),
        }
    }

    /// A batch whose window has ended is interrupted, unless its processor hangs; else this is due when the window ends.
    pub(super) fn window_end(&mut self, process: usize, hold: Hold) {
        let actor = &mut self.processes[process];
        if !actor.alive {
            return;
        }
        if actor.paused {
            return actor.stalled.push(Happening::WindowEnd(process, hold));
        }
        let (local, clock, hangs_until) = (actor.clock.local(self.now), actor.clock, actor.hangs_until);
        let Some(consumer) = self.consumer(process, &hold).filter(|found| found.in_flight.is_some()) else {
            return;
        };
        let (until, ready) = (clock.world(consumer.until), consumer.ready);
        if local < consumer.until {
            if until < ready {
                self.at(until, Happening::WindowEnd(process, hold));
            }
        } else if self.now >= hangs_until {
            self.cut(process, &hold);
            self.idle_if_drained(process, &hold);
        }
    }

    /// A processor that has had its time is interrupted; for one that hangs somebody else speaks.
    pub(super) fn drain_timeout(&mut self, process: usize, hold: Hold) {
        let actor = &mut self.processes[process];
        if !actor.alive {
            return;
        }
        if actor.paused {
            return actor.stalled.push(Happening::DrainTimeout(process, hold));
        }
        let Some(consumer) = self
            .consumer(process, &hold)
            .filter(|found| found.work == Work::Draining)
        else {
            return;
        };
        consumer.work = Work::Idle;
        // Its last checkpoint stands: what it processed since does not count.
        consumer.next = consumer.saved;
        self.cut(process, &hold);
        let checkpoint = None;
        self.tell(process, Event::Drained { hold, checkpoint });
    }

    /// Gives up the batch in flight: its records count as not processed.
    fn cut(&mut self, process: usize, hold: &Hold) {
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        consumer.in_flight = None;
        let from = consumer.next;
        if let Some(by) = self.processes[process].who(&hold.key) {
            let shard = hold.key.clone();
            self.record(Entry::Cut { by, shard, from });
        }
    }

    pub(super) fn finish(&mut self, process: usize, hold: Hold) {
        let actor = &mut self.processes[process];
        if !actor.alive {
            return;
        }
        if actor.paused {
            return actor.stalled.push(Happening::Finish(process, hold));
        }
        if self.now < actor.hangs_until {
            let at = actor.hangs_until;
            return self.at(at, Happening::Finish(process, hold));
        }
        let save = chance(&mut self.rng, 250);
        let now = self.now;
        let Some(consumer) = self.consumer(process, &hold) else {
            return;
        };
        // Of a batch that was given up.
        if now < consumer.ready {
            return;
        }
        let Some(to) = consumer.in_flight.take() else { return };
        consumer.next = to;
        let draining = consumer.work != Work::Running;
        if draining {
            self.idle_if_drained(process, &hold);
        } else {
            if save {
                self.save(process, &hold, up_to(to));
            }
            self.tick_soon(process, &hold, Duration::from_millis(300));
        }
    }

    /// Writes a checkpoint, one at a time.
    pub(super) fn save(&mut self, process: usize, hold: &Hold, checkpoint: Checkpoint) {
        let children = self
            .shards
            .iter()
            .find(|shard| shard.id == hold.key)
            .map(|shard| shard.children.clone());
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        if consumer.saving.is_some() {
            return;
        }
        consumer.saving = Some(checkpoint.clone());
        let ended = checkpoint == Checkpoint::ShardEnd;
        let write = LeaseWrite::Checkpoint {
            key: hold.key.clone(),
            by: hold.fence.clone(),
            checkpoint,
            children: children.filter(|_| ended).unwrap_or_default().into_iter().collect(),
        };
        self.call(process, Sender::Processor(hold.clone()), Request::WriteLease(write));
    }

    /// A checkpoint was answered.
    pub(super) fn saved(&mut self, process: usize, hold: &Hold, call: &Call, reply: Reply) {
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        let Request::WriteLease(LeaseWrite::Checkpoint { checkpoint, .. }) = &call.request else {
            return;
        };
        if consumer.saving.as_ref() != Some(checkpoint) {
            return;
        }
        consumer.saving = None;
        if let Reply::LeaseWritten(written) = reply {
            if let Written::Done(_) = &written {
                consumer.saved = behind(checkpoint).min(consumer.next);
                if *checkpoint == Checkpoint::ShardEnd {
                    return self.shard_ended(process, hold.clone());
                }
            }
            let (hold, sent) = (hold.clone(), call.sent);
            self.tell(process, Event::Checkpointed { hold, sent, written });
        }
        self.idle_if_drained(process, hold);
    }

    pub(super) fn shard_ended(&mut self, process: usize, hold: Hold) {
        self.ended(process, &hold);
        self.processes[process].consumers.remove(&hold.key);
        self.database.bump_lineage();
        self.after(Duration::from_secs(1), Happening::Sweep(hold.key.clone()));
        self.tell(process, Event::ShardEnded { hold });
    }

    pub(super) fn idle_if_drained(&mut self, process: usize, hold: &Hold) {
        let Some(consumer) = self.consumer(process, hold) else {
            return;
        };
        if consumer.work != Work::Draining || consumer.in_flight.is_some() || consumer.saving.is_some() {
            return;
        }
        consumer.work = Work::Idle;
        let checkpoint = consumer.progress();
        let hold = hold.clone();
        let span = between(&mut self.rng, Duration::ZERO, Duration::from_millis(2));
        self.after(span, Happening::Tell(process, Event::Drained { hold, checkpoint }));
    }
}
