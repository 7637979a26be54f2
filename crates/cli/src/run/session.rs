//! One run, from its first look to its report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use kinex_aws::{Clients, patiently};
use kinex_core::experiment::{
    DeletionPolicy, Phase, Replicas, RunState, Spec, Status, Timestamp, Verdict, World, decide,
};
use kinex_core::lease::Process as ProcessId;
use kinex_embedded::{Endpoints, Options};
use kinex_stage::outcome::{self, Facts};
use kinex_stage::report::recording::Sample;
use kinex_stage::report::summary::Summary;
use kinex_stage::{Observer, Witness, launch};

use super::Args;
use super::effects::Effects;
use super::fleet::{Ended, Fleet, Launch};
use super::live::Live;
use super::producer::Producer;
use super::scrape::{self, Scrape};
use crate::endpoint::{Connected, RUN_FILE, RunFile, label};
use crate::exit::{Code, Stop};
use crate::output::{Format, show};

/// From one look to the next.
const PERIOD: Duration = Duration::from_millis(200);
/// An endpoint that cannot be read for so long has gone.
const UNSEEN_MAX: Duration = Duration::from_secs(60);
/// How long records that are still on their way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(15);
/// How long the consumers may take to leave.
const LEAVE: Duration = Duration::from_secs(30);

/// Plays the experiment.
pub(super) async fn play(args: &Args, spec: Spec, output: Format) -> anyhow::Result<Code> {
    let directory = directory(args, &spec)?;
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
    let clients = Clients::connect(&access).await?;
    let at = Connected {
        clients,
        label: name,
        stream: spec.stream.name.clone(),
        application: spec.name.clone(),
    };
    // The first request may find the endpoint still at its start.
    let tables = at.clients.tables(&at.application);
    patiently(|| tables.ensure()).await?;
    at.clients.facts(&at.application).delete("control", "scale").await?;
    let scrape = match &args.metrics_addr {
        Some(address) => {
            let requests = at.clients.requests();
            Some(Scrape::serve(address, &spec.name, &directory, requests).await?)
        }
        None => None,
    };
    let file = RunFile {
        pid: std::process::id(),
        kinesis: access.kinesis_endpoint.or_else(|| access.endpoint.clone()),
        dynamodb: access.dynamodb_endpoint.or(access.endpoint),
        region: access.region,
        stream: at.stream.clone(),
        application: at.application.clone(),
    };
    let path = directory.join(RUN_FILE);
    std::fs::write(&path, serde_json::to_string_pretty(&file)? + "\n")?;
    eprintln!(
        "{} on {}: report and logs in {}",
        spec.name,
        at.label,
        directory.display()
    );

    let mut session = Session::new(args, spec, at, &file, directory.clone(), scrape)?;
    let played = session.run(&mut interrupts).await;
    // Whatever came of it: no process outlives the run, and what was seen is written down.
    let ended = session.end(embedded.as_ref(), interrupts.seen).await;
    if let Some(scrape) = session.scrape.take() {
        scrape.end().await;
    }
    let _ = std::fs::remove_file(&path);
    if let Some(endpoints) = embedded {
        endpoints.stop().await;
    }
    played?;
    let summary = ended?;
    show(output, &summary)?;
    eprintln!("report: {}", directory.join("report.html").display());
    Ok(session.code(interrupts.seen))
}

/// The directory of the run, made with its logs.
fn directory(args: &Args, spec: &Spec) -> anyhow::Result<PathBuf> {
    let directory = match &args.report {
        Some(directory) => directory.clone(),
        None => {
            let time = jiff::Timestamp::now().to_string();
            let time: String = time.chars().take(19).filter(|c| *c != '-' && *c != ':').collect();
            PathBuf::from("reports").join(format!("{}-{time}", spec.name))
        }
    };
    if directory.join(RUN_FILE).exists() && RunFile::read(&directory).is_ok_and(|file| alive(file.pid)) {
        let message = format!("another run is at work in {}", directory.display());
        return Err(Stop::usage(message)
            .next("wait for its end, or choose another --report DIR")
            .into());
    }
    std::fs::create_dir_all(directory.join("logs"))
        .with_context(|| format!("cannot make {}", directory.join("logs").display()))?;
    Ok(directory)
}

fn alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Ctrl-C and SIGTERM.
struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    seen: bool,
}

impl Interrupts {
    fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self {
            interrupt,
            terminate,
            seen: false,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.seen = true;
    }
}

struct Session {
    spec: Spec,
    at: Connected,
    witness: bool,
    keep: bool,
    directory: PathBuf,
    fleet: Fleet,
    producer: Producer,
    observer: Observer,
    effects: Effects,
    status: Status,
    world: World,
    samples: Vec<Sample>,
    proofs: Witness,
    scaled: Option<String>,
    scrape: Option<Scrape>,
}

