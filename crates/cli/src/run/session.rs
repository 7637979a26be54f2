//! One run, from its first look to its report.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use kinex_aws::{Access, Clients, patiently};
use kinex_core::audit::Records;
use kinex_core::experiment::{
    DeletionPolicy, Effect, Outcome, Phase, Replicas, RunState, Spec, Status, Timestamp, Verdict, World, decide,
    overrule, unwitnessed,
};
use kinex_core::lease::Process as ProcessId;
use kinex_embedded::{Endpoints, Options};
use kinex_stage::outcome::{self, Facts};
use kinex_stage::report::recording::Sample;
use kinex_stage::report::summary::Summary;
use kinex_stage::{Ends, Ledger, Observer, Witness, last_audit, launch, ledger};
use kinex_telemetry::Interrupts;

use super::Args;
use super::directory::Directory;
use super::effects::Effects;
use super::fleet::{Ended, Fatal, Fleet, Launch};
use super::live::Live;
use super::producer::Producer;
use super::scrape::{self, Scrape};
use crate::endpoint::{Connected, RunFile, label};
use crate::exit::{Code, Stop};
use crate::output::{Format, show};

/// From one look to the next.
const PERIOD: Duration = Duration::from_millis(200);
/// A look that takes longer is given up, and time goes on without it. Each of its requests gives up much sooner; this is
/// for many of them on a machine that is slow.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// However little time is left, a look gets this long: the last one of a step decides how it ends.
const LOOK_MIN: Duration = Duration::from_secs(5);
/// An endpoint that cannot be read for so long has gone.
const UNSEEN_MAX: Duration = Duration::from_secs(60);
/// How long records that are still on their way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(15);
/// How long the consumers may take to leave.
const LEAVE: Duration = Duration::from_secs(30);
/// How long a call on the stream that is under way at the end may take: whose a stream is shows in its answer alone.
const SETTLE: Duration = Duration::from_secs(5);
/// How long they may take after Ctrl-C.
const LEAVE_IN_HASTE: Duration = Duration::from_millis(2_500);
/// How long the audit may take then.
const JUDGE_IN_HASTE: Duration = Duration::from_secs(1);

/// Plays the experiment.
pub(super) async fn play(args: &Args, spec: Spec, output: Format) -> anyhow::Result<Code> {
    let directory = Directory::take(args.report.as_deref(), &spec)?;
    let mut interrupts = Interrupts::listen()?;
    let mut access = args.endpoint.access();
    if !args.endpoint.given() {
        access.endpoint.clone_from(&spec.stream.endpoint);
    }
    let embedded = if args.endpoint.given() || access.endpoint.is_some() {
        None
    } else {
        Some(Endpoints::start(Options::default()).await?)
    };
    if let Some(endpoints) = &embedded {
        access.kinesis_endpoint = Some(endpoints.kinesis_url());
        access.dynamodb_endpoint = Some(endpoints.dynamodb_url());
    }
    let name = if embedded.is_some() {
        "embedded".to_owned()
    } else {
        label(&access)
    };
    let limit = spec.run.deadline.unwrap_or(Duration::MAX);
    let ledger = Ledger::default();
    let at = tokio::select! {
        prepared = tokio::time::timeout(limit, prepare(&access, name, &spec, &ledger)) => match prepared {
            Ok(prepared) => prepared?,
            Err(_) => {
                let message = format!("{} does not answer within the deadline of {limit:?}", label(&access));
                return Err(Stop::new(Code::TimedOut, message).next("see whether the endpoint still runs").into());
            }
        },
        _ = interrupts.next() => {
            return Err(Stop::new(Code::Interrupted, "interrupted before the run began").into());
        }
    };
    let scrape = match &args.metrics_addr {
        Some(address) => {
            let requests = at.clients.requests();
            Some(Scrape::serve(address, &spec.name, directory.path(), requests).await?)
        }
        None => None,
    };
    let file = RunFile {
        pid: std::process::id(),
        kinesis: access.kinesis_endpoint.or_else(|| access.endpoint.clone()),
        dynamodb: access.dynamodb_endpoint.or(access.endpoint),
        region: access.region,
        sign: access.send_credentials,
        stream: at.stream.clone(),
        application: at.application.clone(),
    };
    directory.announce(&file)?;
    eprintln!(
        "{} on {}: report and logs in {}",
        spec.name,
        at.label,
        directory.path().display()
    );

    let mut session = Session::new(args, spec, at, ledger, &file, directory, scrape)?;
    let played = session.run(&mut interrupts).await;
    // Whatever came of it: no process outlives the run, and what was seen is written down.
    let ended = session.end(embedded.as_ref(), &mut interrupts).await;
    if let Some(scrape) = session.scrape.take() {
        at_most(JUDGE_IN_HASTE, scrape.end()).await;
    }
    session.directory.withdraw();
    if let Some(endpoints) = embedded {
        at_most(JUDGE_IN_HASTE, endpoints.stop()).await;
    }
    played?;
    let (summary, written) = ended?;
    // The verdict stands whoever reads it, and whatever could not be written.
    if let Err(error) = show(output, &summary) {
        eprintln!("warning: the summary cannot be shown: {error:#}");
    }
    match written {
        Ok(()) => eprintln!("report: {}", session.directory.path().join("report.html").display()),
        Err(failed) => eprintln!(
            "warning: the report in {} is incomplete: {failed}",
            session.directory.path().display()
        ),
    }
    Ok(session.code(interrupts.seen()))
}

