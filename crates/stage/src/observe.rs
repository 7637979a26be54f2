//! Looking at the world: the stream, the tables, the processes, the audit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kinex_aws::{Fault, FaultKind, StreamStatus as AwsStatus};
use kinex_core::audit::{ProducerRow, Records, Term, child_starts, judge, unread_gaps};
use kinex_core::experiment::{
    ChildFacts, RecordFacts, Replicas, ShardRate, StreamFacts, StreamStatus, Timestamp, UnreadGap, WorkerFacts, World,
};
use kinex_core::id::{Incarnation, ShardId, WorkerId};
use kinex_core::lease::Lease;
use kinex_core::shard_map::Shard;
use kinex_core::worker::WorkerRow;
use kinex_kcl::ports::LeaseStore;

use crate::history::{History, Look, Reader, Unread};
use crate::report::recording::Reason;
use crate::{Memory, PodFacts, Subject};

/// A record that was sent this long ago and is not in any consumer's row is missing. Consumers write their rows with
/// their checkpoints, every few seconds.
const DELIVERED_WITHIN: Duration = Duration::from_secs(10);
/// A producer writes its row each second: what it sent within this time before a look may be missing there.
const PRODUCER_LAG: Duration = Duration::from_secs(2);
/// The audit's rows are read this often: they are the largest ones.
const AUDIT_EVERY: Duration = Duration::from_millis(1_000);

/// Looks at the world, and remembers what it needs to compare.
pub struct Observer {
    at: Subject,
    failover_after: Duration,
    beats: BTreeMap<WorkerId, Beat>,
    deaths: BTreeMap<Incarnation, Timestamp>,
    /// Whether the ends of processes are known to anybody but the report.
    witness: bool,
    /// Those of which only the report may know.
    unwitnessed: BTreeSet<Incarnation>,
    run: String,
    began: Option<Timestamp>,
    described: Option<Described>,
    audit: Audit,
    /// What happened so far.
    pub history: History,
}

/// An active stream as it was described last.
struct Described {
    created: Timestamp,
    /// When it may be described again.
    again: Instant,
}

struct Beat {
    incarnation: Incarnation,
    beat: u64,
    changed: Timestamp,
}

#[derive(Default)]
struct Audit {
    read: Option<Timestamp>,
    producers: Vec<ProducerRow>,
    /// What the producers had said a while ago, oldest first.
    earlier: Vec<(Timestamp, Vec<ProducerRow>)>,
    terms: Vec<Term>,
    /// Everything that was sent before this is delivered.
    delivered_to: Option<Timestamp>,
    /// Deliveries of each shard at the reading before.
    delivered: Option<(Timestamp, BTreeMap<ShardId, u64>)>,
    rates: Vec<ShardRate>,
}

/// What the tables and the stream said.
struct Seen {
    stream: StreamFacts,
    leases: Vec<Lease>,
    workers: Vec<WorkerRow>,
    rate: Option<u32>,
}

impl Observer {
    /// An observer that has seen nothing yet, of the records of the producers of `run`.
    pub fn new(at: Subject, failover_after: Duration, run: String, witness: bool) -> Self {
        Self {
            at,
            run,
            began: None,
            described: None,
            witness,
            unwitnessed: BTreeSet::new(),
            failover_after,
            beats: BTreeMap::new(),
            deaths: BTreeMap::new(),
            audit: Audit::default(),
            history: History::default(),
        }
    }

    /// A process is known to have ended. The first word about it counts.
    pub fn died(&mut self, incarnation: Incarnation, at: Timestamp) {
        self.deaths.entry(incarnation).or_insert(at);
    }

    /// Whose ends are not to be used: as far as anybody but the report is concerned, these processes fall silent.
    pub fn keep_silent(&mut self, processes: impl IntoIterator<Item = Incarnation>) {
        self.unwitnessed = processes.into_iter().collect();
    }

    /// Whether the end of a process may be proved to the others.
    pub fn tells(&self, process: &Incarnation) -> bool {
        self.witness && !self.unwitnessed.contains(process)
    }

    /// Whether a process is known to have ended.
    pub fn dead(&self, incarnation: &Incarnation) -> bool {
        self.deaths.contains_key(incarnation)
    }

    /// What must be known to go on in another process as if there had been one.
    pub fn memory(&self) -> Memory {
        Memory {
            run: self.run.clone(),
            began: self.began,
            deaths: self.deaths.clone(),
            history: self.history.clone(),
        }
    }

