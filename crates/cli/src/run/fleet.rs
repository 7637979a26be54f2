//! The consumers of a local run: as a StatefulSet keeps its pods, with processes in their place.
//!
//! A worker keeps its name over restarts. Scaling down asks the highest ordinals to leave; a process that ended while its
//! worker is wanted is started again. Whoever reaps a process *knows* that it has ended: the fleet hands that on as
//! proof of death.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kinex_core::experiment::{KillMode, PlannedPod, Restart, Timestamp};
use kinex_core::id::{Incarnation, WorkerId};
use kinex_stage::PodFacts;
use rustix::process::Signal;

use super::process::{Process, last_line};
use crate::exit::Code;

/// A process that ends sooner than this after its start, unasked, is started again only after a growing wait.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// The longest such wait.
const RESTART_WAIT_MAX: Duration = Duration::from_secs(10);
/// A program that ended so often before it said who it is will not come up.
pub(super) const TRIES_MAX: u32 = 3;

/// How to start a consumer.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// This very program.
    pub(crate) program: PathBuf,
    /// Workers are named `<prefix>-0`, `<prefix>-1` ...
    pub(crate) prefix: String,
    /// Arguments of every consumer, the subcommand included.
    pub(crate) arguments: Vec<String>,
    /// Logs go to `logs/` below it.
    pub(crate) directory: PathBuf,
}

/// A consumer's process that was reaped.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// The worker.
    pub(crate) worker: WorkerId,
    /// The process start, if it lived long enough to say.
    pub(crate) incarnation: Option<Incarnation>,
    /// When it was reaped.
    pub(crate) at: Timestamp,
    /// How it ended, in words.
    pub(crate) how: String,
    /// Why trying again cannot help: it refused its settings, its name is in use, or it never came up.
    pub(crate) fatal: Option<Fatal>,
}

/// Why a program will not come up, however often it is started.
#[derive(Clone, Debug)]
pub(crate) struct Fatal {
    /// The exit code that the run ends with.
    pub(crate) code: Code,
    /// In words, with the last line of its log.
    pub(crate) why: String,
}

#[derive(Debug)]
struct Pod {
    worker: WorkerId,
    process: Option<Process>,
    short_lives: u32,
    /// Ends in a row before the process said who it is.
    stillborn: u32,
    start_at: Timestamp,
    /// What was asked for the end of the present process.
    restart: Restart,
    /// Not wanted any more, until the number of workers changes.
    lost: bool,
    problem: Option<String>,
}

/// The consumers.
#[derive(Debug)]
pub(crate) struct Fleet {
    launch: Launch,
    pods: BTreeMap<u32, Pod>,
    wanted: u32,
    generation: u64,
    /// Processes started so far. No two have a number in common, whatever their workers' names.
    starts: u32,
}

impl Fleet {
    /// No consumers yet.
    pub(crate) fn new(launch: Launch) -> Self {
        Self {
            launch,
            pods: BTreeMap::new(),
            wanted: 0,
            generation: 0,
            starts: 0,
        }
    }

    /// Wants this many workers from now on.
    pub(crate) fn scale(&mut self, replicas: u32) {
        if self.wanted != replicas {
            self.wanted = replicas;
            self.generation += 1;
            for pod in self.pods.values_mut() {
                pod.lost = false;
            }
        }
    }

    /// How many are wanted, and how often that was changed.
    pub(crate) fn wanted(&self) -> (u32, u64) {
        (self.wanted, self.generation)
    }

