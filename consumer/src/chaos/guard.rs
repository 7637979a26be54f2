//! The process beside a consumer that stops it and lets it go on: a stopped process cannot wake itself.
//!
//! It is this very program with the hidden command `chaos-guard`, started before it is needed and told what to do over
//! its stdin. It does both, so that a consumer without a guard is never stopped, and it ends with the consumer.

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal};

/// The guard of this process.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Guard {
    /// Starts it.
    ///
    /// # Errors
    /// Why this process cannot be frozen.
    pub(super) fn start() -> Result<Self, String> {
        if getpid() == Pid::INIT {
            return Err(
                "as pid 1 this process would ignore the signal: give its pod shareProcessNamespace: true".to_owned(),
            );
        }
        let failed = |error: std::io::Error| format!("the guard cannot be started: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg("chaos-guard")
            .stdin(Stdio::piped())
            // An interrupt at a terminal ends the consumer, and the guard only with it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let orders = child.stdin.take();
        Ok(Self { child, orders })
    }

    /// Has this process stopped for so long, from soon on.
    pub(super) fn freeze(&mut self, lasting: Duration) -> std::io::Result<()> {
        let Some(orders) = &mut self.orders else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        writeln!(orders, "{}", lasting.as_millis())?;
        orders.flush()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It ends when nobody can tell it anything any more.
        self.orders = None;
        let _ = self.child.wait();
    }
}

/// What `chaos-guard` does: for each line on stdin, a number of milliseconds, stops the parent for so long. Ends with the
/// parent.
///
/// # Errors
/// When there is no parent to guard.
pub fn run() -> Result<(), String> {
    let parent = getppid().ok_or("chaos-guard is started by a consumer, not by hand")?;
    // Held from now on: whoever gets the parent's number after its end is never meant.
    let parent =
        pidfd_open(parent, PidfdFlags::empty()).map_err(|error| format!("cannot watch the parent: {error}"))?;
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines();
        for millis in lines.map_while(Result::ok).filter_map(|line| line.trim().parse().ok()) {
            if tell.send(Duration::from_millis(millis)).is_err() {
                return;
            }
        }
    });
    while let Ok(lasting) = told.recv() {
        if pidfd_send_signal(&parent, Signal::STOP).is_err() {
            return Ok(());
        }
        // Nobody can order anything meanwhile; a parent that is killed closes the line.
        let gone = told.recv_timeout(lasting) == Err(RecvTimeoutError::Disconnected);
        let woken = pidfd_send_signal(&parent, Signal::CONT);
        if gone || woken.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
