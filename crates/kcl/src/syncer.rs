//! Keeps the lease rows in line with the shards of the stream.
//!
//! Every worker can do it and any number may do it at once; to spare the stream, only the first few by name do it
//! regularly. A worker whose shard has ended does it at once, for the children.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kinex_core::id::{Epoch, SequenceNumber, ShardId};
use kinex_core::lease::{Checkpoint, Lease, LeaseWrite};
use kinex_core::member::Written;
use kinex_core::shard_map::Shard;
use kinex_core::sync::{self, SyncPlan};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::config::{InitialPosition, WorkerConfig};
use crate::events::WorkerEvent;
use crate::message::{Lineage, Message};
use crate::ports::{ChildShard, Fault, FaultKind, LeaseScan, LeaseStore, StreamReader};
use crate::reporter::Reporter;
use crate::request::SCAN;

/// Asks that may wait together; each is answered by the same listing.
pub(crate) const ASKS: usize = 1_024;

/// How many workers list the shards regularly: one that is slow or dying does not hold up the others.
const LISTERS: usize = 2;

/// The longest pause after failed rounds.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A shard is at its end: make its children's rows now, and say which they are.
pub(crate) struct Ask {
    pub(crate) ended: ShardId,
    pub(crate) children: BTreeSet<ChildShard>,
    pub(crate) reply: oneshot::Sender<Result<Lineage, String>>,
}

pub(crate) struct Syncer<S, R> {
    store: Arc<S>,
    stream: Arc<R>,
    config: Arc<WorkerConfig>,
    reporter: Reporter,
    driver: mpsc::Sender<Message>,
    asks: mpsc::Receiver<Ask>,
    /// This worker's place among the live ones.
    rank: watch::Receiver<Option<usize>>,
    /// The last complete listing.
    listed: Vec<Shard>,
    /// What the last complete listing lacked.
    missing: BTreeSet<ShardId>,
    /// The shards with which the rows were last found in line, all of them open, and when.
    settled: Option<(Vec<Shard>, Instant)>,
    /// Rows were added or removed, and the workers do not know yet.
    unannounced: bool,
    failures: u32,
}

impl<S: LeaseStore, R: StreamReader> Syncer<S, R> {
    pub(crate) fn new(
        store: Arc<S>,
        stream: Arc<R>,
        config: Arc<WorkerConfig>,
        reporter: Reporter,
        driver: mpsc::Sender<Message>,
        asks: mpsc::Receiver<Ask>,
        rank: watch::Receiver<Option<usize>>,
    ) -> Self {
        Self {
            store,
            stream,
            config,
            reporter,
            driver,
            asks,
            rank,
            listed: Vec::new(),
            missing: BTreeSet::new(),
            settled: None,
            unannounced: false,
            failures: 0,
        }
    }