    /// Starts what is missing, asks to leave what is too many.
    ///
    /// To be called behind [`reap`](Self::reap), when the proof of death of what was reaped is written: a new process of
    /// the same name then need not wait for the old one's silence.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub(crate) fn fill(&mut self, now: Timestamp) -> anyhow::Result<()> {
        for ordinal in 0..self.wanted {
            let prefix = &self.launch.prefix;
            let pod = self.pods.entry(ordinal).or_insert_with(|| Pod {
                worker: WorkerId::from(format!("{prefix}-{ordinal}")),
                process: None,
                short_lives: 0,
                stillborn: 0,
                start_at: now,
                restart: Restart::Immediately,
                lost: false,
                problem: None,
            });
            if pod.process.is_none() && !pod.lost && pod.start_at <= now {
                self.starts += 1;
                pod.start(&self.launch, self.starts, now)?;
            }
        }
        for (_, pod) in self.pods.range_mut(self.wanted..) {
            if let Some(process) = &mut pod.process {
                process.leave();
            }
        }
        self.pods
            .retain(|ordinal, pod| *ordinal < self.wanted || pod.process.is_some());
        Ok(())
    }

    /// Reaps what has ended.
    pub(crate) fn reap(&mut self, now: Timestamp) -> Vec<Ended> {
        let mut reaped = Vec::new();
        for pod in self.pods.values_mut() {
            let Some(process) = &mut pod.process else { continue };
            // Read before the file can be another start's.
            let incarnation = process.incarnation().cloned();
            let announced = process.announced();
            let Some(status) = process.ended() else { continue };
            let unasked = !process.leaving;
            let short = now.since(process.started) < SHORT_LIFE;
            pod.short_lives = if unasked && short { pod.short_lives + 1 } else { 0 };
            pod.stillborn = if unasked && !announced { pod.stillborn + 1 } else { 0 };
            let wait = match pod.short_lives {
                0 => Duration::ZERO,
                lives => RESTART_WAIT_MAX.min(Duration::from_millis(500) * 2_u32.saturating_pow(lives.min(8) - 1)),
            };
            pod.start_at = match std::mem::take(&mut pod.restart) {
                Restart::Immediately => now + wait,
                Restart::After(wait) => now + wait,
                Restart::Never => {
                    pod.lost = true;
                    now
                }
            };
            if !status.success() && unasked {
                let log = self.launch.directory.join("logs").join(format!("{}.log", pod.worker));
                let said = last_line(&log).map(|line| format!(": {line}")).unwrap_or_default();
                pod.problem = Some(format!("{} ended with {status}{said}", pod.worker));
            }
            pod.process = None;
            let code = match status.code() {
                _ if !unasked => None,
                Some(2) => Some(Code::Usage),
                Some(75) => Some(Code::NameInUse),
                _ => (pod.stillborn >= TRIES_MAX).then_some(Code::Failed),
            };
            let (worker, how) = (pod.worker.clone(), status.to_string());
            reaped.push(Ended {
                worker,
                incarnation,
                at: now,
                how,
                fatal: code.zip(pod.problem.clone()).map(|(code, why)| Fatal { code, why }),
            });
        }
        reaped
    }

    /// What is known of each process.
    pub(crate) fn pods(&mut self) -> Vec<PodFacts> {
        let facts = self.pods.values_mut().map(|pod| PodFacts {
            worker: pod.worker.clone(),
            incarnation: pod.process.as_mut().and_then(|process| process.incarnation().cloned()),
            frozen: pod.process.as_ref().and_then(|process| process.frozen),
            running: pod.process.is_some(),
            ready: pod.process.is_some(),
        });
        facts.collect()
    }

    /// Where the consumers serve their metrics, those that have said so.
    pub(crate) fn metrics(&mut self) -> Vec<String> {
        let processes = self.pods.values_mut().filter_map(|pod| pod.process.as_mut());
        processes
            .filter_map(|process| process.metrics().map(str::to_owned))
            .collect()
    }

    /// Why some worker does not come up.
    pub(crate) fn problem(&self) -> Option<String> {
        let troubled = self.pods.values().filter(|pod| pod.short_lives > 0);
        troubled.filter_map(|pod| pod.problem.clone()).next()
    }

    /// Ends one process, and no other of the same name. It is started again when its worker is wanted, and when
    /// `restart` says.
    pub(crate) fn kill(&mut self, planned: &PlannedPod, mode: KillMode, restart: Restart) {
        if let Some(pod) = self.pod(planned) {
            pod.restart = restart;
        }
        if let Some(process) = self.process(planned) {
            match mode {
                KillMode::Delete => process.leave(),
                KillMode::Force | KillMode::Crash => {
                    process.leaving = true;
                    process.signal(Signal::KILL);
                }
            }
        }
    }

    /// Stops one process as a whole.
    pub(crate) fn freeze(&mut self, pod: &PlannedPod, now: Timestamp) {
        if let Some(process) = self.process(pod) {
            process.freeze(now);
        }
    }

    /// Lets one process go on.
    pub(crate) fn thaw(&mut self, pod: &PlannedPod) {
        if let Some(process) = self.process(pod) {
            process.thaw();
        }
    }

    fn process(&mut self, planned: &PlannedPod) -> Option<&mut Process> {
        self.pod(planned)?.process.as_mut()
    }

    /// The worker, while that very process of it runs.
    fn pod(&mut self, planned: &PlannedPod) -> Option<&mut Pod> {
        let pod = self.pods.values_mut().find(|pod| pod.worker == planned.worker)?;
        let process = pod.process.as_mut()?;
        (process.incarnation() == Some(&planned.incarnation)).then_some(pod)
    }

    /// Ends every process at once.
    pub(crate) fn kill_all(&mut self) {
        for process in self.pods.values_mut().filter_map(|pod| pod.process.as_mut()) {
            process.leaving = true;
            process.signal(Signal::KILL);
        }
    }

    /// Asks everyone to leave; those still there when `patience` is over are killed. All are reaped.
    pub(crate) async fn stop(&mut self, patience: Duration, now: impl Fn() -> Timestamp) -> Vec<Ended> {
        self.scale(0);
        let deadline = now() + patience;
        let mut ended = Vec::new();
        loop {
            ended.extend(self.reap(now()));
            self.pods.retain(|_, pod| pod.process.is_some());
            if self.pods.is_empty() {
                return ended;
            }
            let late = now() >= deadline;
            for process in self.pods.values_mut().filter_map(|pod| pod.process.as_mut()) {
                process.leave();
                if late {
                    process.signal(Signal::KILL);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Pod {
    fn start(&mut self, launch: &Launch, number: u32, now: Timestamp) -> anyhow::Result<()> {
        let log = launch.directory.join("logs").join(format!("{}.log", self.worker));
        let identity = launch
            .directory
            .join("logs")
            .join(format!("{}.{number}.json", self.worker));
        let mut arguments = launch.arguments.clone();
        arguments.extend(["--worker-id".to_owned(), self.worker.to_string()]);
        self.process = Some(Process::start(&launch.program, &arguments, &log, identity, now)?);
        Ok(())
    }
}
