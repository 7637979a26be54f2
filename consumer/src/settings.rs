//! The settings: a YAML file with the guide's keys, flags over it, checked as a whole.
//!
//! [`Keys`] is what may be written, every key optional; [`Settings`] is what the program runs with.

mod keys;

use std::path::Path;
use std::time::Duration;

use kinex_aws::Access;
use kinex_core::balance::Policy;
use kinex_core::member::Strategy;
use kinex_kcl::{Departure, InitialPosition, OutOfRange, PoisonAction, ProtocolConfig, RenewalMode, WorkerConfig};

pub use self::keys::Keys;
use self::keys::{OutOfRangeName, Poison, Position, Renewal, Shutdown, StrategyName};
use crate::leaving::Leaving;
use crate::{Args, Error};

/// What the program runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the services are.
    pub access: Access,
    /// The stream to read.
    pub stream: String,
    /// The application: name of the lease table.
    pub application: String,
    /// Whether missing tables are made at the start.
    pub create_tables: bool,
    /// Whether a stream and tables that are not there yet are waited for.
    pub wait_for_stream: bool,
    /// Of the client library.
    pub worker: WorkerConfig,
    /// How often a shard with new progress is checkpointed.
    pub checkpoint_every: Duration,
    /// How often a changed audit row is written.
    pub audit_every: Duration,
    /// How often the rate is printed.
    pub report_every: Duration,
    /// What becomes of the leases when a signal ends the process.
    pub leaving: Leaving,
    /// How long leaving may take before the process ends all the same.
    pub grace: Duration,
    /// Up to how many shards have time series of their own.
    pub shard_series_max: usize,
}

impl Settings {
    /// The settings of a command line: the file, the flags over it, the defaults below.
    ///
    /// # Errors
    /// [`Error::Settings`] with the place of an unknown key or wrong value, and with both names where two settings
    /// contradict each other.
    pub fn load(args: &Args) -> Result<Self, Error> {
        let file = match &args.config {
            Some(path) => read(path)?,
            None => Keys::default(),
        };
        let mut flags = Keys::default();
        for assignment in &args.set {
            flags = assigned(assignment)?.over(flags);
        }
        let own = Keys {
            stream: args.stream.clone(),
            application: args.application.clone(),
            region: args.region.clone(),
            endpoint_url: args.endpoint_url.clone(),
            kinesis_endpoint_url: args.kinesis_endpoint_url.clone(),
            dynamodb_endpoint_url: args.dynamodb_endpoint_url.clone(),
            send_credentials: args.sign.then_some(true),
            ..Keys::default()
        };
        Self::resolve(own.over(flags).over(file))
    }