    /// Runs for as long as the driver.
    pub(crate) async fn run(mut self) {
        // The first round waits until this worker has joined: before that it must not write anything.
        if self.rank.wait_for(Option::is_some).await.is_err() {
            return;
        }
        loop {
            let due = self.rank.borrow().is_some_and(|rank| rank < LISTERS);
            if due {
                let round = self.regular().await;
                self.note(round.is_ok());
            }
            let pause = self.pause();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.serve(ask).await,
                    None => return,
                },
            }
        }
    }

    /// Answers everybody who asked by now with one round.
    async fn serve(&mut self, first: Ask) {
        let mut asks = vec![first];
        while let Ok(ask) = self.asks.try_recv() {
            asks.push(ask);
        }
        let children = asks.iter().flat_map(|ask| ask.children.iter().cloned()).collect();
        let round = self.round(&children).await;
        self.note(round.is_ok());
        for Ask { ended, reply, .. } in asks {
            let lineage = match &round {
                Ok(round) => round.lineage(&ended),
                Err(fault) => Err(fault.to_string()),
            };
            let _ = reply.send(lineage);
        }
    }

    /// A whole round, unless the shards are those with which the rows were in line a short while ago: a listing tells
    /// that without a scan of the table. Rows that vanish by themselves are noticed after the failover time.
    async fn regular(&mut self) -> Result<(), Fault> {
        if let Some((shards, since)) = &self.settled
            && since.elapsed() < self.config.protocol.failover_after
            && self.listing().await? == *shards
        {
            return Ok(());
        }
        self.round(&BTreeSet::new()).await.map(drop)
    }

    async fn listing(&self) -> Result<Vec<Shard>, Fault> {
        let within = self.config.request_timeout * SCAN;
        let listing = self
            .reporter
            .ask("ListShards", None, within, self.stream.shards())
            .await?;
        self.reporter.count("ListShards", "ok");
        Ok(listing)
    }

    /// The time that new rows begin at when the application begins at the newest record.
    async fn latest(&self) -> Result<Option<i64>, Fault> {
        if self.config.initial_position != InitialPosition::Latest {
            return Ok(None);
        }
        let within = self.config.request_timeout;
        let now = self.reporter.ask("now", None, within, self.stream.now_millis()).await?;
        Ok(Some(now))
    }

    /// One complete listing, one complete scan, and the writes that follow. `children` are shards that reads have named:
    /// they count as listed, and where the listing fails, the last one and they will do.
    async fn round(&mut self, children: &BTreeSet<ChildShard>) -> Result<Round, Fault> {
        let within = self.config.request_timeout;
        // The rows first: a shard that appears between the two reads then only has no row yet.
        let scan = self
            .reporter
            .ask("leases", None, within * SCAN, self.store.leases())
            .await?;
        self.reporter.count("leases", "ok");
        // Before the listing: what arrives once a shard is in it arrives later than this.
        let latest = self.latest().await?;
        let (mut listing, complete) = match self.listing().await {
            Ok(listing) => {
                self.listed.clone_from(&listing);
                (listing, true)
            }
            Err(fault) if fault.kind == FaultKind::StreamReplaced => return Err(fault),
            Err(_) if !children.is_empty() && !self.listed.is_empty() => (self.listed.clone(), false),
            Err(fault) => return Err(fault),
        };
        add_children(&mut listing, children);
        self.reporter.unreadable(&scan.unreadable);
        self.reporter.foreign(&scan.foreign);
        let rows = with_unreadable(scan, &listing);
        let SyncPlan {
            creates,
            deletes,
            waiting,
            missing,
            trimmed,
        } = sync::sync(&rows, &listing, self.initial(), &self.missing, first_epoch());
        if !complete {
            // An old listing is good for the children that were named, and proves nothing else.
            let named = |write: &LeaseWrite| children.iter().any(|child| child.id == *write.key());
            let creates: Vec<_> = creates.into_iter().filter(named).collect();
            self.write_all(creates, Vec::new()).await?;
            self.announce().await?;
            return Ok(Round {
                listing,
                waiting,
                trimmed: BTreeSet::new(),
            });
        }
        let creates: Vec<_> = creates.into_iter().map(|write| resolved(write, latest)).collect();
        let idle = creates.is_empty() && deletes.is_empty() && waiting.is_empty() && missing.is_empty();
        let open: BTreeSet<&ShardId> = listing
            .iter()
            .filter(|shard| shard.open)
            .map(|shard| &shard.id)
            .collect();
        let settled = idle && rows.iter().all(|row| open.contains(&row.key));
        self.settled = settled.then(|| (listing.clone(), Instant::now()));
        self.missing = missing;
        let written = self.write_all(creates, deletes).await;
        self.announce().await?;
        written?;
        Ok(Round {
            listing,
            waiting,
            trimmed,
        })
    }

    /// Lets every worker look at the rows when some were added or removed.
    async fn announce(&mut self) -> Result<(), Fault> {
        if self.unannounced {
            let within = self.config.request_timeout;
            self.reporter
                .ask("bump-lineage", None, within, self.store.bump_lineage())
                .await?;
            self.reporter.count("bump-lineage", "ok");
            self.unannounced = false;
            let _ = self.driver.send(Message::LineageChanged).await;
        }
        Ok(())
    }

    /// In their order: a child's row is made only after those of its ancestors. The first failure ends it.
    async fn write_all(&mut self, creates: Vec<LeaseWrite>, deletes: Vec<LeaseWrite>) -> Result<(), Fault> {
        for write in creates.iter().chain(&deletes) {
            match self.write(write).await {
                Ok(changed) => self.unannounced |= changed,
                Err(fault) => {
                    // It may have been written all the same.
                    self.unannounced = true;
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    /// Whether the write changed anything; refused means that somebody else was first.
    async fn write(&self, write: &LeaseWrite) -> Result<bool, Fault> {
        let answer = self.store.write_lease(write);
        let written = self
            .reporter
            .ask(write.kind(), Some(write.key()), self.config.request_timeout, answer)
            .await?;
        let shard = write.key().clone();
        match written {
            Written::Done(row) => {
                self.reporter.count(write.kind(), "ok");
                self.reporter.emit(match &row {
                    Some(_) => WorkerEvent::LeaseCreated { shard },
                    None => WorkerEvent::LeaseDeleted { shard },
                });
                Ok(true)
            }
            Written::Refused(_) => {
                self.reporter.count(write.kind(), "refused");
                Ok(false)
            }
        }
    }

    fn note(&mut self, ok: bool) {
        self.failures = if ok { 0 } else { self.failures + 1 };
    }

    /// The period, longer after failures, and a little different each time, so that workers do not list in step.
    fn pause(&self) -> Duration {
        let pause = self.config.sync_every * (1 << self.failures.min(4));
        let jitter = f64::from(random() % 256) / 255.0 * 0.4 + 0.8;
        pause.min(PAUSE_MAX.max(self.config.sync_every)).mul_f64(jitter)
    }

    fn initial(&self) -> sync::InitialPosition {
        match self.config.initial_position {
            InitialPosition::Latest => sync::InitialPosition::Latest,
            InitialPosition::TrimHorizon => sync::InitialPosition::TrimHorizon,
            InitialPosition::AtTimestamp(_) => sync::InitialPosition::AtTimestamp,
        }
    }
}

/// A row that begins at the newest record says which time that was, so that whoever reads the shard first, and whenever,
/// begins at the same record.
fn resolved(mut write: LeaseWrite, latest: Option<i64>) -> LeaseWrite {
    if let (LeaseWrite::Create(lease), Some(millis)) = (&mut write, latest)
        && lease.checkpoint == Checkpoint::Latest
    {
        lease.checkpoint = Checkpoint::Since(millis);
    }
    write
}

/// The rows, and a stand-in for each one that cannot be read: it exists, so that neither it nor what came out of it is
/// taken for something that was never read.
fn with_unreadable(scan: LeaseScan, listing: &[Shard]) -> Vec<Lease> {
    let LeaseScan { leases, unreadable, .. } = scan;
    let stand_in = |(key, _): &(String, String)| {
        let shard = listing.iter().find(|shard| shard.id.as_str() == key)?;
        Some(Lease {
            parents: shard.parents().cloned().collect(),
            hash_range: Some(shard.hash_range),
            ..Lease::unowned(shard.id.clone(), Checkpoint::TrimHorizon, Epoch(0))
        })
    };
    let stand_ins: Vec<_> = unreadable.iter().filter_map(stand_in).collect();
    leases.into_iter().chain(stand_ins).collect()
}

/// Adds the shards that reads have named to a listing that does not show them yet, and closes their parents there.
fn add_children(listing: &mut Vec<Shard>, children: &BTreeSet<ChildShard>) {
    for child in children {
        if listing.iter().any(|shard| shard.id == child.id) {
            continue;
        }
        for shard in listing.iter_mut().filter(|shard| child.parents.contains(&shard.id)) {
            shard.open = false;
        }
        let mut parents = child.parents.iter().cloned();
        listing.push(Shard {
            id: child.id.clone(),
            parent: parents.next(),
            adjacent_parent: parents.next(),
            hash_range: child.hash_range,
            // Not known, and not needed for a row.
            starts_at: SequenceNumber::from(0),
            open: true,
        });
    }
}

/// What a round found.
struct Round {
    /// Every shard that the stream knows.
    listing: Vec<Shard>,
    /// Shards that get no row yet.
    waiting: BTreeSet<ShardId>,
    /// Rows of shards that retention has removed.
    trimmed: BTreeSet<ShardId>,
}

impl Round {
    /// What is known of a shard that is at its end. A listing can be older than that end: then nothing is known, and
    /// the shard must not be marked as done.
    fn lineage(&self, ended: &ShardId) -> Result<Lineage, String> {
        let born_of = |shard: &&Shard| shard.parents().any(|parent| parent == ended);
        let children: BTreeSet<_> = self
            .listing
            .iter()
            .filter(born_of)
            .map(|shard| shard.id.clone())
            .collect();
        if children.is_empty() && self.listing.iter().any(|shard| shard.id == *ended) {
            return Err(format!("ListShards does not show the children of {ended} yet"));
        }
        // Any other child has a row, or had one and is finished.
        if let Some(child) = children.intersection(&self.waiting).next() {
            return Err(format!("{child}, a child of {ended}, gets its lease row later"));
        }
        Ok(Lineage {
            children,
            trimmed: self.trimmed.contains(ended),
        })
    }
}

/// Random, so that a table that is deleted and made again never repeats an epoch.
fn first_epoch() -> Epoch {
    Epoch(u64::from(random()))
}

fn random() -> u32 {
    uuid::Uuid::new_v4().as_u64_pair().0 as u32
}
