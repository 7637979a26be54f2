//! Carries out what the member decides.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use kinex_core::lease::Lease;
use kinex_core::member::{Action, Hold, Note, StopReason};
use kinex_core::shard::RetryPolicy;
use kinex_core::time::Moment;

use super::checkpoints::Queue;
use super::{Driver, Finished, GRACE, Held};
use crate::bucket::Bucket;
use crate::clock;
use crate::consumer::{self, consume};
use crate::control::Control;
use crate::deaggregate::RecordFilter;
use crate::events::WorkerEvent;
use crate::fetch::{Pace, Source};
use crate::poison::PoisonAction;
use crate::ports::{LeaseStore, StreamReader};
use crate::processor::ProcessorFactory;
use crate::progress::Progress;
use crate::read_size::ReadSize;
use crate::request;
use crate::worker::{HoldState, HoldStatus};

impl<S: LeaseStore, R: StreamReader, F: ProcessorFactory> Driver<S, R, F> {
    pub(super) fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { id, request } => {
                    let (store, reporter, within) = (
                        Arc::clone(&self.store),
                        self.reporter.clone(),
                        self.config.request_timeout,
                    );
                    self.requests.spawn(async move {
                        let reply = request::send(&*store, &reporter, within, request).await;
                        Finished::Reply(id, reply)
                    });
                }
                Action::Start { hold, lease, until } => self.start(hold, *lease, until),
                Action::Extend { hold, until } => {
                    if let Some(held) = self.holds.get(&hold) {
                        held.control.extend(until);
                    }
                }
                Action::Drain { hold } => self.drain(&hold),
                Action::Stop { hold, reason } => self.stop(&hold, reason),
                Action::Note(note) => self.note(note),
                Action::Exit(exit) => self.exit = Some(exit),
            }
        }
    }

    fn start(&mut self, hold: Hold, lease: Lease, until: Moment) {
        let config = &self.config;
        let control = Arc::new(Control::new(until));
        let key = Arc::new(hold.clone());
        let source = Source {
            stream: Arc::clone(&self.stream),
            hold: Arc::clone(&key),
            reporter: self.reporter.clone(),
            slot: self.budget.slot(),
            bucket: Mutex::new(Bucket::new(
                config.reads_per_second,
                config.bytes_per_second,
                clock::now(),
            )),
            size: Mutex::new(ReadSize::new(config.read_records_max, config.read_timeout)),
            worthless: AtomicU32::new(0),
            read_all: Mutex::new(None),
            pace: Pace {
                idle: config.idle_between_reads,
                prefetch: config.prefetch,
                request_timeout: config.request_timeout,
                read_timeout: config.read_timeout,
            },
        };
        let setup = consumer::Setup {
            hold: Arc::clone(&key),
            control: Arc::clone(&control),
            source,
            factory: Arc::clone(&self.factory),
            filter: RecordFilter {
                hold: Arc::clone(&key),
                hash_range: lease.hash_range,
                out_of_range: config.out_of_range,
                batch_records_max: config.batch_records_max,
            },
            inbox: self.sender.clone(),
            initial_position: config.initial_position,
            policy: RetryPolicy {
                retries: config.processor_retries,
                halts: config.on_poison == PoisonAction::Halt,
                pause: config.retry_pause,
                pause_max: config.retry_pause_max,
            },
            on_poison: config.on_poison,
            drain_timeout: config.protocol.drain_timeout,
            lease: lease.clone(),
        };
        self.reporter.emit(WorkerEvent::ShardStarted {
            shard: hold.key.clone(),
            epoch: hold.fence.epoch,
            checkpoint: lease.checkpoint.clone(),
            parents: lease.parents,
        });
        let status = HoldStatus {
            epoch: hold.fence.epoch,
            state: HoldState::Reading,
            checkpoint: lease.checkpoint.clone(),
            behind_millis: None,
            progress: Progress::starting(clock::now()),
        };
        self.reporter
            .update(|reporter| reporter.holds.insert(hold.key.clone(), status));
        let consumer = self.consumers.spawn_on(consume(setup), &self.processors);
        self.consumer_of.insert(consumer.id(), hold.clone());
        let held = Held {
            hold: key,
            control,
            consumer,
            checkpoints: Queue::new(lease.checkpoint),
            drain_until: None,
            slow: None,
            lost: false,
        };
        if let Some(before) = self.holds.insert(hold, held) {
            before.consumer.abort();
        }
    }

    fn drain(&mut self, hold: &Hold) {
        let Some(held) = self.holds.get_mut(hold) else { return };
        held.control.drain();
        held.drain_until = Some(clock::now() + self.config.protocol.drain_timeout + GRACE);
        self.reporter.hold(hold, |hold| hold.state = HoldState::Draining);
        self.reporter.emit(WorkerEvent::ShardDraining {
            shard: hold.key.clone(),
            epoch: hold.fence.epoch,
        });
    }

    pub(super) fn stop(&mut self, hold: &Hold, reason: StopReason) {
        if let Some(held) = self.holds.get_mut(hold)
            && reason == StopReason::Lost
            && held.checkpoints.ends()
        {
            // Any worker may remove the row as soon as the end is written, which may be before the answer is here. So a
            // row that is gone proves no loss until the write's own answer does.
            held.lost = true;
            return;
        }
        let Some(held) = self.holds.remove(hold) else { return };
        held.control.stop(reason);
        self.forget(hold);
        self.reporter.emit(WorkerEvent::ShardStopped {
            shard: hold.key.clone(),
            epoch: hold.fence.epoch,
            reason,
        });
    }

    /// Takes a hold out of the status, unless a later one has taken its place.
    pub(super) fn forget(&self, hold: &Hold) {
        self.reporter.update(|status| {
            if status
                .holds
                .get(&hold.key)
                .is_some_and(|found| found.epoch == hold.fence.epoch)
            {
                status.holds.remove(&hold.key);
            }
        });
    }

    fn note(&mut self, note: Note) {
        let event = match note {
            Note::Membership { workers, dead } => {
                self.show_workers();
                WorkerEvent::Membership { workers, dead }
            }
            Note::Moved { key, from, reason } => WorkerEvent::LeaseMoved {
                shard: key,
                from,
                reason,
            },
            Note::Conflict { key, write } => WorkerEvent::Conflict { shard: key, write },
            Note::Lapsed { hold } => {
                self.reporter.hold(&hold, |hold| hold.state = HoldState::Lapsed);
                WorkerEvent::WindowLapsed {
                    shard: hold.key,
                    epoch: hold.fence.epoch,
                }
            }
            Note::Planned {
                leases,
                workers,
                coming,
            } => WorkerEvent::Planned {
                leases,
                workers,
                coming,
            },
            Note::CapExceeded { by, unowned } => WorkerEvent::CapExceeded { by, unowned },
        };
        self.reporter.emit(event);
    }
}
