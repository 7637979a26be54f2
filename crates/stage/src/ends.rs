//! The ends of workers' processes, for whoever decides which of them nobody asked for.

use std::time::Duration;

use kinex_core::experiment::{ProcessEnd, Timestamp};
use kinex_core::lease::Process;

/// More than end between two decisions.
const KEPT: usize = 1_000;

/// The ends that were seen, in their order. Of one process the first word counts.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    all: Vec<ProcessEnd>,
}

impl Ends {
    /// A process was seen to have ended, or to be ended, now.
    pub fn note(&mut self, process: Process, now: Timestamp, why: String) {
        let Process { worker, incarnation } = process;
        if self.all.iter().any(|end| end.incarnation == incarnation) {
            return;
        }
        // Later than the one before, also when the clock was set back: decisions tell new ends by their time.
        let next = self.all.last().map(|last| last.at + Duration::from_millis(1));
        let end = ProcessEnd {
            worker,
            incarnation,
            at: next.map_or(now, |next| next.max(now)),
            why,
        };
        self.all.push(end);
        let above = self.all.len().saturating_sub(KEPT);
        self.all.drain(..above);
    }

    /// Those that were noted, oldest first.
    pub fn all(&self) -> &[ProcessEnd] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(incarnation: &str) -> Process {
        Process {
            worker: "w-0".into(),
            incarnation: incarnation.into(),
        }
    }

    #[test]
    fn first_word_about_a_process_counts_and_times_only_grow() {
        let mut ends = Ends::default();
        ends.note(process("a"), Timestamp(5_000), "evicted".to_owned());
        ends.note(process("a"), Timestamp(6_000), "exit code 0".to_owned());
        ends.note(process("b"), Timestamp(1_000), "killed".to_owned());
        let seen: Vec<_> = ends.all().iter().map(|end| (end.at.0, end.why.as_str())).collect();
        assert_eq!(seen, [(5_000, "evicted"), (5_001, "killed")]);
    }
}
