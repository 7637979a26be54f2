//! The signals that ask a program to end: Ctrl-C, SIGTERM, and the SIGHUP of a terminal that was closed.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask a program to end.
#[derive(Debug)]
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    /// None under `nohup`, which asks for a program that outlives its terminal.
    hangup: Option<Signal>,
    seen: bool,
}

impl Interrupts {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the process cannot watch for signals.
    pub fn listen() -> std::io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = if ignores_hangup(&status) {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
            seen: false,
        })
    }

    /// Waits for the next one, and names it.
    pub async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        let name = tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            () = hangup => "SIGHUP",
        };
        self.seen = true;
        name
    }

    /// Whether there was any.
    pub fn seen(&self) -> bool {
        self.seen
    }
}

/// Whether a process ignores SIGHUP, by the kernel's `status` file of it.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 1 is the lowest bit.
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangup_under_nohup_is_ignored() {
        assert!(ignores_hangup("Name:\tkinex\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hangup("Name:\tkinex\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
