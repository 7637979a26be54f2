//! One worker's part in the lease protocol, as a state machine without I/O.
//!
//! # Expected flow
//! The shell makes a [`Member`], calls [`Member::poll`] whenever [`Member::deadline`] has come, hands every answer and
//! every happening to [`Member::on`], and carries out the [`Action`]s that come back, in their order.
//!
//! # Guarantees
//! The ten rules that keep one owner (`docs/protocol.md`) are all kept here: at no time do two machines that follow their
//! actions deliver records of one shard, whatever is lost, delayed, paused or repeated.
//!
//! # Assumptions
//! `now` never goes back and counts suspend. Nobody delivers a record of a hold at or after the moment that the newest
//! [`Action::Start`] or [`Action::Extend`] of that hold named. The clock's *rate* is right within the margin.

mod config;
mod messages;

use std::collections::BTreeMap;

pub use self::config::{Config, Mismatch, Rules, Strategy};
pub use self::messages::{Action, Event, Exit, Hold, Note, Reply, Request, RequestId, StopReason, Written};
use crate::id::{ShardId, WorkerId};
use crate::lease::Process;
use crate::time::Moment;

/// Who a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name and the process start.
    pub process: Process,
    /// The most leases that it may have.
    pub hard_cap: Option<u32>,
    /// Where it can be poked, `host:port`.
    pub address: Option<String>,
    /// When the process started, for error texts only (RFC 3339).
    pub started: String,
}

/// One worker in the lease protocol.
#[derive(Debug)]
pub struct Member {
    config: Config,
    profile: Profile,
    wake: Moment,
}

impl Member {
    /// A worker that has said nothing yet. Its first [`deadline`](Self::deadline) is `now`.
    pub fn new(config: Config, profile: Profile, now: Moment) -> Self {
        Self {
            config,
            profile,
            wake: now,
        }
    }

    /// When [`poll`](Self::poll) must be called next. It changes with every `poll` and `on`.
    pub fn deadline(&self) -> Moment {
        self.wake
    }

    /// Time has passed.
    pub fn poll(&mut self, now: Moment) -> Vec<Action> {
        self.wake = now + self.config.poll_every;
        Vec::new()
    }

    /// Something happened.
    pub fn on(&mut self, now: Moment, _event: Event) -> Vec<Action> {
        self.poll(now)
    }

    /// Who this is.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The leases that this process has at present, delivering or not, with the end of each window.
    pub fn holds(&self) -> BTreeMap<ShardId, (Hold, Moment)> {
        BTreeMap::new()
    }

    /// The workers that share the leases, as far as this one knows.
    pub fn workers(&self) -> Vec<WorkerId> {
        Vec::new()
    }
}
