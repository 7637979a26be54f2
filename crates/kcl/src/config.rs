//! The settings of a worker, each default with its reason, and the relations between them.

use std::time::Duration;

use kinex_core::member;

use crate::poison::PoisonAction;

/// Where an application that has never read a stream begins.
///
/// Only shards that are there at the first look begin here; a shard that appears later is always read from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialPosition {
    /// Behind the newest record.
    Latest,
    /// At the oldest record.
    TrimHorizon,
    /// At the first record that arrived at or after this time, in milliseconds since 1970.
    AtTimestamp(i64),
}

/// What to do with an aggregate in which a user record's hash key is outside the range of the shard.
///
/// The producer library aggregates for the shards that it knows, so such records appear shortly after a split, and sends
/// them again. A stream with the record distribution `AUTO` places records without regard to their keys: there every
/// record is delivered, whatever is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// Drop the whole aggregate and count its records, as the Java library does: the producer sends them again.
    Drop,
    /// Deliver it all the same, for producers that send nothing again: records may come twice.
    Deliver,
}

/// The settings of a worker. Check them as a whole with [`WorkerConfig::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// The lease protocol: failover time, poll, settle delay, hand-off.
    pub protocol: member::Config,
    /// The most leases that this worker may have; `None`: its fair share, however large.
    pub max_leases: Option<u32>,
    /// Where an application that has never read the stream begins.
    pub initial_position: InitialPosition,
    /// How often the shards of the stream are listed, by the few workers that do so.
    pub sync_every: Duration,
    /// The pause after a read that found nothing new.
    pub idle_between_reads: Duration,
    /// The most records of one read; Kinesis allows 10,000.
    pub read_records_max: usize,
    /// Reads of one shard per second that are left to this application; Kinesis allows 5 for all of them together.
    pub reads_per_second: u32,
    /// Bytes of one shard per second that are left to this application; Kinesis allows 2 MiB for all of them together.
    pub bytes_per_second: u32,
    /// How many reads of one shard are fetched ahead of the processor.
    pub prefetch: usize,
    /// Bytes of memory for records that are being read or are read and not yet processed, over all shards. Counted is what
    /// they occupy, not their payload alone: a record of one byte takes about 300 bytes. Half of it is divided among the
    /// shards, so that each can always be read; the other half goes to whichever shard needs more. A record that is larger
    /// than its shard's part is read all the same, one at a time.
    pub memory_max: usize,
    /// The most user records of one call of the processor.
    pub batch_records_max: usize,
    /// What becomes of aggregated user records that belong to another shard.
    pub out_of_range: OutOfRange,
    /// After so many retries in a row of a failing call there is an alarm, and [`Self::on_poison`] applies.
    pub processor_retries: u32,
    /// What becomes of a record whose call fails every time, unless
    /// [`RecordProcessor::poisoned`](crate::RecordProcessor::poisoned) decides otherwise. With [`PoisonAction::Halt`]
    /// the shard is also halted when `initialize` or `shard_ended` fail every time; else they are made again for ever.
    pub on_poison: PoisonAction,
    /// A call of the processor that takes longer than this is told by
    /// [`WorkerEvent::ProcessorSlow`](crate::WorkerEvent::ProcessorSlow), and again each time it has taken twice as long.
    pub slow_call_after: Duration,
    /// The pause before the first retry; it doubles with each one, up to [`Self::retry_pause_max`]. Up to half of it is
    /// taken off at random, so that shards that failed together do not come back together.
    pub retry_pause: Duration,
    /// The longest pause between two retries.
    pub retry_pause_max: Duration,
    /// How long one request to the tables or the stream may take, reads of records excepted.
    pub request_timeout: Duration,
    /// How long one read of records may take; after one that took longer, fewer records are asked for.
    pub read_timeout: Duration,
    /// How many events a subscriber may lag behind before it misses some.
    pub events_kept: usize,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            protocol: member::Config::default(),
            // The fair share is the point of the library; a cap is for machines that cannot do more.
            max_leases: None,
            // Nothing that is in the stream is passed over unless somebody says so.
            initial_position: InitialPosition::TrimHorizon,
            // The few workers that list make about one call per second together; the quota is 1,000.
            sync_every: Duration::from_secs(2),
            // Leaves four of the five reads per second to other applications, and costs at most a second of delay.
            idle_between_reads: Duration::from_secs(1),
            // The most that Kinesis gives; the byte budget bounds what it means.
            read_records_max: 10_000,
            // The quota of a shard.
            reads_per_second: 5,
            bytes_per_second: 2 * 1024 * 1024,
            // One read in the processor's hands, one ready.
            prefetch: 1,
            // A read has 10 MiB at most, and takes up to 2.5 times that while it is decoded: one or two of the largest at once.
            memory_max: 64 * 1024 * 1024,
            // Bounds the memory of an aggregate that holds very many user records.
            batch_records_max: 1_000,
            // As every other client library.
            out_of_range: OutOfRange::Drop,
            // With the pauses below there is an alarm after about six seconds of failures in a row.
            processor_retries: 6,
            // A database that is down for an hour must not need anybody's hand when it is back.
            on_poison: PoisonAction::Retry,
            // Longer than a processor may take to drain: such a call will not be handed over in good order.
            slow_call_after: Duration::from_secs(30),
            retry_pause: Duration::from_millis(100),
            retry_pause_max: Duration::from_secs(10),
            // Less than a third of F: a renewal that hangs is sent again twice before its window ends.
            request_timeout: Duration::from_secs(3),
            // A read of 10 MiB over a link of 4 Mbit/s.
            read_timeout: Duration::from_secs(30),
            // Some minutes of events of a busy worker.
            events_kept: 1_024,
        }
    }
}

