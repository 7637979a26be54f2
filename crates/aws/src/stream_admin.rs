//! Streams: create, look at, split, merge, delete.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::ScalingType;
use kinex_core::id::{ShardId, StreamIdentity};
use kinex_core::shard_map::Shard;
use tokio::time::Instant;

use crate::fault::{Asked, Failure, Subject};
use crate::tables::{Deleted, Pause};
use crate::{Clients, Fault, FaultKind, shards, stream_ref};

/// How Kinesis chooses the shard of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Distribution {
    /// By the partition key or the explicit hash key, and it cannot be otherwise: a provisioned stream.
    ByKey,
    /// By the key for now; an on-demand stream may be set to [`Self::Auto`] at any time.
    ByKeyForNow,
    /// Evenly, whatever the keys: the record distribution strategy `AUTO`.
    Auto,
}

/// Whether a stream takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamStatus {
    /// Not yet.
    Creating,
    /// It does.
    Active,
    /// It does, except for changes of its shards.
    Updating,
    /// Not any more.
    Deleting,
}

/// A stream without its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its name.
    pub name: String,
    /// Which one of that name.
    pub identity: StreamIdentity,
    /// Whether it takes requests.
    pub status: StreamStatus,
    /// How many shards take records.
    pub open_shards: u32,
    /// How long records are kept.
    pub retention: Duration,
    /// How the shard of a record is chosen.
    pub distribution: Distribution,
}

/// All streams of the account and region.
///
/// Every change waits until the stream is active again. A stream that is busy or an account over its call rate is asked
/// again until the patience (two minutes unless told otherwise) is over. A change whose answer was lost is looked for
/// among the shards before it is asked for again, so that it is never made twice.
#[derive(Clone, Debug)]
pub struct StreamAdmin {
    clients: Clients,
    patience: Duration,
}

impl StreamAdmin {
    pub(crate) fn new(clients: &Clients) -> Self {
        Self {
            clients: clients.clone(),
            patience: Duration::from_secs(120),
        }
    }

    /// Gives up after this long.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Creates a provisioned stream and waits until it is active. A stream of that name that is there already is
    /// returned as it is, whatever the number of its shards.
    ///
    /// # Errors
    /// `Invalid` when the name or the number is not allowed; `Throttled` when patience is over.
    pub async fn create(&self, stream: &str, shards: u32) -> Result<StreamSummary, Fault> {
        self.make(stream, shards, |_| {}).await
    }

    /// As [`create`](Self::create), and tells `made` of the stream if this very call made it, before it waits for it to be
    /// active. When the answer to the creation is lost, nobody can know whose the stream is: it is not told.
    ///
    /// # Errors
    /// As [`create`](Self::create); a stream that was told before is made all the same.
    pub async fn make(
        &self,
        stream: &str,
        shards: u32,
        made: impl Fn(StreamIdentity) + Send + Sync,
    ) -> Result<StreamSummary, Fault> {
        let asked = self.asked("CreateStream", stream);
        let count = shard_count(&asked, shards)?;
        let mut wait = Wait::new(self.patience);
        // The service took our request, and has not shown yet which stream came of it.
        let mut ours = false;
        loop {
            match self.describe(stream).await {
                Ok(summary) => {
                    if std::mem::take(&mut ours) {
                        made(summary.identity.clone());
                    }
                    if summary.status == StreamStatus::Active {
                        return Ok(summary);
                    }
                }
                // Whatever the answer, the stream is made; which one it is must be known.
                Err(_) if ours => {}
                Err(fault) if fault.kind == FaultKind::Missing => {
                    let answer = self
                        .client()
                        .create_stream()
                        .stream_name(stream_ref::stream_name(stream))
                        .shard_count(count)
                        .send()
                        .await;
                    ours = answer.is_ok();
                    // Somebody else may create it at the same time.
                    tolerate(answer.map(drop).map_err(|error| Failure::of(&error)), &asked)?;
                }
                Err(fault) => return Err(fault),
            }
            wait.once(&asked).await?;
        }
    }

    /// A stream's status and figures.
    ///
    /// # Errors
    /// `Missing` when there is no such stream.
    pub async fn describe(&self, stream: &str) -> Result<StreamSummary, Fault> {
        shards::describe(&self.clients, self.clients.records(), stream).await
    }