    /// Goes on from what an earlier process saw of the same run; what another run saw is none of its business.
    pub fn recall(&mut self, memory: Memory) {
        let Memory {
            run,
            began,
            deaths,
            history,
        } = memory;
        if run == self.run {
            self.began = began;
            self.deaths = deaths;
            self.history = history;
        }
    }

    /// One look at everything. What cannot be read is said in [`World::unseen`].
    pub async fn look(&mut self, pods: &[PodFacts], replicas: Replicas, now: Timestamp) -> World {
        let seen = match Box::pin(self.read(now)).await {
            Ok(seen) => seen,
            Err(fault) => {
                return World {
                    unseen: Some(fault.to_string()),
                    seen_at: Some(now),
                    replicas,
                    ..World::default()
                };
            }
        };
        self.began.get_or_insert(now);
        self.hear(&seen.workers, now);
        let reader = |lease: &Lease| reader(lease, &seen.workers, pods, &self.deaths);
        let look = Look {
            at: now,
            shards: &seen.stream.shards,
            leases: &seen.leases,
            reader: &reader,
        };
        self.history.look(&look);
        let workers = self.workers(&seen.workers, pods, now);
        World {
            unseen: None,
            seen_at: Some(now),
            workers,
            replicas,
            producer_rate: seen.rate,
            records: self.audit.facts(now),
            moves: self.history.moves.iter().map(|(change, _)| change.clone()).collect(),
            unread: self.unread().into_iter().map(|unread| unread.gap).collect(),
            children: self.children(&seen.stream.shards),
            rates: self.audit.rates.clone(),
            ends: Vec::new(),
            failures: Vec::new(),
            stream: seen.stream,
            leases: seen.leases,
        }
    }

    /// The stretches without a reader: those that were seen, and between looks those that the consumers' own rows tell.
    pub fn unread(&self) -> Vec<Unread> {
        let mut unread = self.history.unread.clone();
        let deaths = self
            .deaths
            .iter()
            .map(|(process, at)| (process.clone(), u64::try_from(at.0).unwrap_or(0)));
        let stamp = |millis: u64| Timestamp(i64::try_from(millis).unwrap_or(i64::MAX));
        for (shard, gaps) in unread_gaps(&self.audit.terms, &deaths.collect()) {
            for gap in gaps.iter().filter(|gap| gap.millis() > 0) {
                let (from, until) = (stamp(gap.from_ms), stamp(gap.to_ms));
                let seen =
                    self.history.unread.iter().map(|seen| &seen.gap).any(|seen| {
                        seen.shard == shard && seen.from <= until && seen.until.is_none_or(|end| end >= from)
                    });
                if !seen && self.began.is_some_and(|began| from >= began) {
                    let gap = UnreadGap {
                        shard: shard.clone(),
                        from,
                        until: Some(until),
                    };
                    unread.push(Unread {
                        gap,
                        why: "hand-off".into(),
                    });
                }
            }
        }
        unread
    }

