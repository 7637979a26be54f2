//! What always comes first: the stream is ACTIVE, the wanted workers are ready and registered, the load runs.

use super::effect::Effect;
use super::facts;
use super::round::Round;
use super::spec::CreationPolicy;
use super::status::{Plan, Verdict};
use super::world::StreamStatus;

impl Round<'_> {
    pub(super) fn setup(&mut self) {
        let ready = self.stream_is_ready().and_then(|()| self.workers_are_ready());
        match ready {
            Ok(()) => {
                self.status.shards_expected = Some(facts::clip(self.world.stream.shards.len()));
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
            StreamStatus::Active => {
                self.status
                    .producer_rate
                    .get_or_insert(self.spec.producer.records_per_second);
                Ok(())
            }
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

    /// Whether exactly this many workers are live, ready and staying.
    pub(super) fn all_workers_stand(&self, wanted: u32) -> Result<(), String> {
        let live = self.world.workers.iter().filter(|worker| worker.live);
        let ready = facts::clip(live.clone().filter(|worker| worker.ready && !worker.departing).count());
        let live = facts::clip(live.count());
        if ready == wanted && live == wanted && self.world.replicas.wanted == wanted {
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
