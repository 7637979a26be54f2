//! One child process: started with its log, watched, signalled, reaped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use kinex_core::experiment::Timestamp;
use kinex_core::id::Incarnation;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::process::{Child, Command};

/// What a child says of itself at its start.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Identity {
    /// The process that says so.
    pub(crate) pid: u32,
    /// Which process start it is; producers have none.
    #[serde(default)]
    pub(crate) incarnation: Option<String>,
    /// Where it serves its metrics.
    #[serde(default)]
    pub(crate) metrics: Option<String>,
}

/// A child that has not been reaped yet.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    identity_file: PathBuf,
    identity: Option<Identity>,
    incarnation: Option<Incarnation>,
    /// When it was started.
    pub(crate) started: Timestamp,
    /// Since when it is stopped (SIGSTOP), by our own doing.
    pub(crate) frozen: Option<Timestamp>,
    /// Whether it was told to leave.
    pub(crate) leaving: bool,
}

impl Process {
    /// Starts `program arguments`, with stdout and stderr going to `log`.
    ///
    /// The child leaves by itself when we are gone: it holds the other end of a pipe that only we hold open, and it has
    /// a process group of its own, so that the kernel ends even a stopped one with us.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        log: &Path,
        identity_file: PathBuf,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        // What an earlier process left under this name says nothing about the one that begins now.
        match std::fs::remove_file(&identity_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", identity_file.display()));
            }
            _ => {}
        }
        let open = || File::options().create(true).append(true).open(log);
        let out = open().with_context(|| format!("cannot open {}", log.display()))?;
        let err = out.try_clone().context("cannot share a log")?;
        let child = Command::new(program)
            .args(arguments)
            .arg("--identity-file")
            .arg(&identity_file)
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = id.context("a child without a process id")?;
        Ok(Self {
            child,
            pid,
            identity_file,
            identity: None,
            incarnation: None,
            started: now,
            frozen: None,
            leaving: false,
        })
    }

    /// Which start of its worker the process is, once it has said so.
    pub(crate) fn incarnation(&mut self) -> Option<&Incarnation> {
        if self.incarnation.is_none() {
            self.incarnation = self
                .identity()
                .and_then(|identity| identity.incarnation.clone())
                .map(Incarnation::from);
        }
        self.incarnation.as_ref()
    }

    /// Whether it came as far as to say who it is.
    pub(crate) fn announced(&mut self) -> bool {
        self.identity().is_some()
    }

    /// Where it serves its metrics, once it has said so.
    pub(crate) fn metrics(&mut self) -> Option<&str> {
        self.identity()?.metrics.as_deref()
    }

    fn identity(&mut self) -> Option<&Identity> {
        if self.identity.is_none() {
            let text = std::fs::read_to_string(&self.identity_file).ok();
            let said: Option<Identity> = text.and_then(|text| serde_json::from_str(&text).ok());
            // A process that outlived its runner may write here as well.
            self.identity =
                said.filter(|identity| i64::from(identity.pid) == i64::from(self.pid.as_raw_nonzero().get()));
        }
        self.identity.as_ref()
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // An error says that it cannot be waited for, which a child that is not reaped never is.
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal. The process is not reaped yet, so the id cannot be anybody else's.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.child.id().is_some() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Asks it to leave in good order, and wakes it up if need be.
    pub(crate) fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.signal(Signal::TERM);
            self.thaw();
        }
    }

    /// Stops the whole process.
    pub(crate) fn freeze(&mut self, now: Timestamp) {
        self.signal(Signal::STOP);
        self.frozen.get_or_insert(now);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&mut self) {
        if self.frozen.take().is_some() {
            self.signal(Signal::CONT);
        }
    }
}

/// What a log ends with, for messages: the error that the program ended with, or else its last line.
pub(crate) fn last_line(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let last: Vec<&str> = text
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(5)
        .collect();
    let error = last.iter().find(|line| line.starts_with("error: "));
    let line = error.or(last.first())?;
    Some(line.trim().chars().take(300).collect())
}