    /// The settings of what is written, every default filled in, checked as a whole.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn resolve(keys: Keys) -> Result<Self, Error> {
        let wanted = |name: &str| {
            Error::Settings(format!(
                "`{name}` is missing: give --{name} NAME or `{name}:` in the file"
            ))
        };
        let worker = worker(&keys)?;
        let on_shutdown = keys.on_shutdown.unwrap_or(Shutdown::Release);
        // Long enough for a pod to be scheduled and pulled again; after it the leases go to the others.
        let reserve = millis(keys.reserve_time_millis, 60_000);
        let settings = Self {
            access: Access {
                endpoint: keys.endpoint_url,
                kinesis_endpoint: keys.kinesis_endpoint_url,
                dynamodb_endpoint: keys.dynamodb_endpoint_url,
                region: keys.region,
                send_credentials: keys.send_credentials.unwrap_or(false),
                ..Access::default()
            },
            stream: keys.stream.ok_or_else(|| wanted("stream"))?,
            application: keys.application.ok_or_else(|| wanted("application"))?,
            create_tables: keys.create_tables.unwrap_or(true),
            wait_for_stream: keys.wait_for_stream.unwrap_or(false),
            worker,
            // What is delivered again after a kill is at most this old.
            checkpoint_every: millis(keys.checkpoint_interval_millis, 1_000),
            // What a kill hides from the audit is at most this old.
            audit_every: millis(
                keys.audit_interval_millis,
                keys.checkpoint_interval_millis.unwrap_or(1_000).min(1_000),
            ),
            report_every: millis(keys.report_interval_millis, 5_000),
            leaving: match on_shutdown {
                Shutdown::Release => Leaving::Always(Departure::Release),
                Shutdown::Reserve => Leaving::Always(Departure::Reserve(reserve)),
                Shutdown::ByOrdinal => Leaving::ByOrdinal(reserve),
            },
            // Kubernetes gives 30 s; the last five are for the process itself.
            grace: millis(keys.grace_period_millis, 25_000),
            shard_series_max: keys.shard_series_max.unwrap_or(100),
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Error> {
        let protocol = self.worker.protocol.check().map_err(|error| error.to_string());
        let worker = self.worker.check().map_err(|error| error.to_string());
        protocol
            .and(worker)
            .map_err(|text| Error::Settings(in_our_words(&text)))?;
        let drain = self.worker.protocol.drain_timeout;
        let rules = [
            (
                drain < self.grace,
                format!(
                    "`drain_timeout_millis` ({}) must be less than `grace_period_millis` ({}): a processor that hangs is given up within the grace period",
                    drain.as_millis(),
                    self.grace.as_millis()
                ),
            ),
            (
                !self.audit_every.is_zero(),
                "`audit_interval_millis` must be more than 0".to_owned(),
            ),
            (
                !self.report_every.is_zero(),
                "`report_interval_millis` must be more than 0".to_owned(),
            ),
            (
                self.audit_every <= self.checkpoint_every,
                format!(
                    "`audit_interval_millis` ({}) must not be more than `checkpoint_interval_millis` ({}): nothing is checkpointed before it is audited",
                    self.audit_every.as_millis(),
                    self.checkpoint_every.as_millis()
                ),
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::Settings(rule)),
            None => Ok(()),
        }
    }
}

/// The client library's names in a message, as the file spells them.
fn in_our_words(text: &str) -> String {
    let names = [
        ("renew_every", "renew_interval_millis"),
        ("failover_after", "failover_time_millis"),
        ("poll_every", "poll_interval_millis"),
        ("settle_for", "settle_time_millis"),
        ("handoff_timeout", "handoff_timeout_millis"),
        ("margin", "clock_margin_millis"),
        ("max_leases", "max_leases_for_worker"),
        ("idle_between_reads", "idle_time_between_reads_millis"),
        ("read_records_max", "max_records"),
        ("memory_max", "memory_max_bytes"),
        ("retry_pause (", "retry_pause_millis ("),
        ("retry_pause_max (", "retry_pause_max_millis ("),
        ("drain_timeout", "drain_timeout_millis"),
        ("request_timeout", "request_timeout_millis"),
        ("read_timeout", "read_timeout_millis"),
        ("slow_call_after", "slow_call_millis"),
        ("sync_every", "shard_sync_interval_millis"),
    ];
    names
        .iter()
        .fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// The client library's part of the settings.
fn worker(keys: &Keys) -> Result<WorkerConfig, Error> {
    let base = WorkerConfig::default();
    let protocol = protocol(keys)?;
    Ok(WorkerConfig {
        max_leases: keys.max_leases_for_worker,
        initial_position: initial_position(keys)?,
        sync_every: over(base.sync_every, keys.shard_sync_interval_millis),
        idle_between_reads: over(base.idle_between_reads, keys.idle_time_between_reads_millis),
        read_records_max: keys.max_records.unwrap_or(base.read_records_max),
        reads_per_second: keys.reads_per_second.unwrap_or(base.reads_per_second),
        bytes_per_second: keys.bytes_per_second.unwrap_or(base.bytes_per_second),
        prefetch: keys.prefetch.unwrap_or(base.prefetch),
        memory_max: keys.memory_max_bytes.unwrap_or(base.memory_max),
        batch_records_max: keys.batch_records_max.unwrap_or(base.batch_records_max),
        out_of_range: match keys.out_of_range {
            Some(OutOfRangeName::Drop) => OutOfRange::Drop,
            Some(OutOfRangeName::Deliver) => OutOfRange::Deliver,
            None => base.out_of_range,
        },
        processor_retries: keys.processor_retries.unwrap_or(base.processor_retries),
        on_poison: match keys.on_poison {
            Some(Poison::Retry) => PoisonAction::Retry,
            Some(Poison::Halt) => PoisonAction::Halt,
            Some(Poison::Skip) => PoisonAction::Skip,
            None => base.on_poison,
        },
        slow_call_after: over(base.slow_call_after, keys.slow_call_millis),
        retry_pause: over(base.retry_pause, keys.retry_pause_millis),
        retry_pause_max: over(base.retry_pause_max, keys.retry_pause_max_millis),
        // A renewal that hangs is sent again twice before its window ends.
        request_timeout: over(
            base.request_timeout.min(protocol.failover_after * 3 / 10),
            keys.request_timeout_millis,
        ),
        read_timeout: over(base.read_timeout, keys.read_timeout_millis),
        protocol,
        ..base
    })
}

/// The lease protocol's part of the settings. What is not written follows from the failover time.
fn protocol(keys: &Keys) -> Result<ProtocolConfig, Error> {
    let base = ProtocolConfig::default();
    let failover_after = over(base.failover_after, keys.failover_time_millis);
    // A shorter settle time alone brings a shorter poll with it.
    let polls = base.poll_every.min(failover_after / 5);
    let settled = keys
        .settle_time_millis
        .map(|millis| Duration::from_millis(millis) * 10 / 12);
    let poll_every = over(settled.map_or(polls, |most| polls.min(most)), keys.poll_interval_millis);
    let settle_for = over(poll_every * 12 / 10, keys.settle_time_millis);
    let protocol = ProtocolConfig {
        failover_after,
        renew_every: over(failover_after / 3, keys.renew_interval_millis),
        margin: over(failover_after / 100, keys.clock_margin_millis),
        poll_every,
        settle_for,
        drain_timeout: over(base.drain_timeout, keys.drain_timeout_millis),
        handoff_timeout: over(
            base.handoff_timeout.max(failover_after * 3),
            keys.handoff_timeout_millis,
        ),
        renewal: match keys.renewal {
            Some(Renewal::PerLease) => RenewalMode::PerLease,
            Some(Renewal::PerWorker) | None => RenewalMode::PerWorker,
        },
        strategy: strategy(keys)?,
        policy: Policy {
            // Each worker's own cap stands in its row, where the others see it.
            hard_cap: None,
            cap_policy: keys.cap_policy.unwrap_or_default(),
            cap_rounding: keys.cap_rounding.unwrap_or_default(),
        },
        parents_first: keys.process_parent_shard_before_children.unwrap_or(false),
        ..base
    };
    Ok(protocol)
}

/// A century: longer than any process runs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

fn strategy(keys: &Keys) -> Result<Strategy, Error> {
    // The guide's library steals one lease in this time.
    let every = millis(keys.lease_stealing_interval_millis, 20_000);
    match (keys.strategy, keys.enable_lease_stealing) {
        (Some(StrategyName::Stealing), Some(false)) => Err(Error::Settings(
            "`strategy: Stealing` and `enable_lease_stealing: false` contradict each other".to_owned(),
        )),
        // Orphans are adopted at once, and the time to steal never comes: no lease of a live worker moves.
        (_, Some(false)) => Ok(Strategy::Stealing { every: NEVER }),
        (Some(StrategyName::Stealing), _) => Ok(Strategy::Stealing { every }),
        (Some(StrategyName::Balanced) | None, _) => Ok(Strategy::Balanced),
    }
}

fn initial_position(keys: &Keys) -> Result<InitialPosition, Error> {
    match (keys.initial_position, keys.initial_timestamp_millis) {
        (Some(Position::AtTimestamp), Some(at)) => Ok(InitialPosition::AtTimestamp(at)),
        (Some(Position::AtTimestamp), None) => Err(Error::Settings(
            "`initial_position: AT_TIMESTAMP` needs `initial_timestamp_millis`".to_owned(),
        )),
        (_, Some(_)) => Err(Error::Settings(
            "`initial_timestamp_millis` is only for `initial_position: AT_TIMESTAMP`".to_owned(),
        )),
        (Some(Position::Latest), None) => Ok(InitialPosition::Latest),
        (Some(Position::TrimHorizon) | None, None) => Ok(InitialPosition::TrimHorizon),
    }
}

fn millis(value: Option<u64>, default: u64) -> Duration {
    Duration::from_millis(value.unwrap_or(default))
}

fn over(default: Duration, value: Option<u64>) -> Duration {
    value.map_or(default, Duration::from_millis)
}

fn read(path: &Path) -> Result<Keys, Error> {
    let refused = |reason: String| Error::Settings(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Keys::parse(&text).map_err(refused)
}

/// One `KEY=VALUE` of the command line.
fn assigned(assignment: &str) -> Result<Keys, Error> {
    let refused = |reason: &str| Error::Settings(format!("--set {assignment}: {reason}"));
    let (key, value) = assignment
        .split_once('=')
        .ok_or_else(|| refused("expected KEY=VALUE"))?;
    Keys::parse(&format!("{key}: {value}")).map_err(|reason| refused(&reason))
}

#[cfg(test)]
mod tests;