/// Connects, and makes the application's tables.
async fn prepare(access: &Access, label: String, spec: &Spec, ledger: &Ledger) -> anyhow::Result<Connected> {
    let at = Connected {
        clients: Clients::connect(access).await?,
        label,
        stream: spec.stream.name.clone(),
        application: spec.name.clone(),
    };
    // The first request may find the endpoint still at its start.
    let subject = at.subject();
    patiently(|| ledger.make_tables(&subject)).await?;
    at.clients.facts(&at.application).delete("control", "scale").await?;
    Ok(at)
}

/// Waits for it for so long; it is of no use to anybody who has gone on.
async fn at_most(limit: Duration, end: impl Future<Output = ()>) {
    let _ = tokio::time::timeout(limit, Box::pin(end)).await;
}

struct Session {
    spec: Spec,
    at: Connected,
    keep: bool,
    directory: Directory,
    fleet: Fleet,
    producer: Producer,
    observer: Observer,
    effects: Effects,
    status: Status,
    world: World,
    samples: Vec<Sample>,
    proofs: Witness,
    ends: Ends,
    scaled: Option<String>,
    scrape: Option<Scrape>,
}

impl Session {
    fn new(
        args: &Args,
        spec: Spec,
        at: Connected,
        ledger: Ledger,
        file: &RunFile,
        directory: Directory,
        scrape: Option<Scrape>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        // The records of this run are told from those of an earlier one by the run's name.
        let run = format!("{}-{}", spec.name, wall().0);
        let metrics = if scrape.is_some() { &scrape::PROGRAM[..] } else { &[] };
        let metrics = || metrics.iter().map(|argument| (*argument).to_owned());
        let launch = Launch {
            program: program.clone(),
            prefix: spec
                .consumers
                .stateful_set_name
                .clone()
                .unwrap_or_else(|| format!("{}-consumer", spec.name)),
            arguments: consumer_arguments(&spec, file).into_iter().chain(metrics()).collect(),
            directory: directory.path().to_owned(),
        };
        let mut arguments = producer_arguments(&spec, file, &run);
        arguments.extend(metrics());
        let witness = !args.no_witness;
        Ok(Self {
            fleet: Fleet::new(launch),
            producer: Producer::new(program, arguments, directory.path().to_owned()),
            observer: Observer::new(at.subject(), spec.consumers.failover_after, run, witness),
            effects: Effects::new(at.subject(), ledger),
            status: Status::default(),
            world: World::default(),
            samples: Vec::new(),
            proofs: Witness::default(),
            ends: Ends::default(),
            scaled: None,
            scrape,
            keep: args.keep,
            directory,
            spec,
            at,
        })
    }