/// The settings contradict each other or are out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl WorkerConfig {
    /// Checks every setting and every relation between two of them.
    ///
    /// # Errors
    /// The first one that does not hold, with the names of both sides.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self {
            protocol,
            max_leases,
            initial_position,
            sync_every,
            idle_between_reads,
            read_records_max,
            reads_per_second,
            bytes_per_second,
            prefetch,
            memory_max,
            batch_records_max,
            out_of_range: _,
            processor_retries: _,
            on_poison: _,
            slow_call_after,
            retry_pause,
            retry_pause_max,
            request_timeout,
            read_timeout,
            events_kept,
        } = self;
        let rules = [
            (*max_leases != Some(0), "max_leases must be at least 1".to_owned()),
            (
                !matches!(initial_position, InitialPosition::AtTimestamp(millis) if *millis < 0),
                "initial_position: the timestamp must not be before 1970".to_owned(),
            ),
            (!sync_every.is_zero(), "sync_every must be more than 0".to_owned()),
            (
                *idle_between_reads <= Duration::from_secs(240),
                "idle_between_reads must be at most 240 s: an iterator lives 300 s".to_owned(),
            ),
            (
                (1..=10_000).contains(read_records_max),
                format!("read_records_max must be 1 to 10,000, not {read_records_max}"),
            ),
            (
                (1..=5).contains(reads_per_second),
                format!("reads_per_second must be 1 to 5, the quota of a shard, not {reads_per_second}"),
            ),
            (
                (1..=2 * 1024 * 1024).contains(bytes_per_second),
                format!("bytes_per_second must be 1 to 2,097,152, the quota of a shard, not {bytes_per_second}"),
            ),
            (
                (1..=64).contains(prefetch),
                format!("prefetch must be 1 to 64, not {prefetch}"),
            ),
            (
                *memory_max >= READ_BYTES_MAX && *memory_max <= u32::MAX as usize,
                format!("memory_max must be 10 MiB (one read) to 4 GiB, not {memory_max} bytes"),
            ),
            (
                (1..=100_000).contains(batch_records_max),
                format!("batch_records_max must be 1 to 100,000, not {batch_records_max}"),
            ),
            (
                retry_pause <= retry_pause_max,
                format!("retry_pause ({retry_pause:?}) must not be more than retry_pause_max ({retry_pause_max:?})"),
            ),
            (
                !slow_call_after.is_zero(),
                "slow_call_after must be more than 0".to_owned(),
            ),
            (
                !request_timeout.is_zero() && *request_timeout < protocol.failover_after,
                format!(
                    "request_timeout ({request_timeout:?}) must be more than 0 and less than failover_after ({:?})",
                    protocol.failover_after
                ),
            ),
            (
                !read_timeout.is_zero() && *read_timeout < ITERATOR_LIFE,
                format!(
                    "read_timeout ({read_timeout:?}) must be more than 0 and less than 300 s, the life of an iterator"
                ),
            ),
            (*events_kept >= 1, "events_kept must be at least 1".to_owned()),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(holds, _)| !holds) {
            return Err(ConfigError(rule));
        }
        protocol.check().map_err(|mismatch| ConfigError(mismatch.to_string()))
    }
}

