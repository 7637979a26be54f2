//! What may be written in the settings file.

use serde::Deserialize;

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident: $kind:ty,)*) => {
        /// The settings file: every key optional.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Keys {
            $($(#[$doc])* #[serde(default)] pub $key: Option<$kind>,)*
        }

        impl Keys {
            /// The names of all keys.
            pub const NAMES: &[&str] = &[$(stringify!($key)),*];

            /// These settings where they are written, else those of `below`.
            #[must_use]
            pub fn over(self, below: Self) -> Self {
                Self { $($key: self.$key.or(below.$key),)* }
            }
        }
    };
}

keys! {
    /// The stream to read.
    stream: String,
    /// The application: name of the lease table.
    application: String,
    /// The AWS region.
    region: String,
    /// The endpoint of Kinesis and DynamoDB.
    endpoint_url: String,
    /// The endpoint of Kinesis alone.
    kinesis_endpoint_url: String,
    /// The endpoint of DynamoDB alone.
    dynamodb_endpoint_url: String,
    /// Whether custom endpoints get the credentials of the environment: for VPC endpoints.
    send_credentials: bool,
    /// Whether missing tables are made at the start.
    create_tables: bool,
    /// Whether to wait for a stream and tables that are not there yet, instead of ending with an error.
    wait_for_stream: bool,

    /// Whether leases of live workers move to make all workers even.
    enable_lease_stealing: bool,
    /// The most leases that this worker may have.
    max_leases_for_worker: u32,
    /// How often a worker steals one lease (`strategy: Stealing`).
    lease_stealing_interval_millis: u64,
    /// Whether a child shard waits for its parents.
    process_parent_shard_before_children: bool,
    /// How leases come to be even.
    strategy: StrategyName,
    /// What becomes of leases above all caps.
    cap_policy: kinex_core::balance::CapPolicy,
    /// How the fair share is rounded.
    cap_rounding: kinex_core::balance::CapRounding,

    /// How long a silent worker counts as alive.
    failover_time_millis: u64,
    /// How often leases are renewed.
    renew_interval_millis: u64,
    /// What is taken off a lease's window for clocks that run at different rates.
    clock_margin_millis: u64,
    /// How often the workers' rows are read.
    poll_interval_millis: u64,
    /// How long the set of workers must stand still before leases move.
    settle_time_millis: u64,
    /// How long a worker waits for a lease that it asked for before it takes it.
    handoff_timeout_millis: u64,
    /// How leases are renewed.
    renewal: Renewal,

    /// Where an application that has never read the stream begins.
    initial_position: Position,
    /// The time for `AT_TIMESTAMP`, in milliseconds since 1970.
    initial_timestamp_millis: i64,
    /// How often the shards are listed.
    shard_sync_interval_millis: u64,
    /// The pause after a read that found nothing new.
    idle_time_between_reads_millis: u64,
    /// The most records of one read.
    max_records: usize,
    /// Reads of one shard per second.
    reads_per_second: u32,
    /// Bytes of one shard per second.
    bytes_per_second: u32,
    /// Reads of one shard fetched ahead.
    prefetch: usize,
    /// Bytes of records in memory, over all shards.
    memory_max_bytes: usize,
    /// The most records that are processed together.
    batch_records_max: usize,
    /// What becomes of an aggregate with records of another shard.
    out_of_range: OutOfRangeName,

    /// After so many retries in a row of a failing call there is an alarm, and `on_poison` applies.
    processor_retries: u32,
    /// What becomes of a record whose call fails every time.
    on_poison: Poison,
    /// A call of the processor that takes longer is logged.
    slow_call_millis: u64,
    /// The pause before the first of them.
    retry_pause_millis: u64,
    /// The longest pause.
    retry_pause_max_millis: u64,
    /// How long a processor may take to come to a rest.
    drain_timeout_millis: u64,
    /// How long one request may take, reads of records excepted.
    request_timeout_millis: u64,
    /// How long one read of records may take.
    read_timeout_millis: u64,

    /// How often a shard with new progress is checkpointed.
    checkpoint_interval_millis: u64,
    /// How often a changed audit row is written.
    audit_interval_millis: u64,
    /// How often the rate is printed.
    report_interval_millis: u64,
    /// What becomes of the leases when a signal ends the process.
    on_shutdown: Shutdown,
    /// How long leases wait for this worker's name after `on_shutdown: Reserve` (and `ByOrdinal`).
    reserve_time_millis: u64,
    /// How long leaving may take.
    grace_period_millis: u64,
    /// Up to how many shards have time series of their own.
    shard_series_max: usize,
}

/// How leases come to be even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum StrategyName {
    /// One round, fewest moves.
    Balanced,
    /// One lease per worker and interval.
    Stealing,
}

/// What becomes of an aggregate with records of another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum OutOfRangeName {
    /// It is dropped and counted, as the Java library does it: the producer library sends it again.
    Drop,
    /// It is delivered: for producers that send nothing again.
    Deliver,
}

/// How leases are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Renewal {
    /// By one heartbeat per worker.
    PerWorker,
    /// Each by itself, as the Java library does it.
    PerLease,
}

/// What becomes of a record whose call fails every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Poison {
    /// The call is made again, for ever.
    Retry,
    /// The shard is halted.
    Halt,
    /// The record is dropped and counted.
    Skip,
}

/// Where an application begins that has never read the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Position {
    /// At the oldest record.
    TrimHorizon,
    /// Behind the newest record.
    Latest,
    /// At a time.
    AtTimestamp,
}

/// What becomes of the leases when a signal ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Shutdown {
    /// They go to the others at once: a scale-down.
    Release,
    /// They wait for a process of the same name: a rolling update.
    Reserve,
    /// `Reserve` while the ordinal of this worker is below the number in the fact row `control/replicas`, else `Release`.
    ByOrdinal,
}

impl Keys {
    /// Reads YAML. An empty text sets nothing.
    ///
    /// # Errors
    /// What is wrong, with line and column; an unknown key with those that there are.
    pub fn parse(yaml: &str) -> Result<Self, String> {
        let parsed: Option<Self> = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        Ok(parsed.unwrap_or_default())
    }
}