    /// What the audit says with every row there is, nothing held to be on its way.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn judge(&mut self, now: Timestamp) -> Result<Records, Fault> {
        self.read_audit(now).await?;
        Ok(judge(&self.audit.producers, &self.audit.terms))
    }

    async fn read(&mut self, now: Timestamp) -> Result<Seen, Fault> {
        let leases = self.at.clients.leases(&self.at.application);
        let facts = self.at.clients.facts(&self.at.application);
        let stream = read_stream(&self.at, &mut self.described);
        let rate = async { facts.get("control", "producer").await };
        let (stream, leases, members, rate) = tokio::join!(stream, leases.leases(), leases.members(), rate);
        if self.audit.read.is_none_or(|last| now.since(last) >= AUDIT_EVERY) {
            self.read_audit(now).await?;
        }
        Ok(Seen {
            stream: stream?,
            leases: none_if_missing(leases)?.map(|scan| scan.leases).unwrap_or_default(),
            workers: none_if_missing(members)?.map(|(_, rows)| rows).unwrap_or_default(),
            rate: none_if_missing(rate)?.flatten().and_then(|body| ordered_rate(&body)),
        })
    }

    async fn read_audit(&mut self, now: Timestamp) -> Result<(), Fault> {
        let facts = self.at.clients.facts(&self.at.application);
        let (producers, terms) = tokio::join!(facts.list("producer"), facts.list("audit"));
        let producers = none_if_missing(producers)?.unwrap_or_default();
        let terms = none_if_missing(terms)?.unwrap_or_default();
        let mut producers: Vec<ProducerRow> = parsed(&producers);
        // Rows of earlier runs are no part of the question.
        producers.retain(|row| row.source.split('/').next() == Some(self.run.as_str()));
        self.audit.take(producers, parsed(&terms), now);
        Ok(())
    }

    /// Notes which beats changed.
    fn hear(&mut self, rows: &[WorkerRow], now: Timestamp) {
        for row in rows {
            let same = self
                .beats
                .get(&row.id)
                .is_some_and(|b| b.incarnation == row.incarnation && b.beat == row.beat);
            if !same {
                let heard = Beat {
                    incarnation: row.incarnation.clone(),
                    beat: row.beat,
                    changed: now,
                };
                self.beats.insert(row.id.clone(), heard);
            }
        }
        self.beats.retain(|id, _| rows.iter().any(|row| row.id == *id));
    }

    fn workers(&self, rows: &[WorkerRow], pods: &[PodFacts], now: Timestamp) -> Vec<WorkerFacts> {
        let mut workers = BTreeMap::new();
        for row in rows {
            let heard = self
                .beats
                .get(&row.id)
                .is_some_and(|beat| now.since(beat.changed) <= self.failover_after);
            let pod = pods.iter().find(|pod| pod.worker == row.id);
            let mine = pod.is_some_and(|pod| pod.running && pod.incarnation.as_ref() == Some(&row.incarnation));
            let ready = mine && pod.is_some_and(|pod| pod.ready);
            let frozen = mine && (row.frozen() || pod.is_some_and(|pod| pod.frozen.is_some()));
            let dead = self.tells(&row.incarnation) && self.deaths.contains_key(&row.incarnation);
            workers.insert(
                row.id.clone(),
                WorkerFacts::of_row(row, heard && !dead, ready && !frozen, frozen),
            );
        }
        for pod in pods {
            // Not registered yet: there, and not ready.
            workers.entry(pod.worker.clone()).or_insert_with(|| WorkerFacts {
                id: pod.worker.clone(),
                incarnation: None,
                live: false,
                ready: false,
                frozen: pod.frozen.is_some(),
                departing: false,
            });
        }
        workers.into_values().collect()
    }

    /// The children, with the consumers' own word for when they began, where there is one.
    fn children(&self, shards: &[Shard]) -> Vec<ChildFacts> {
        let lineage = shards
            .iter()
            .map(|shard| (shard.id.clone(), shard.parents().cloned().collect()))
            .collect();
        let starts = child_starts(&lineage, &self.audit.terms);
        let stamp = |millis: u64| i64::try_from(millis).map(Timestamp).ok();
        let told = |child: &ChildFacts| {
            let start = starts.get(&child.child);
            ChildFacts {
                started: start.and_then(|s| s.started_ms).and_then(stamp).or(child.started),
                parents_ended: start
                    .and_then(|s| s.parents_ended_ms)
                    .and_then(stamp)
                    .or(child.parents_ended),
                ..child.clone()
            }
        };
        self.history.children.iter().map(told).collect()
    }
}

impl Audit {
    fn take(&mut self, producers: Vec<ProducerRow>, terms: Vec<Term>, now: Timestamp) {
        self.read = Some(now);
        self.earlier.push((now, producers.clone()));
        // The newest one that is old enough is kept, and all that are newer.
        let old_enough = self
            .earlier
            .iter()
            .filter(|(at, _)| now.since(*at) >= DELIVERED_WITHIN)
            .count();
        self.earlier.drain(..old_enough.saturating_sub(1));
        let mut delivered: BTreeMap<ShardId, u64> = BTreeMap::new();
        for term in &terms {
            *delivered.entry(term.shard.clone()).or_default() += term.delivered();
        }
        if let Some((since, before)) = &self.delivered {
            let seconds = now.since(*since).as_secs_f64().max(0.001);
            let rate = |(shard, count): (&ShardId, &u64)| ShardRate {
                shard: shard.clone(),
                records_per_second: count.saturating_sub(before.get(shard).copied().unwrap_or(0)) as f64 / seconds,
            };
            self.rates = delivered.iter().map(rate).collect();
        }
        // Over some seconds, or a rate of a few records per second is only noise.
        if self
            .delivered
            .as_ref()
            .is_none_or(|(since, _)| now.since(*since) >= DELIVERED_WITHIN)
        {
            self.delivered = Some((now, delivered));
        }
        // The newest look at the producers of which nothing is under way any more.
        let mut looks = self.earlier.iter().rev();
        let done = looks.find(|(_, rows)| judge(rows, &terms).missing == 0);
        self.delivered_to = self.delivered_to.max(done.map(|(at, rows)| sent_before(*at, rows)));
        self.producers = producers;
        self.terms = terms;
    }

