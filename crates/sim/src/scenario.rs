//! What is played: a fleet, a stream, a network, and what goes wrong.

use std::time::Duration;

use kinex_core::member::Config;
use kinex_core::worker::{Departure, RenewalMode};

/// What a run plays. Together with a seed it determines everything.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For messages.
    pub name: &'static str,
    /// Workers that start at the beginning, spread over the first second.
    pub workers: usize,
    /// Open shards at the beginning.
    pub shards: usize,
    /// Settings of every member.
    pub config: Config,
    /// Faults happen until then.
    pub faults_for: Duration,
    /// How long the fleet has, after the last fault is over, to be balanced.
    pub converge_in: Duration,
    /// How long it must then stand still.
    pub quiet_for: Duration,
    /// The network while faults happen; afterwards it is [`Net::CALM`].
    pub net: Net,
    /// What happens at a fixed time.
    pub script: Vec<(Duration, Fault)>,
    /// What happens at random.
    pub storm: Option<Storm>,
    /// Batches that take long.
    pub slow: Option<Slow>,
    /// A worker of another library that has leases from the beginning.
    pub foreign: Option<Foreign>,
    /// Rows of workers that left before the beginning.
    pub departed: usize,
    /// Records per second and shard.
    pub rate: f64,
    /// Clocks run fast or slow by up to this many millionths.
    pub drift_ppm: u64,
    /// The fewest leases that have to move; checked when nothing is left to chance.
    pub moves_minimum: Option<usize>,
}

/// Batches that take long, in the hands of a processor that can be interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Slow {
    /// How many batches of 1,000.
    pub share: u64,
    /// How long one takes at least.
    pub least: Duration,
    /// How long one takes at most.
    pub longest: Duration,
}

/// A worker of the Java library: it has no row of its own, its leases name no incarnation and no epoch, and it renews
/// each of them by counting up.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// How many leases it has.
    pub leases: usize,
    /// How often it renews them.
    pub renew_every: Duration,
    /// When it dies.
    pub dies_at: Duration,
}

/// How the network treats requests. Shares are of 1,000.
#[derive(Clone, Copy, Debug)]
pub struct Net {
    /// A request is lost on its way, or refused for throttling.
    pub lost: u64,
    /// A reply is lost on its way back: the write has happened.
    pub reply_lost: u64,
    /// A request arrives late (up to `late`), also after it was given up.
    pub slow: u64,
    /// A reply arrives late.
    pub slow_reply: u64,
    /// How late at most.
    pub late: Duration,
    /// When the sender gives a request up.
    pub timeout: Duration,
    /// A page of a scan fails.
    pub page_fails: u64,
    /// A row of a scan that is none of the reader's is an older one.
    pub stale: u64,
}

impl Net {
    /// Nothing is lost, everything takes milliseconds.
    pub const CALM: Self = Self {
        lost: 0,
        reply_lost: 0,
        slow: 0,
        slow_reply: 0,
        late: Duration::ZERO,
        timeout: Duration::from_secs(3),
        page_fails: 0,
        stale: 0,
    };

    /// Everything happens, all the time.
    pub const ROUGH: Self = Self {
        lost: 20,
        reply_lost: 20,
        slow: 20,
        slow_reply: 20,
        late: Duration::from_secs(14),
        timeout: Duration::from_secs(5),
        page_fails: 30,
        stale: 30,
    };
}

/// Something that happens. Workers are numbered from 0 in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process of a worker starts (a second one, if one runs).
    Start(usize),
    /// Its process dies. `witness`: somebody who knows says so within half a second.
    Crash {
        /// The worker.
        worker: usize,
        /// See above.
        witness: bool,
        /// When it starts again.
        again: Option<Duration>,
    },
    /// Its process sleeps (SIGSTOP).
    Pause {
        /// The worker.
        worker: usize,
        /// For how long.
        lasts: Duration,
    },
    /// It leaves in good order (SIGTERM), and may start again once it is gone.
    Depart {
        /// The worker.
        worker: usize,
        /// What becomes of its leases.
        how: Departure,
        /// How long after its exit it starts again.
        again: Option<Duration>,
    },
    /// Its row is removed by hand.
    RemoveRow(usize),
    /// Its processors finish nothing that they have begun.
    Hang {
        /// The worker.
        worker: usize,
        /// For how long.
        lasts: Duration,
    },
    /// Its requests get no further than its machine.
    Cut {
        /// The worker.
        worker: usize,
        /// For how long.
        lasts: Duration,
    },
    /// Its heartbeats fail; everything else works.
    Mute {
        /// The worker.
        worker: usize,
        /// For how long.
        lasts: Duration,
    },
    /// A shard splits.
    Split(usize),
}

/// Which faults a run draws, by weight, and how often.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Mean time between two faults.
    pub every: Duration,
    /// Weights in the order of [`Storm::KINDS`].
    pub weights: [u64; Self::KINDS],
}

impl Storm {
    /// Pause shorter than F, pause of 3F, crash, crash with witness, second process of one name, release, reserve, row
    /// removed, hang, cut, mute, split.
    pub const KINDS: usize = 12;

    /// Everything.
    pub fn all(every: Duration) -> Self {
        Self {
            every,
            weights: [3, 3, 3, 3, 2, 2, 2, 1, 3, 2, 3, 1],
        }
    }
}

impl Scenario {
    /// A fleet that nothing happens to.
    pub fn calm(workers: usize, shards: usize, renewal: RenewalMode) -> Self {
        Self {
            name: "calm",
            workers,
            shards,
            config: Config {
                renewal,
                ..Config::default()
            },
            faults_for: Duration::from_secs(10),
            converge_in: Duration::from_secs(10),
            quiet_for: Duration::from_secs(12),
            net: Net::CALM,
            script: Vec::new(),
            storm: None,
            slow: None,
            foreign: None,
            departed: 0,
            rate: 2.0,
            drift_ppm: 500,
            moves_minimum: None,
        }
    }

    /// A fleet that everything happens to.
    pub fn storm(workers: usize, shards: usize, renewal: RenewalMode) -> Self {
        let calm = Self::calm(workers, shards, renewal);
        Self {
            name: "storm",
            config: Config {
                drain_timeout: Duration::from_secs(11),
                handoff_timeout: Duration::from_secs(12),
                ..calm.config.clone()
            },
            faults_for: Duration::from_secs(90),
            converge_in: Duration::from_secs(75),
            net: Net::ROUGH,
            storm: Some(Storm::all(Duration::from_secs(4))),
            drift_ppm: 4_000,
            ..calm
        }
    }

    /// The storm with processors that often need longer than the failover time for a batch.
    pub fn slow_storm(workers: usize, shards: usize, renewal: RenewalMode) -> Self {
        Self {
            name: "slow storm",
            slow: Some(Slow {
                share: 300,
                least: Duration::from_secs(3),
                longest: Duration::from_secs(16),
            }),
            ..Self::storm(workers, shards, renewal)
        }
    }

    /// A calm fleet to which this happens.
    pub fn scripted(mut self, name: &'static str, script: Vec<(Duration, Fault)>) -> Self {
        self.name = name;
        let last = script.iter().map(|(at, _)| *at).max().unwrap_or_default();
        self.faults_for = self.faults_for.max(last + Duration::from_secs(1));
        self.script = script;
        self
    }
}