/// How long an iterator can be used: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>.
const ITERATOR_LIFE: Duration = Duration::from_secs(300);

/// The most bytes that one read of Kinesis returns.
pub(crate) const READ_BYTES_MAX: usize = 10 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings with one change, and what the error says; nothing: they are good.
    fn check(change: impl FnOnce(&mut WorkerConfig), expected: &[&str]) {
        let mut config = WorkerConfig::default();
        change(&mut config);
        match (config.check(), expected) {
            (Ok(()), []) => {}
            (Ok(()), _) => panic!("accepted, but expected {expected:?}"),
            (Err(error), []) => panic!("{error}"),
            (Err(error), _) => {
                let text = error.to_string();
                assert!(
                    expected.iter().all(|part| text.contains(part)),
                    "{text:?} lacks some of {expected:?}"
                );
            }
        }
    }

    #[test]
    fn the_defaults_go_together() {
        check(|_| {}, &[]);
    }

    #[test]
    fn each_bound_is_checked_by_name() {
        check(|config| config.max_leases = Some(0), &["max_leases", "at least 1"]);
        check(
            |config| config.initial_position = InitialPosition::AtTimestamp(-1),
            &["initial_position"],
        );
        check(|config| config.sync_every = Duration::ZERO, &["sync_every"]);
        check(
            |config| config.idle_between_reads = Duration::from_secs(300),
            &["idle_between_reads", "300 s"],
        );
        check(
            |config| config.read_records_max = 10_001,
            &["read_records_max", "10001"],
        );
        check(|config| config.reads_per_second = 6, &["reads_per_second", "6"]);
        check(|config| config.bytes_per_second = 0, &["bytes_per_second", "0"]);
        check(|config| config.prefetch = 0, &["prefetch"]);
        check(|config| config.memory_max = 1_000, &["memory_max", "10 MiB", "1000"]);
        check(|config| config.memory_max = usize::MAX, &["memory_max", "4 GiB"]);
        check(|config| config.batch_records_max = 0, &["batch_records_max"]);
        check(|config| config.read_timeout = Duration::ZERO, &["read_timeout"]);
        check(
            |config| config.read_timeout = Duration::from_secs(300),
            &["read_timeout", "300 s"],
        );
        check(|config| config.events_kept = 0, &["events_kept"]);
        check(|config| config.slow_call_after = Duration::ZERO, &["slow_call_after"]);
    }

    #[test]
    fn each_relation_names_both_sides() {
        check(
            |config| config.retry_pause = Duration::from_secs(11),
            &["retry_pause (11s)", "retry_pause_max (10s)"],
        );
        check(
            |config| config.protocol.drain_timeout = Duration::from_secs(30),
            &["`drain_timeout` (30s)", "`handoff_timeout` (30s)"],
        );
        check(
            |config| config.request_timeout = Duration::from_secs(10),
            &["request_timeout (10s)", "failover_after (10s)"],
        );
        check(
            |config| config.protocol.renew_every = Duration::from_secs(10),
            &["renew_every", "failover_after", "10s"],
        );
    }
}
