//! What a person sees while a run is at work: a table that is redrawn on a terminal, plain lines elsewhere. On stderr.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use kinex_core::experiment::{Spec, Status, Timestamp, World};

use kinex_stage::outcome::live_counts;
use kinex_stage::report::recording::ordinal_key;
use kinex_stage::text::slashed;

/// Without a terminal, a line is written this often even when nothing changed.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The bars' longest length.
const BAR_MAX: usize = 40;

/// The display.
pub(crate) struct Live {
    terminal: bool,
    drawn: usize,
    last: Option<(String, Timestamp)>,
}

impl Live {
    /// Nothing shown yet.
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            terminal: std::io::stderr().is_terminal() && !dumb,
            drawn: 0,
            last: None,
        }
    }

    /// Shows the state.
    pub(crate) fn show(&mut self, spec: &Spec, status: &Status, world: &World, now: Timestamp) {
        if self.terminal {
            let text = screen(spec, status, world, now);
            let mut out = String::new();
            if self.drawn > 0 {
                let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
            }
            out.push_str(&text);
            self.drawn = text.lines().count();
            put(&out);
        } else {
            let state = state(status, world);
            let due = self
                .last
                .as_ref()
                .is_none_or(|(last, at)| *last != state || now.since(*at) >= LINE_EVERY);
            if due {
                put(&format!("{:7.1} s  {state}\n", elapsed(status, now)));
                self.last = Some((state, now));
            }
        }
    }

    /// Leaves what is shown where it is; what is written next goes below it.
    pub(crate) fn leave(&mut self) {
        self.drawn = 0;
    }
}

fn put(text: &str) {
    // Nobody reads it: no reason to end a run.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn elapsed(status: &Status, now: Timestamp) -> f64 {
    status
        .started_at
        .map_or(0.0, |start| status.finished_at.unwrap_or(now).seconds_after(start))
}

/// The counts in the order of the workers' numbers.
fn counts(world: &World) -> Vec<(String, usize)> {
    let mut counts: Vec<_> = live_counts(world).into_iter().collect();
    counts.sort_by_key(|(name, _)| ordinal_key(name));
    counts
}

fn state(status: &Status, world: &World) -> String {
    let counts = slashed(counts(world).iter().map(|(_, n)| *n));
    let open = world.stream.shards.iter().filter(|shard| shard.open).count();
    let total = world.stream.shards.len();
    let step = status.step.clone().unwrap_or_else(|| format!("{:?}", status.phase));
    let imbalance = status.leases.as_ref().map_or(0, |leases| leases.imbalance);
    let shards = slashed([total, open, total - open]);
    format!("{step:<28} leases {counts:<16} imbalance {imbalance}  shards {shards}")
}

fn screen(spec: &Spec, status: &Status, world: &World, now: Timestamp) -> String {
    let mut out = String::new();
    let step = status.step.clone().unwrap_or_else(|| format!("{:?}", status.phase));
    let _ = writeln!(
        out,
        "{}  {:.1} s  step {step}  verdict {:?}",
        spec.name,
        elapsed(status, now),
        status.verdict
    );
    let counts = counts(world);
    let most = counts.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
    for (name, count) in &counts {
        let bar = "█".repeat(count * BAR_MAX.min(most * 2) / most);
        let _ = writeln!(out, "  {name:<34.34} {count:>4}  {bar}");
    }
    let open = world.stream.shards.iter().filter(|shard| shard.open).count();
    let total = world.stream.shards.len();
    let (unowned, imbalance) = status.leases.as_ref().map_or((0, 0), |l| (l.unassigned, l.imbalance));
    let _ = writeln!(
        out,
        "  shards {total} total, {open} open, {} closed   unowned {unowned}   imbalance {imbalance}",
        total - open
    );
    let r = &world.records;
    let _ = writeln!(
        out,
        "  records {} produced, {} delivered, {} missing",
        r.produced, r.delivered, r.missing
    );
    let waits = status
        .steps
        .last()
        .and_then(|step| step.message.clone())
        .or_else(|| status.message.clone());
    let _ = writeln!(out, "  {:.76}", waits.unwrap_or_default());
    out
}
