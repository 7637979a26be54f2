//! Eight writers, splits and merges, and a tailing reader per shard, while the processor is busy with something else.
//!
//! Every record that was acknowledged must be read exactly once; within a shard in the order of the sequence numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use tokio::task::JoinSet;

use crate::clients::{Kinesis, is_open, range, text};
use crate::suite::{Checked, Facts, Failure, eventually};

const WRITERS: usize = 8;
/// PutRecords calls of one writer, and records of one call.
const BATCHES: usize = 40;
const BATCH: usize = 5;
const BURNERS: usize = 2;

/// What was read: text, and by which shard's reader at which place.
type Read = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

pub(crate) async fn writers_splits_merges_and_tailing_readers(at: Kinesis) -> Checked {
    let mut facts = Facts::new();
    let name = at.stream(2).await?;
    let burning = Burning::start();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(at.clone(), name.clone(), writer));
    }
    let written = Arc::new(AtomicBool::new(false));
    let read = Read::default();
    let reading = tokio::task::spawn_local(read_all(
        at.clone(),
        name.clone(),
        Arc::clone(&read),
        Arc::clone(&written),
    ));
    let resharded = reshard(&at, &name).await?;

    let mut acknowledged = Vec::new();
    while let Some(done) = writers.join_next().await {
        acknowledged.extend(done??);
    }
    written.store(true, Ordering::SeqCst);
    let ordered = reading.await??;
    burning.stop();

    facts.same(acknowledged.len(), WRITERS * BATCHES * BATCH, "acknowledged records");
    facts.same(resharded, 6, "splits and merges");
    facts.holds(ordered, "sequence numbers rise within each shard");
    let read = read.lock().unwrap_or_else(PoisonError::into_inner);
    let lost = acknowledged.iter().filter(|record| !read.contains_key(*record)).count();
    facts.same(lost, 0, "lost records");
    facts.same(
        read.values().filter(|places| places.len() > 1).count(),
        0,
        "records read twice",
    );
    Ok(facts)
}

/// Keeps some processor threads busy.
struct Burning {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Burning {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let burn = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..BURNERS).map(burn).collect();
        Self { stop, threads }
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A burner cannot panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Burning {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Puts numbered records over all hash keys; gives those that were acknowledged.
async fn write(at: Kinesis, name: String, writer: usize) -> Result<Vec<String>, Failure> {
    let mut acknowledged = Vec::new();
    for batch in 0..BATCHES {
        let mut waiting: Vec<String> = (0..BATCH).map(|n| format!("{writer}:{}", batch * BATCH + n)).collect();
        while !waiting.is_empty() {
            let mut put = at.client.put_records().stream_name(&name);
            for text in &waiting {
                put = put.records(
                    PutRecordsRequestEntry::builder()
                        .partition_key(text)
                        .data(Blob::new(text.as_bytes()))
                        .build()?,
                );
            }
            let answer = put.send().await?;
            let (mut done, mut refused) = (Vec::new(), Vec::new());
            for (text, result) in waiting.into_iter().zip(&answer.records) {
                if result.sequence_number.is_some() {
                    done.push(text)
                } else {
                    refused.push(text)
                }
            }
            acknowledged.extend(done);
            waiting = refused;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(acknowledged)
}

/// Splits four times and merges twice, each as soon as the stream is ACTIVE. Gives how many were done.
async fn reshard(at: &Kinesis, name: &str) -> Result<usize, Failure> {
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut open: Vec<_> = at.shards(name).await?.into_iter().filter(is_open).collect();
        open.sort_by_key(range);
        if round % 3 == 2 {
            at.merge(name, &open[0].shard_id, &open[1].shard_id).await?;
        } else {
            let widest = open
                .iter()
                .max_by_key(|shard| range(shard).1 - range(shard).0)
                .ok_or("no open shard")?;
            let (first, last) = range(widest);
            at.split(name, &widest.shard_id, first + (last - first) / 2).await?;
        }
    }
    Ok(6)
}

/// Starts a reader for each shard as soon as it is listed. Ends when nothing more can come. Says whether all were in order.
async fn read_all(at: Kinesis, name: String, read: Read, written: Arc<AtomicBool>) -> Result<bool, Failure> {
    let (mut started, mut readers, mut ordered) = (BTreeSet::new(), JoinSet::new(), true);
    // Six changes of two shards: 2 + 4 x 2 + 2 x 1.
    eventually("readers of all 12 shards are at work", async || {
        for shard in at.shards(&name).await? {
            if started.insert(shard.shard_id.clone()) {
                readers.spawn(tail(
                    at.clone(),
                    name.clone(),
                    shard.shard_id,
                    Arc::clone(&read),
                    Arc::clone(&written),
                ));
            }
        }
        Ok((started.len() == 12).then_some(()))
    })
    .await?;
    while let Some(reader) = readers.join_next().await {
        ordered &= reader??;
    }
    Ok(ordered)
}

/// Reads one shard to its end; an open one until all is written and nothing is left. Says whether it was in order.
async fn tail(at: Kinesis, name: String, shard: String, read: Read, written: Arc<AtomicBool>) -> Result<bool, Failure> {
    let mut iterator = at.iterator(&name, &shard, ShardIteratorType::TrimHorizon).await?;
    let (mut last, mut ordered) = (String::new(), true);
    loop {
        // Asked before the read: what is acknowledged before it must be in it.
        let all_written = written.load(Ordering::SeqCst);
        let answer = at.get(&iterator).await?;
        for record in &answer.records {
            ordered &= last < record.sequence_number;
            last.clone_from(&record.sequence_number);
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            read.entry(text(record)).or_default().push(shard.clone());
        }
        match answer.next_shard_iterator {
            Some(_) if all_written && answer.records.is_empty() => return Ok(ordered),
            Some(next) => iterator = next,
            None => return Ok(ordered),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