    fn facts(&self, now: Timestamp) -> RecordFacts {
        let all = judge(&self.producers, &self.terms);
        let due = self
            .earlier
            .first()
            .filter(|(at, _)| now.since(*at) >= DELIVERED_WITHIN);
        let overdue = due.map(|(at, rows)| sent_before(*at, rows));
        RecordFacts {
            judged_to: self.delivered_to.max(overdue),
            produced: all.produced,
            delivered: all.delivered,
            missing: due.map_or(0, |(_, rows)| judge(rows, &self.terms).missing),
            duplicates: all.duplicates,
            reordered: all.reordered,
            dropped: all.dropped,
        }
    }
}

/// Up to when everything that was sent is in the producers' rows of a look.
fn sent_before(look: Timestamp, rows: &[ProducerRow]) -> Timestamp {
    if rows.iter().all(|row| row.ended) {
        return look;
    }
    let lag = i64::try_from(PRODUCER_LAG.as_millis()).unwrap_or(i64::MAX);
    Timestamp(look.0.saturating_sub(lag))
}

/// The audit of a whole run, nothing held to be on its way, as a decision takes it.
pub fn last_audit(found: Records, now: Timestamp) -> RecordFacts {
    let Records {
        produced,
        delivered,
        missing,
        duplicates,
        reordered,
        dropped,
    } = found;
    RecordFacts {
        produced,
        delivered,
        missing,
        duplicates,
        reordered,
        dropped,
        judged_to: Some(now),
    }
}

/// Whether the present owner of a lease can be reading it.
fn reader(lease: &Lease, rows: &[WorkerRow], pods: &[PodFacts], deaths: &BTreeMap<Incarnation, Timestamp>) -> Reader {
    let nobody = |since, why, reason| Reader::Nobody { since, why, reason };
    let Some(owner) = lease.present_owner() else {
        return nobody(None, "without owner", Reason::Departure);
    };
    let Some(incarnation) = &lease.incarnation else {
        return Reader::Reads;
    };
    if let Some(died) = deaths.get(incarnation) {
        return nobody(Some(*died), "owner ended", Reason::Ended);
    }
    let row = rows.iter().find(|row| row.id == *owner);
    if row.is_some_and(|row| row.incarnation != *incarnation || row.gone()) {
        return nobody(None, "owner gone", Reason::Taken);
    }
    if row.is_some_and(WorkerRow::frozen) {
        return nobody(None, "owner frozen", Reason::Taken);
    }
    let pod = pods
        .iter()
        .find(|pod| pod.worker == *owner && pod.incarnation.as_ref() == Some(incarnation));
    match pod.and_then(|pod| pod.frozen) {
        Some(since) => nobody(Some(since), "owner frozen", Reason::Taken),
        None => Reader::Reads,
    }
}

/// The stream and its shards. With many observers of one account the description of an active stream may be some looks old,
/// so that it may be changing already; its shards are those of now.
async fn read_stream(at: &Subject, described: &mut Option<Described>) -> Result<StreamFacts, Fault> {
    let streams = at.clients.streams();
    let known = described.take().filter(|known| Instant::now() < known.again);
    let (status, created) = match &known {
        Some(known) => (StreamStatus::Active, known.created),
        None => match none_if_missing(streams.describe(&at.stream).await)? {
            Some(found) => (status(found.status), Timestamp(found.identity.created_millis)),
            None => return Ok(StreamFacts::default()),
        },
    };
    let Some(shards) = none_if_missing(streams.shards(&at.stream).await)? else {
        return Ok(StreamFacts::default());
    };
    *described = known.or_else(|| {
        let again = (status == StreamStatus::Active).then(|| at.clients.next_look());
        again.map(|again| Described { created, again })
    });
    Ok(StreamFacts {
        status,
        created: Some(created),
        shards,
    })
}

fn none_if_missing<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(rows: &[(String, String)]) -> Vec<T> {
    // A row that cannot be read is somebody else's; the audit then counts its records as missing, which is the safe side.
    rows.iter()
        .filter_map(|(_, body)| serde_json::from_str(body).ok())
        .collect()
}

fn ordered_rate(body: &str) -> Option<u32> {
    let order: serde_json::Value = serde_json::from_str(body).ok()?;
    let rate = order.get("recordsPerSecond")?.as_f64()?;
    Some(rate.round() as u32)
}

fn status(status: AwsStatus) -> StreamStatus {
    match status {
        AwsStatus::Creating => StreamStatus::Creating,
        AwsStatus::Active => StreamStatus::Active,
        AwsStatus::Updating => StreamStatus::Updating,
        AwsStatus::Deleting => StreamStatus::Deleting,
    }
}
