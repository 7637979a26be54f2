//! The sending loop: waits for tokens and retries, puts, and notes what became of each number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kinex_aws::{Entry, Fault, FaultKind, Outcome, Sender};
use kinex_core::audit::{Header, Lane, ProducerRow};
use kinex_core::time::Moment;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Error;
use crate::meters::Meters;
use crate::outbox::{Numbered, Outbox, hash_key};
use crate::pace::Pace;

/// The pause after a request that got no answer.
const OUTAGE_PAUSE: Duration = Duration::from_millis(500);

/// How long records that are still to be sent again are tried for once the producer shall end.
const FLUSH: Duration = Duration::from_secs(5);

/// Where the records go.
pub(crate) trait Stream {
    /// One request, as [`Sender::put_records`].
    fn put(&self, entries: &[Entry]) -> impl Future<Output = Result<Vec<Outcome>, Fault>> + Send;
}

impl Stream for Sender {
    async fn put(&self, entries: &[Entry]) -> Result<Vec<Outcome>, Fault> {
        self.put_records(entries).await
    }
}

/// What became of the numbers so far. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sheet(Arc<Mutex<ProducerRow>>);

impl Sheet {
    pub(crate) fn new(row: ProducerRow) -> Self {
        Self(Arc::new(Mutex::new(row)))
    }

    /// The row as it is.
    pub(crate) fn row(&self) -> ProducerRow {
        self.lock().clone()
    }

    fn taken(&self, (lane, n): Numbered) {
        self.lock().lanes.entry(lane).or_default().acknowledged.insert(n);
    }

    fn uncertain(&self, (lane, n): Numbered) {
        self.lock().lanes.entry(lane).or_default().uncertain.insert(n);
    }

    fn lock(&self) -> MutexGuard<'_, ProducerRow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending loop.
pub(crate) struct Sending<S> {
    pub(crate) stream: S,
    pub(crate) source: String,
    pub(crate) lanes: Lane,
    pub(crate) record_bytes: usize,
    /// The most records of one request.
    pub(crate) most: usize,
    pub(crate) records: u64,
    pub(crate) rate: watch::Receiver<f64>,
    pub(crate) sheet: Sheet,
    pub(crate) meters: Meters,
}

impl<S: Stream> Sending<S> {
    /// Sends until every record is sent or `stop` is cancelled; then what must be sent again gets a last chance.
    ///
    /// # Errors
    /// When the service says that such a request can never succeed.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let origin = Instant::now();
        let clock = || Moment::after_origin(origin.elapsed());
        let mut pace = Pace::new(*self.rate.borrow_and_update(), clock());
        let mut outbox = Outbox::new(self.lanes, self.records);
        let mut deadline: Option<Moment> = None;
        while !outbox.done() {
            if stop.is_cancelled() && deadline.is_none() {
                outbox.finish();
                deadline = Some(clock() + FLUSH);
                continue;
            }
            if deadline.is_some_and(|deadline| clock() >= deadline) {
                warn!("records that the stream refused until the end are not sent");
                break;
            }
            let now = clock();
            let (batch, new) = outbox.batch(now, pace.available(now), self.most);
            pace.take(new);
            if !batch.is_empty() {
                self.put(&batch, &mut outbox, clock).await?;
                continue;
            }
            let token = pace.next().filter(|_| outbox.open());
            let wake = [token, outbox.next_retry(), deadline].into_iter().flatten().min();
            let nap = wake.map_or(Duration::from_secs(3_600), |wake| wake.since(clock()));
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                changed = self.rate.changed() => {
                    if changed.is_err() {
                        // Nobody changes the rate any more.
                        tokio::time::sleep(nap.min(Duration::from_millis(50))).await;
                    }
                    pace.set_rate(*self.rate.borrow(), clock());
                }
                () = stop.cancelled(), if deadline.is_none() => {}
            }
        }
        Ok(())
    }

    /// One request. Cancelled in the middle, its numbers count as never sent; so nobody cancels it.
    async fn put(&self, batch: &[Numbered], outbox: &mut Outbox, clock: impl Fn() -> Moment) -> Result<(), Error> {
        let entries: Vec<Entry> = batch.iter().map(|record| self.entry(*record)).collect();
        match self.stream.put(&entries).await {
            Ok(outcomes) => {
                let now = clock();
                for ((record, entry), outcome) in batch.iter().zip(&entries).zip(outcomes) {
                    match outcome {
                        Outcome::Taken { .. } => {
                            self.sheet.taken(*record);
                            self.meters.taken(entry.data.len());
                            outbox.settled(*record);
                        }
                        Outcome::Refused { throttled, message } => {
                            debug!(lane = record.0, n = record.1, throttled, message, "record refused");
                            self.meters.put(if throttled { "throttled" } else { "refused" });
                            outbox.refused(*record, now);
                        }
                    }
                }
                Ok(())
            }
            Err(fault) if fault.kind == FaultKind::Invalid => Err(Error::Failed(fault.to_string())),
            Err(fault) => {
                warn!(error = %fault, records = batch.len(), "put failed");
                match fault.kind {
                    FaultKind::Throttled | FaultKind::Denied | FaultKind::Missing => {
                        let now = clock();
                        for record in batch {
                            self.meters.put("refused");
                            outbox.refused(*record, now);
                        }
                    }
                    // Perhaps the stream has them. To send them again could put them twice.
                    _ => {
                        for record in batch {
                            self.sheet.uncertain(*record);
                            self.meters.put("uncertain");
                            outbox.settled(*record);
                        }
                        tokio::time::sleep(OUTAGE_PAUSE).await;
                    }
                }
                Ok(())
            }
        }
    }

    fn entry(&self, (lane, n): Numbered) -> Entry {
        let header = Header {
            source: self.source.clone(),
            lane,
            n,
        };
        Entry {
            key: lane_key(lane),
            explicit_hash_key: Some(hash_key(lane, self.lanes)),
            data: Bytes::from(header.payload(self.record_bytes)),
        }
    }
}

/// The partition key of a lane.
pub(crate) fn lane_key(lane: Lane) -> String {
    format!("lane-{lane}")
}

#[cfg(test)]
mod tests;
