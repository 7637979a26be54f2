//! What always comes first: the stream is ACTIVE, the wanted workers are ready and registered, every shard has a
//! reader. Then the load begins.

use std::time::Duration;

use super::effect::Effect;
use super::facts;
use super::round::Round;
use super::spec::{CapPolicy, CapRounding, CreationPolicy};
use super::status::{Plan, Verdict};
use super::world::StreamStatus;
use crate::id::ShardId;

/// How long the first dealing out of the leases may take before the run goes on without it. The wait for balance that
/// comes first in most runs then says what is wrong.
const READERS_WITHIN: Duration = Duration::from_secs(60);

impl Round<'_> {
    pub(super) fn setup(&mut self) {
        let ready = self
            .stream_is_ready()
            .and_then(|()| self.workers_are_ready())
            .and_then(|()| self.shards_are_read());
        match ready {
            Ok(()) => {
                self.status.shards_expected = Some(facts::clip(self.world.stream.shards.len()));
                // Not sooner: a record that is sent before its shard has a reader lies before LATEST.
                self.status
                    .producer_rate
                    .get_or_insert(self.spec.producer.records_per_second);
                self.note("the stream and the workers are ready".to_owned());
                self.begin_step(0);
            }
            Err(message) if !self.status.phase.ended() => {
                let refused = self.world.failures.iter().find(|failure| failure.lasting);
                match refused {
                    Some(failure) => {
                        let reason = format!("{message}; {} was refused: {}", failure.effect, failure.message);
                        self.end_run_early(reason);
                    }
                    None => self.status.message = Some(message),
                }
            }
            Err(_) => {}
        }
    }

    /// What the stream is waited for.
    fn stream_is_ready(&mut self) -> Result<(), String> {
        let name = &self.spec.stream.name;
        let stream = &self.world.stream;
        if self.spec.stream.creation == CreationPolicy::Recreate {
            self.old_stream_is_gone()?;
        }
        match stream.status {
            StreamStatus::Active => Ok(()),
            StreamStatus::Missing if self.spec.stream.creation == CreationPolicy::MustExist => {
                let message =
                    format!("stream `{name}` does not exist; create it, or set stream.creationPolicy: CreateIfMissing");
                self.end_run(Verdict::Fail, Some(message.clone()));
                Err(message)
            }
            StreamStatus::Missing => {
                self.effects.push(Effect::CreateStream {
                    shards: self.spec.stream.initial_shards,
                });
                Err(format!("waiting for stream `{name}` to be created"))
            }
            other => Err(format!(
                "waiting for stream `{name}` to be ACTIVE; it is {}",
                other.as_str()
            )),
        }
    }

    /// A stream to be recreated is deleted once nobody reads it. Which one that is, is written down first: the new one
    /// has another creation time and is left alone.
    fn old_stream_is_gone(&mut self) -> Result<(), String> {
        let stream = &self.world.stream;
        if stream.status != StreamStatus::Missing && stream.created.is_none() {
            return Err("waiting to see when the old stream was created".to_owned());
        }
        let Some(plan) = &self.status.setup else {
            self.status.setup = Some(Plan {
                delete_created: stream.created,
                ..Plan::default()
            });
            return Err("deleting the old stream".to_owned());
        };
        let Some(old) = plan.delete_created else { return Ok(()) };
        if stream.status == StreamStatus::Missing || stream.created.is_some_and(|created| created != old) {
            return Ok(());
        }
        if self.world.replicas.wanted != 0 {
            self.effects.push(Effect::Scale { replicas: 0 });
        } else if self.world.replicas.present == 0 && stream.status != StreamStatus::Deleting {
            self.effects.push(Effect::DeleteStream { created: old });
        }
        Err("deleting the old stream".to_owned())
    }

    /// What the workers are waited for.
    fn workers_are_ready(&mut self) -> Result<(), String> {
        let wanted = self.status.replicas_wanted.unwrap_or(self.spec.replicas);
        if self.world.replicas.wanted != wanted {
            self.effects.push(Effect::Scale { replicas: wanted });
            return Err(format!("waiting for {wanted} workers"));
        }
        self.all_workers_stand(wanted)
    }

    /// What the shards' readers are waited for: every lease has a live owner, as far as the caps allow.
    fn shards_are_read(&mut self) -> Result<(), String> {
        let awaited = *self.status.readers_awaited.get_or_insert(self.now);
        let rows = |id: &ShardId| self.world.leases.iter().any(|lease| lease.key == *id);
        let shards = &self.world.stream.shards;
        let unknown = shards.iter().filter(|shard| shard.open && !rows(&shard.id)).count();
        let unread = self.ownable().saturating_sub(self.census.assigned()) + facts::clip(unknown);
        if unread == 0 && self.census.pending == 0 {
            return Ok(());
        }
        if self.now.since(awaited) >= READERS_WITHIN {
            self.note(format!("{unread} shards have no reader; the run goes on all the same"));
            return Ok(());
        }
        Err(format!("waiting for a reader of every shard: {unread} have none"))
    }

    /// How many runnable leases can have an owner under the caps that the manifest sets.
    fn ownable(&self) -> u32 {
        let (consumers, active) = (&self.spec.consumers, self.census.active);
        let workers = facts::clip(self.census.by_live_worker.len());
        let whole = match consumers.cap_rounding {
            CapRounding::Ceil => active,
            CapRounding::Floor => active.checked_div(workers).unwrap_or(0) * workers,
        };
        match consumers.cap_policy {
            CapPolicy::Cover => whole,
            CapPolicy::Strict => whole.min(consumers.max_leases_per_worker.saturating_mul(workers)),
        }
    }

    /// Whether exactly this many workers are live, ready and staying.
    pub(super) fn all_workers_stand(&self, wanted: u32) -> Result<(), String> {
        let live = self.world.workers.iter().filter(|worker| worker.live);
        let ready = facts::clip(live.clone().filter(|worker| worker.ready && !worker.departing).count());
        let live = facts::clip(live.count());
        let set = self.world.replicas.wanted == wanted;
        let wanted = wanted.saturating_sub(self.lost());
        if ready == wanted && live == wanted && set {
            return Ok(());
        }
        let problem = self
            .world
            .replicas
            .problem
            .as_ref()
            .map(|problem| format!(" ({problem})"))
            .unwrap_or_default();
        Err(format!(
            "waiting for {wanted} workers: {live} live, {ready} of them ready{problem}"
        ))
    }
}
