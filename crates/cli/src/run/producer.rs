//! The producer of a local run: one child process, there while records are wanted.

use std::path::PathBuf;
use std::time::Duration;

use kinex_core::experiment::Timestamp;
use rustix::process::Signal;

use super::fleet::{Fatal, TRIES_MAX};
use super::process::{Process, last_line};
use crate::exit::Code;

/// After an end that nobody asked for, the producer is started again no sooner than this.
const RESTART_WAIT: Duration = Duration::from_secs(2);

/// The producer.
#[derive(Debug)]
pub(crate) struct Producer {
    program: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    process: Option<Process>,
    wanted: bool,
    starts: u32,
    start_at: Timestamp,
    /// Ends in a row before it said who it is.
    stillborn: u32,
    /// Why it will not come up, once that is certain.
    pub(crate) fatal: Option<Fatal>,
    /// Why it ended, when nobody asked it to.
    pub(crate) problem: Option<String>,
}

impl Producer {
    /// A producer that does not run yet.
    pub(crate) fn new(program: PathBuf, arguments: Vec<String>, directory: PathBuf) -> Self {
        Self {
            program,
            arguments,
            directory,
            process: None,
            wanted: false,
            starts: 0,
            start_at: Timestamp(0),
            stillborn: 0,
            fatal: None,
            problem: None,
        }
    }

    /// Wants it to run from now on. Once started it stays, at whatever rate it is told, 0 included.
    pub(crate) fn want(&mut self, records: bool) {
        self.wanted |= records;
    }

    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Where it serves its metrics, once it has said so.
    pub(crate) fn metrics(&mut self) -> Option<String> {
        Some(self.process.as_mut()?.metrics()?.to_owned())
    }

    /// Reaps it when it ended, starts it when it is wanted.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn tend(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let log = self.directory.join("logs").join("producer.log");
        // Read first: what it wrote before its end is there then.
        let announced = self.process.as_mut().is_some_and(Process::announced);
        if let Some(status) = self.process.as_mut().and_then(Process::ended) {
            self.process = None;
            self.stillborn = if announced { 0 } else { self.stillborn + 1 };
            self.start_at = now + RESTART_WAIT;
            let said = last_line(&log).map(|line| format!(": {line}")).unwrap_or_default();
            let why = format!("the producer ended with {status}{said}");
            self.problem = Some(why.clone());
            let code = match status.code() {
                Some(2) => Some(Code::Usage),
                _ => (self.stillborn >= TRIES_MAX).then_some(Code::Failed),
            };
            self.fatal = code.map(|code| Fatal { code, why });
        }
        if self.wanted && self.process.is_none() && self.start_at <= now {
            self.starts += 1;
            let identity = self
                .directory
                .join("logs")
                .join(format!("producer.{}.json", self.starts));
            self.process = Some(Process::start(&self.program, &self.arguments, &log, identity, now)?);
        }
        Ok(())
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::KILL);
        }
    }

    /// Asks it to end in good order, its last row written; kills it when `patience` is over. It is reaped.
    pub(crate) async fn stop(&mut self, patience: Duration, now: impl Fn() -> Timestamp) {
        self.wanted = false;
        let deadline = now() + patience;
        while let Some(process) = &mut self.process {
            process.leave();
            if now() >= deadline {
                process.signal(Signal::KILL);
            }
            if process.ended().is_some() {
                self.process = None;
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