    /// Every shard of a stream, closed ones included, in the order of their ids.
    ///
    /// # Errors
    /// `Missing` when there is no such stream.
    pub async fn shards(&self, stream: &str) -> Result<Vec<Shard>, Fault> {
        shards::list(&self.clients, self.clients.records(), stream).await
    }

    /// The names of all streams, in order.
    ///
    /// # Errors
    /// As any request.
    pub async fn list(&self) -> Result<Vec<String>, Fault> {
        let asked = Asked {
            api: "ListStreams",
            subject: Subject::Streams,
            place: self.clients.kinesis_place(),
        };
        let mut names: Vec<String> = Vec::new();
        loop {
            let request = self
                .client()
                .list_streams()
                .set_exclusive_start_stream_name(names.last().cloned());
            let answer = request
                .send()
                .await
                .map_err(|error| asked.failed(&Failure::of(&error)))?;
            let before = names.len();
            names.extend(answer.stream_names);
            if !answer.has_more_streams || names.len() == before {
                names.sort();
                return Ok(names);
            }
        }
    }

    /// Splits an open shard: the second child starts at the hash key `at`. Returns the children once they are there.
    ///
    /// # Errors
    /// `Invalid` when the shard is closed or `at` is not inside it; `Missing` without such a shard or stream;
    /// `Throttled` when patience is over. After `Unreachable` the split may have happened: look at the shards.
    pub async fn split(&self, stream: &str, shard: &ShardId, at: u128) -> Result<Vec<Shard>, Fault> {
        let asked = self.asked("SplitShard", stream);
        let mut change = Change::new(self, stream, asked, &[shard]);
        loop {
            let shards = match change.look().await? {
                Look::Made(mut shards) => {
                    shards.retain(|child| child.parent.as_ref() == Some(shard));
                    return Ok(shards);
                }
                Look::Open(shards) => shards,
            };
            let range = shards
                .iter()
                .find(|open| open.id == *shard)
                .expect("looked for")
                .hash_range;
            if at <= range.start || at > range.end {
                let message = format!(
                    "{at} is not inside {shard}, which has the hash keys {} to {}; a split needs a key above the first",
                    range.start, range.end
                );
                return Err(asked.fault(FaultKind::Invalid, message));
            }
            self.clients.reshard_slot().await;
            let request = self
                .client()
                .split_shard()
                .set_stream_name(stream_ref::name(stream))
                .set_stream_arn(stream_ref::arn(stream))
                .shard_to_split(shard.as_str());
            let answer = request.new_starting_hash_key(at.to_string()).send().await;
            change
                .sent(answer.map(drop).map_err(|error| Failure::of(&error)))
                .await?;
        }
    }

    /// Merges two open shards with adjacent hash ranges. Returns the child once it is there.
    ///
    /// # Errors
    /// As [`split`](Self::split).
    pub async fn merge(&self, stream: &str, shard: &ShardId, adjacent: &ShardId) -> Result<Shard, Fault> {
        let asked = self.asked("MergeShards", stream);
        let mut change = Change::new(self, stream, asked, &[shard, adjacent]);
        loop {
            let shards = match change.look().await? {
                Look::Made(shards) => {
                    let of_both =
                        |child: &Shard| child.parents().filter(|id| [shard, adjacent].contains(id)).count() == 2;
                    let child = shards.into_iter().find(of_both);
                    return child.ok_or_else(|| {
                        let message = format!("{shard} and {adjacent} are closed, but not by a merge of the two");
                        asked.fault(FaultKind::Invalid, message)
                    });
                }
                Look::Open(shards) => shards,
            };
            let range = |id: &ShardId| {
                shards
                    .iter()
                    .find(|open| open.id == *id)
                    .expect("looked for")
                    .hash_range
            };
            let (low, high) = (range(shard).min(range(adjacent)), range(shard).max(range(adjacent)));
            if low.end.checked_add(1) != Some(high.start) {
                let message = format!("{shard} and {adjacent} are not neighbors: their hash ranges do not adjoin");
                return Err(asked.fault(FaultKind::Invalid, message));
            }
            self.clients.reshard_slot().await;
            let request = self
                .client()
                .merge_shards()
                .set_stream_name(stream_ref::name(stream))
                .set_stream_arn(stream_ref::arn(stream))
                .shard_to_merge(shard.as_str());
            let answer = request.adjacent_shard_to_merge(adjacent.as_str()).send().await;
            change
                .sent(answer.map(drop).map_err(|error| Failure::of(&error)))
                .await?;
        }
    }