    /// Looks, decides and acts until the run has ended.
    async fn run(&mut self, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        let mut live = Live::new();
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen_at = wall();
        while !self.status.phase.ended() {
            tokio::select! {
                biased;
                _ = interrupts.next() => self.give_up(wall()),
                _ = tick.tick() => {}
            }
            if self.status.phase.ended() {
                break;
            }
            let now = wall();
            // A request that stands holds up nobody who wants to leave.
            tokio::select! {
                biased;
                _ = interrupts.next() => self.give_up(wall()),
                done = Box::pin(self.round(now)) => done?,
            }
            live.show(&self.spec, &self.status, &self.world, wall());
            match &self.world.unseen {
                None => seen_at = now,
                Some(why) if now.since(seen_at) > UNSEEN_MAX => {
                    let message = format!("{} cannot be read for {} s: {why}", self.at.label, UNSEEN_MAX.as_secs());
                    return Err(Stop::new(Code::CannotConnect, message)
                        .next("see whether the endpoint still runs")
                        .into());
                }
                Some(_) => {}
            }
        }
        live.leave();
        Ok(())
    }

    /// Ends the run without another look: whoever asked for that does not wait for an answer.
    fn give_up(&mut self, now: Timestamp) {
        self.spec.run.state = RunState::Aborted;
        let unseen = World {
            unseen: Some("interrupted".to_owned()),
            ..World::default()
        };
        // The first decision of all only begins the run.
        for _ in 0..2 {
            if !self.status.phase.ended() {
                self.status = decide(&self.spec, &self.status, &unseen, now).status;
            }
        }
        self.directory.store(&self.status);
    }

    /// How long a look may take, so that deadline and step end when they should.
    fn patience(&self, now: Timestamp) -> Duration {
        let left = |from: Option<Timestamp>, limit: Option<Duration>| {
            let spent = from.map_or(Duration::ZERO, |from| now.since(from));
            limit.map_or(LOOK_MAX, |limit| limit.saturating_sub(spent))
        };
        let step = self.status.steps.last().filter(|step| step.outcome == Outcome::Running);
        let limit = self
            .status
            .steps
            .len()
            .checked_sub(1)
            .and_then(|last| self.spec.steps.get(last));
        let step = step.map_or(LOOK_MAX, |step| left(step.started_at, limit.map(|limit| limit.timeout)));
        left(self.status.started_at, self.spec.run.deadline)
            .min(step)
            .clamp(LOOK_MIN, LOOK_MAX)
    }

    async fn round(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let began = Instant::now();
        let until = tokio::time::Instant::now() + self.patience(now);
        let ended = self.fleet.reap(now);
        self.note_ends(&ended);
        let _ = tokio::time::timeout_at(until, self.testify()).await;
        let fatal = ended.into_iter().find_map(|ended| ended.fatal);
        let early = matches!(self.status.phase, Phase::Pending | Phase::Setup);
        // Later a name can be in use for a while; a program that never came up will not do so then either.
        if let Some(fatal) = fatal.filter(|fatal| early || fatal.code == Code::Failed) {
            return Err(self.hopeless(fatal));
        }
        self.fleet.fill(now)?;
        self.producer.tend(now)?;
        if let Some(fatal) = self.producer.fatal.take() {
            return Err(self.hopeless(fatal));
        }
        let _ = tokio::time::timeout_at(until, self.scaled_from_outside()).await;

        let pods = self.fleet.pods();
        let (wanted, generation) = self.fleet.wanted();
        let present = pods.iter().filter(|pod| pod.running).count();
        let replicas = Replicas {
            wanted,
            generation,
            present: u32::try_from(present).unwrap_or(u32::MAX),
            problem: self.fleet.problem().or_else(|| self.producer.problem.clone()),
            by: None,
        };
        let looked = tokio::time::timeout_at(until, self.observer.look(&pods, replicas.clone(), now)).await;
        let mut world = looked.unwrap_or_else(|_| World {
            unseen: Some(format!("no answer for {:.1} s", began.elapsed().as_secs_f64())),
            seen_at: Some(now),
            replicas,
            ..World::default()
        });
        // A look that was given up has taken its time.
        let now = if world.unseen.is_some() { wall() } else { now };
        world.ends = self.ends.all().to_vec();
        world.failures = self.effects.failures().await;
        // A producer that does not run sends nothing, whatever it was told.
        world.producer_rate = world.producer_rate.filter(|rate| *rate == 0 || self.producer.runs());

        let mut decision = decide(&self.spec, &self.status, &world, now);
        decision.status.created = self.effects.created();
        if let Some(scrape) = &mut self.scrape {
            scrape.targets(self.fleet.metrics(), self.producer.metrics());
            scrape.round(
                &self.status,
                &decision.status,
                &world,
                &decision.effects,
                began.elapsed(),
            );
        }
        if decision.status != self.status {
            self.directory.store(&decision.status);
            self.status = decision.status;
        }
        for effect in &decision.effects {
            if let Effect::MirrorReplicas { replicas } = effect {
                self.spec.replicas = *replicas;
            }
        }
        self.effects
            .carry_out(decision.effects, &mut self.fleet, &mut self.producer, now)
            .await;
        let sample = outcome::sample(&self.status, &world, now);
        self.samples
            .extend(sample.filter(|new| self.samples.last().is_none_or(|last| !last.same_state(new))));
        if world.unseen.is_none() || self.world == World::default() {
            self.world = world;
        } else {
            self.world.unseen = world.unseen;
        }
        Ok(())
    }

