//! One process of a worker: its member, its clock, its processors, and what is wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use kinex_core::id::ShardId;
use kinex_core::lease::Process as Identity;
use kinex_core::member::{Event, Member};
use kinex_core::time::Moment;

use crate::consumer::Consumer;
use crate::history::Who;
use crate::world::Happening;

/// A clock with its own origin and rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) offset: Duration,
    pub(crate) ppm: i64,
}

impl Clock {
    const MILLION: i128 = 1_000_000;

    /// What this clock shows.
    pub(crate) fn local(self, world: Duration) -> Moment {
        let nanos = world.as_nanos() as i128;
        let local = nanos + nanos * i128::from(self.ppm) / Self::MILLION;
        Moment::after_origin(self.offset + nanos_of(local))
    }

    /// The first moment of the world at which this clock shows at least `local`.
    pub(crate) fn world(self, local: Moment) -> Duration {
        if local == Moment::NEVER {
            return Duration::MAX;
        }
        let nanos = local.since_origin().saturating_sub(self.offset).as_nanos() as i128;
        let mut world = nanos * Self::MILLION / (Self::MILLION + i128::from(self.ppm));
        while self.local(nanos_of(world)) < local {
            world += 1;
        }
        nanos_of(world)
    }
}

fn nanos_of(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) worker: usize,
    pub(crate) identity: Identity,
    pub(crate) member: Member,
    pub(crate) clock: Clock,
    pub(crate) alive: bool,
    pub(crate) paused: bool,
    /// What came while it slept.
    pub(crate) inbox: Vec<Event>,
    /// What it was about to do when it fell asleep.
    pub(crate) stalled: Vec<Happening>,
    pub(crate) consumers: BTreeMap<ShardId, Consumer>,
    /// Its processors finish nothing before.
    pub(crate) hangs_until: Duration,
    /// Its requests are lost until then.
    pub(crate) cut_until: Duration,
    /// Its beats are lost until then.
    pub(crate) mute_until: Duration,
    /// It starts again that long after it left.
    pub(crate) again: Option<Duration>,
    /// The wake-up that counts.
    pub(crate) wake: u64,
}

impl Process {
    pub(crate) fn who(&self, key: &ShardId) -> Option<Who> {
        let consumer = self.consumers.get(key)?;
        Some(Who {
            worker: self.identity.worker.clone(),
            incarnation: self.identity.incarnation.clone(),
            epoch: consumer.hold.fence.epoch,
        })
    }

    /// Whether it may hand out records of the shard at this moment.
    pub(crate) fn delivers(&self, key: &ShardId, now: Duration) -> bool {
        let open = self
            .consumers
            .get(key)
            .is_some_and(|consumer| consumer.active(self.clock.local(now)));
        self.alive && !self.paused && open
    }
}