    /// Changes the number of open shards by uniform splits and merges, and waits until the stream is active again.
    ///
    /// # Errors
    /// `Invalid` when the target is beyond the limits (twice, half, 10,000).
    pub async fn update_shard_count(&self, stream: &str, target: u32) -> Result<(), Fault> {
        let asked = self.asked("UpdateShardCount", stream);
        let count = shard_count(&asked, target)?;
        let mut wait = Wait::new(self.patience);
        loop {
            let summary = self.describe(stream).await?;
            if summary.status == StreamStatus::Active && summary.open_shards == target {
                return Ok(());
            }
            if summary.status == StreamStatus::Active {
                let request = self
                    .client()
                    .update_shard_count()
                    .set_stream_name(stream_ref::name(stream))
                    .set_stream_arn(stream_ref::arn(stream))
                    .target_shard_count(count);
                let answer = request.scaling_type(ScalingType::UniformScaling).send().await;
                tolerate(answer.map(drop).map_err(|error| Failure::of(&error)), &asked)?;
            }
            wait.once(&asked).await?;
        }
    }

    /// Deletes a stream with its records and waits until it is gone; none there is no error.
    ///
    /// # Errors
    /// As any request.
    pub async fn delete(&self, stream: &str) -> Result<(), Fault> {
        self.delete_if(stream, |_| true).await.map(drop)
    }

    /// Deletes the stream with its records if it is the one that was made, and waits until it is gone. Whatever else has
    /// its name is left alone.
    ///
    /// # Errors
    /// As any request.
    pub async fn delete_made(&self, stream: &str, made: Option<&StreamIdentity>) -> Result<Deleted, Fault> {
        Ok(match self.delete_if(stream, |identity| Some(identity) == made).await? {
            Deleted::Replaced if made.is_none() => Deleted::Foreign,
            deleted => deleted,
        })
    }

    /// Deletes the stream if it is the one that is meant, which is looked at before each request.
    async fn delete_if(&self, stream: &str, meant: impl Fn(&StreamIdentity) -> bool) -> Result<Deleted, Fault> {
        let asked = self.asked("DeleteStream", stream);
        let mut wait = Wait::new(self.patience);
        loop {
            match self.describe(stream).await {
                Err(fault) if fault.kind == FaultKind::Missing => return Ok(Deleted::Gone),
                Err(fault) => return Err(fault),
                Ok(summary) if !meant(&summary.identity) => return Ok(Deleted::Replaced),
                Ok(summary) if summary.status == StreamStatus::Deleting => {}
                Ok(_) => {
                    let request = self.client().delete_stream();
                    let request = request
                        .set_stream_name(stream_ref::name(stream))
                        .set_stream_arn(stream_ref::arn(stream));
                    let answer = request.enforce_consumer_deletion(true).send().await;
                    match answer.map(drop).map_err(|error| Failure::of(&error)) {
                        Err(failure) if failure.kind() == FaultKind::Missing => return Ok(Deleted::Gone),
                        answer => tolerate(answer, &asked)?,
                    }
                }
            }
            wait.once(&asked).await?;
        }
    }

    /// For changes only: it never sends one twice.
    fn client(&self) -> &Client {
        self.clients.changes()
    }

    fn asked<'a>(&'a self, api: &'static str, stream: &'a str) -> Asked<'a> {
        shards::asked(&self.clients, api, stream)
    }
}

fn shard_count(asked: &Asked<'_>, shards: u32) -> Result<i32, Fault> {
    let allowed = i32::try_from(shards).ok().filter(|count| (1..=10_000).contains(count));
    allowed.ok_or_else(|| asked.fault(FaultKind::Invalid, format!("{shards} shards; 1 to 10,000 are allowed")))
}