    fn hopeless(&self, fatal: Fatal) -> anyhow::Error {
        let advice = format!("its whole log is in {}", self.directory.path().join("logs").display());
        Stop::new(fatal.code, fatal.why).next(advice).into()
    }

    /// Notes which processes have ended.
    fn note_ends(&mut self, ended: &[Ended]) {
        let silent = unwitnessed(&self.spec, &self.status).map(|pod| pod.incarnation.clone());
        self.observer.keep_silent(silent);
        for ended in ended {
            tracing::info!(worker = %ended.worker, how = ended.how, "process ended");
            let Some(incarnation) = ended.incarnation.clone() else {
                continue;
            };
            self.observer.died(incarnation.clone(), ended.at);
            let process = ProcessId {
                worker: ended.worker.clone(),
                incarnation,
            };
            self.ends.note(process.clone(), ended.at, ended.how.clone());
            if self.observer.tells(&process.incarnation) {
                self.proofs.saw(process);
            }
        }
    }

    /// Writes proof of death for processes that ended without departing: nobody has to wait for their silence.
    async fn testify(&mut self) {
        let store = self.at.clients.leases(&self.at.application);
        self.proofs.testify(&store).await;
    }

    /// `kinex scale --run DIR` leaves its wish in a fact row; it counts as somebody else's doing.
    async fn scaled_from_outside(&mut self) {
        let facts = self.at.clients.facts(&self.at.application);
        let Ok(Some(body)) = facts.get("control", "scale").await else {
            return;
        };
        if self.scaled.as_ref() != Some(&body) {
            let wish: Option<u64> = serde_json::from_str::<serde_json::Value>(&body)
                .ok()
                .and_then(|v| v.get("replicas")?.as_u64());
            if let Some(replicas) = wish.and_then(|n| u32::try_from(n).ok()) {
                self.fleet.scale(replicas);
            }
            self.scaled = Some(body);
        }
    }