impl Session {
    fn new(
        args: &Args,
        spec: Spec,
        at: Connected,
        file: &RunFile,
        directory: PathBuf,
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
            directory: directory.clone(),
        };
        let mut arguments = producer_arguments(&spec, file, &run);
        arguments.extend(metrics());
        let witness = !args.no_witness;
        Ok(Self {
            fleet: Fleet::new(launch),
            producer: Producer::new(program, arguments, directory.clone()),
            observer: Observer::new(at.subject(), spec.consumers.failover_after, run, witness),
            effects: Effects::new(at.subject()),
            status: Status::default(),
            world: World::default(),
            samples: Vec::new(),
            proofs: Witness::default(),
            scaled: None,
            scrape,
            keep: args.keep,
            witness,
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
                _ = tick.tick() => {}
                () = interrupts.next() => self.spec.run.state = RunState::Aborted,
            }
            let now = wall();
            self.round(now).await?;
            live.show(&self.spec, &self.status, &self.world, now);
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

    async fn round(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let began = Instant::now();
        let ended = self.fleet.reap(now);
        self.witness(&ended).await;
        let fatal = ended.into_iter().find_map(|ended| ended.fatal);
        if let Some(fatal) = fatal.filter(|_| matches!(self.status.phase, Phase::Pending | Phase::Setup)) {
            let code = if fatal.contains("exit status: 75") {
                Code::NameInUse
            } else {
                Code::Usage
            };
            let advice = format!("its whole log is in {}", self.directory.join("logs").display());
            return Err(Stop::new(code, fatal).next(advice).into());
        }
        self.fleet.fill(now)?;
        self.producer.tend(now)?;
        self.scaled_from_outside().await;

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
        let mut world = self.observer.look(&pods, replicas, now).await;
        world.failures = self.effects.failures().await;
        // A producer that does not run sends nothing, whatever it was told.
        world.producer_rate = world.producer_rate.filter(|rate| *rate == 0 || self.producer.runs());

        let decision = decide(&self.spec, &self.status, &world, now);
        if let Some(scrape) = &mut self.scrape {
            scrape.targets(self.fleet.metrics(), self.producer.metrics())?;
            scrape.round(
                &self.status,
                &decision.status,
                &world,
                &decision.effects,
                began.elapsed(),
            );
        }
        if decision.status != self.status {
            store(&self.directory.join("status.json"), &decision.status)?;
            self.status = decision.status;
        }
        for effect in &decision.effects {
            if let kinex_core::experiment::Effect::MirrorReplicas { replicas } = effect {
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

    /// Writes proof of death for processes that ended without departing: nobody has to wait for their silence.
    async fn witness(&mut self, ended: &[Ended]) {
        for ended in ended {
            tracing::info!(worker = %ended.worker, how = ended.how, "process ended");
            let Some(incarnation) = ended.incarnation.clone() else {
                continue;
            };
            self.observer.died(incarnation.clone(), ended.at);
            if self.witness {
                self.proofs.saw(ProcessId {
                    worker: ended.worker.clone(),
                    incarnation,
                });
            }
        }
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

    /// Stops every process, reads the audit for the last time, writes the report.
    async fn end(&mut self, embedded: Option<&Endpoints>, hurry: bool) -> anyhow::Result<Summary> {
        self.effects.stop();
        let requests = embedded.map(|endpoints| self.requests(endpoints)).unwrap_or_default();
        let samples = std::mem::take(&mut self.samples);
        self.producer
            .stop(if hurry { Duration::from_secs(3) } else { LEAVE }, wall)
            .await;
        if !hurry {
            self.drain().await;
        }
        self.fleet
            .stop(if hurry { Duration::from_secs(8) } else { LEAVE }, wall)
            .await;
        let records = self.observer.judge(wall()).await.ok().and_then(outcome::audited);
        if !self.status.phase.ended() {
            self.status.verdict = Verdict::Aborted;
            self.status
                .message
                .get_or_insert_with(|| "the run could not go on".to_owned());
        }
        let facts = Facts {
            endpoint: self.at.label.clone(),
            records,
            requests,
            samples,
        };
        let run = outcome::recording(&self.spec, &self.status, &self.world, &self.observer, facts);
        for (name, text) in kinex_stage::report::files(&run)? {
            let path = self.directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.spec.stream.deletion == DeletionPolicy::Delete && embedded.is_none() && !self.keep && !hurry {
            self.at.clients.streams().delete(&self.at.stream).await?;
            self.at.clients.tables(&self.at.application).delete().await?;
        }
        Ok(run.summary)
    }

    /// Waits until everything that was produced is delivered, for a limited time.
    async fn drain(&mut self) {
        let deadline = wall() + DRAIN;
        while wall() < deadline {
            match self.observer.judge(wall()).await {
                Ok(records) if records.missing > 0 => tokio::time::sleep(PERIOD).await,
                _ => return,
            }
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

/// The status is replaced as a whole or not at all.
fn store(path: &Path, status: &Status) -> anyhow::Result<()> {
    let draft = path.with_extension("json.new");
    std::fs::write(&draft, serde_json::to_string_pretty(status)?)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn endpoint_arguments(file: &RunFile) -> Vec<String> {
    let pairs = [
        ("--kinesis-endpoint-url", &file.kinesis),
        ("--dynamodb-endpoint-url", &file.dynamodb),
        ("--region", &file.region),
        ("--stream", &Some(file.stream.clone())),
        ("--application", &Some(file.application.clone())),
    ];
    pairs
        .into_iter()
        .filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?]))
        .flatten()
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