/// Too busy now, and lost answers, are for the next round to see to.
fn tolerate(answer: Result<(), Failure>, asked: &Asked<'_>) -> Result<(), Fault> {
    match answer {
        Err(failure) if failure.kind() != FaultKind::Throttled && !failure.leaves_doubt() => {
            Err(asked.failed(&failure))
        }
        _ => Ok(()),
    }
}

/// Waiting with an end.
struct Wait {
    patience: Duration,
    deadline: Instant,
    pause: Pause,
}

impl Wait {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            deadline: Instant::now() + patience,
            pause: Pause::default(),
        }
    }

    async fn once(&mut self, asked: &Asked<'_>) -> Result<(), Fault> {
        if Instant::now() >= self.deadline {
            let message = format!(
                "the stream is still busy after {} s; try again later",
                self.patience.as_secs_f32()
            );
            return Err(asked.fault(FaultKind::Throttled, message));
        }
        self.pause.once().await;
        Ok(())
    }
}

/// One change of a stream's shards: wait until it is active, look, ask, wait, and look whether it is made.
struct Change<'a> {
    admin: &'a StreamAdmin,
    stream: &'a str,
    asked: Asked<'a>,
    /// The shards that the change closes.
    closes: Vec<&'a ShardId>,
    wait: Wait,
    /// The service took the change.
    taken: bool,
    /// The change was asked for, and may have been taken.
    doubt: bool,
}

/// All shards of an active stream.
enum Look {
    /// The change can be asked for.
    Open(Vec<Shard>),
    /// The change is made.
    Made(Vec<Shard>),
}

impl<'a> Change<'a> {
    fn new(admin: &'a StreamAdmin, stream: &'a str, asked: Asked<'a>, closes: &[&'a ShardId]) -> Self {
        Self {
            admin,
            stream,
            asked,
            closes: closes.to_vec(),
            wait: Wait::new(admin.patience),
            taken: false,
            doubt: false,
        }
    }

    /// Waits until the stream is active and shows either nothing or all of the change.
    async fn look(&mut self) -> Result<Look, Fault> {
        loop {
            let status = match self.admin.describe(self.stream).await {
                // Others ask as well: the account's rate of this call is low.
                Err(fault) if fault.kind == FaultKind::Throttled => {
                    self.wait.once(&self.asked).await?;
                    continue;
                }
                answer => answer?.status,
            };
            match status {
                StreamStatus::Active => {
                    let shards = self.admin.shards(self.stream).await?;
                    let open = self.all_open(&shards)?;
                    if !open {
                        return Ok(Look::Made(shards));
                    }
                    if !self.taken {
                        return Ok(Look::Open(shards));
                    }
                }
                StreamStatus::Deleting => {
                    return Err(self.asked.fault(FaultKind::Missing, "the stream is being deleted"));
                }
                StreamStatus::Creating | StreamStatus::Updating => {}
            }
            self.wait.once(&self.asked).await?;
        }
    }

    /// Whether the shards are open; a closed one is an error unless the change itself may have closed it.
    fn all_open(&self, shards: &[Shard]) -> Result<bool, Fault> {
        let mut open = true;
        for id in &self.closes {
            let Some(shard) = shards.iter().find(|shard| shard.id == **id) else {
                let message = format!("the stream has no shard {id}; `kinex verify` lists its shards");
                return Err(self.asked.fault(FaultKind::Missing, message));
            };
            if !shard.open && !self.taken && !self.doubt {
                let message = format!("{id} is closed already: only an open shard can be split or merged");
                return Err(self.asked.fault(FaultKind::Invalid, message));
            }
            open &= shard.open;
        }
        Ok(open)
    }

    /// Notes the answer to the change, and pauses when it must be asked for again.
    async fn sent(&mut self, answer: Result<(), Failure>) -> Result<(), Fault> {
        match answer {
            Ok(()) => {
                self.taken = true;
                return Ok(());
            }
            Err(failure) if failure.leaves_doubt() => self.doubt = true,
            Err(failure) => tolerate(Err(failure), &self.asked)?,
        }
        self.wait.once(&self.asked).await
    }
}