    /// Stops every process, reads the audit for the last time, writes the report. The second value says which of its
    /// files could not be written.
    ///
    /// After Ctrl-C the processes get little time, and after another one none.
    async fn end(
        &mut self,
        embedded: Option<&Endpoints>,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<(Summary, Result<(), String>)> {
        let requests = embedded.map(|endpoints| self.requests(endpoints)).unwrap_or_default();
        let mut records = None;
        let mut ended = interrupts.seen();
        self.effects.settle(if ended { Duration::ZERO } else { SETTLE }).await;
        if !ended {
            tokio::select! {
                found = Box::pin(self.leave_in_order()) => records = found,
                _ = interrupts.next() => ended = true,
            }
        }
        let hurry = ended;
        if hurry {
            tokio::select! {
                found = Box::pin(self.leave_in_haste()) => records = found,
                _ = interrupts.next() => {}
            }
        }
        self.producer.kill();
        self.fleet.kill_all();
        if !self.status.phase.ended() {
            self.status.verdict = Verdict::Aborted;
            self.status
                .message
                .get_or_insert_with(|| "the run could not go on".to_owned());
        }
        if let Some(found) = records.clone() {
            self.overrule(found);
        }
        let facts = Facts {
            endpoint: self.at.label.clone(),
            records,
            requests,
            samples: std::mem::take(&mut self.samples),
        };
        let run = outcome::recording(&self.spec, &self.status, &self.world, &self.observer, facts);
        let written = self.directory.write(kinex_stage::report::files(&run)?);
        if embedded.is_none() && !hurry {
            self.delete().await?;
        }
        Ok((run.summary, written))
    }

    /// Holds the verdict against the audit of the whole run.
    fn overrule(&mut self, found: Records) {
        let now = wall();
        let world = World {
            records: last_audit(found, now),
            ..self.world.clone()
        };
        if let Some(status) = overrule(&self.spec, &self.status, &world, now) {
            self.directory.store(&status);
            self.status = status;
        }
    }

    /// Everybody gets the time to leave in good order, and every record the time to be delivered.
    async fn leave_in_order(&mut self) -> Option<Records> {
        self.producer.stop(LEAVE, wall).await;
        at_most(DRAIN, self.drain()).await;
        self.fleet.stop(LEAVE, wall).await;
        let found = tokio::time::timeout(DRAIN, self.observer.judge(wall())).await;
        found.ok()?.ok()
    }

    /// All that can be had within the few seconds that whoever pressed Ctrl-C waits.
    async fn leave_in_haste(&mut self) -> Option<Records> {
        tokio::join!(
            self.producer.stop(LEAVE_IN_HASTE, wall),
            self.fleet.stop(LEAVE_IN_HASTE, wall)
        );
        let found = tokio::time::timeout(JUDGE_IN_HASTE, self.observer.judge(wall())).await;
        found.ok()?.ok()
    }

    /// Deletes what the run created, if the manifest says so; what was there before stays.
    async fn delete(&self) -> anyhow::Result<()> {
        if self.spec.stream.deletion != DeletionPolicy::Delete || self.keep {
            return Ok(());
        }
        for stays in ledger::delete(&self.at.subject(), &self.effects.created()).await? {
            eprintln!("{stays}, and stays");
        }
        Ok(())
    }

    /// Waits until everything that was produced is delivered, for a limited time.
    async fn drain(&mut self) {
        while let Ok(records) = self.observer.judge(wall()).await {
            if records.missing == 0 {
                return;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// What the consumers and the producer asked for: everything less our own looks.
    fn requests(&self, endpoints: &Endpoints) -> BTreeMap<String, u64> {
        let mut own: BTreeMap<String, u64> = BTreeMap::new();
        for count in self.at.clients.requests().snapshot() {
            *own.entry(count.api).or_default() += count.count;
        }
        let total = endpoints.requests().total;
        let others = total.into_iter().map(|(api, counts)| {
            let mine = own.get(&api.name).copied().unwrap_or(0);
            (String::from(api), counts.count.saturating_sub(mine))
        });
        others.filter(|(_, count)| *count > 0).collect()
    }

    fn code(&self, interrupted: bool) -> Code {
        let took = self
            .status
            .started_at
            .zip(self.status.finished_at)
            .map(|(from, to)| to.since(from));
        let late = self
            .spec
            .run
            .deadline
            .zip(took)
            .is_some_and(|(deadline, took)| took >= deadline);
        match self.status.verdict {
            Verdict::Pass => Code::Done,
            _ if interrupted => Code::Interrupted,
            _ if late => Code::TimedOut,
            _ => Code::VerdictFailed,
        }
    }
}

fn endpoint_arguments(file: &RunFile) -> Vec<String> {
    let pairs = [
        ("--kinesis-endpoint-url", &file.kinesis),
        ("--dynamodb-endpoint-url", &file.dynamodb),
        ("--region", &file.region),
        ("--stream", &Some(file.stream.clone())),
        ("--application", &Some(file.application.clone())),
    ];
    let given = pairs.into_iter();
    given
        .filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?]))
        .flatten()
        .chain(file.sign.then(|| "--sign".to_owned()))
        .collect()
}

fn consumer_arguments(spec: &Spec, file: &RunFile) -> Vec<String> {
    let mut arguments = vec!["consumer".to_owned()];
    arguments.extend(endpoint_arguments(file));
    arguments.extend(
        launch::consumer_settings(&spec.consumers)
            .into_iter()
            .flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]),
    );
    arguments
}

fn producer_arguments(spec: &Spec, file: &RunFile, run: &str) -> Vec<String> {
    let mut arguments = vec!["producer".to_owned()];
    arguments.extend(endpoint_arguments(file));
    arguments.extend(launch::producer_arguments(&spec.producer, run));
    arguments
}

fn wall() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
