//! What a person sees while a run is at work: a table that is redrawn on a terminal, plain lines elsewhere. On stderr.

use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use kinex_core::experiment::{Spec, Status, Timestamp, World};

use kinex_stage::outcome::live_counts;
use kinex_stage::report::recording::ordinal_key;
use kinex_stage::text::slashed;

use crate::screen::{Frame, Screen, size};

/// Without a terminal, a line is written this often even when nothing changed.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The bars' longest length.
const BAR_MAX: usize = 40;

/// The display.
pub(crate) struct Live {
    terminal: bool,
    screen: Screen,
    last: Option<(String, Timestamp)>,
}

impl Live {
    /// Nothing shown yet.
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            terminal: std::io::stderr().is_terminal() && !dumb,
            screen: Screen::default(),
            last: None,
        }
    }

    /// Shows the state.
    pub(crate) fn show(&mut self, spec: &Spec, status: &Status, world: &World, now: Timestamp) {
        if self.terminal {
            let frame = frame(spec, status, world, now);
            put(&self.screen.redraw(frame, size(std::io::stderr())));
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
        self.screen.leave();
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
    let line = format!("{step:<28} leases {counts:<16} imbalance {imbalance}  shards {shards}");
    let problem = world.replicas.problem.as_ref().or(world.unseen.as_ref());
    match waiting(status).filter(|_| status.step.is_none()).or(problem.cloned()) {
        Some(waiting) => format!("{line}  {waiting}"),
        None => line,
    }
}

/// What the run waits for.
fn waiting(status: &Status) -> Option<String> {
    let step = status.steps.last().and_then(|step| step.message.clone());
    step.or_else(|| status.message.clone())
}

/// The bars in the middle are what may be left out.
fn frame(spec: &Spec, status: &Status, world: &World, now: Timestamp) -> Frame {
    let step = status.step.clone().unwrap_or_else(|| format!("{:?}", status.phase));
    let (name, seconds) = (&spec.name, elapsed(status, now));
    let head = format!("{name}  {seconds:.1} s  step {step}  verdict {:?}", status.verdict);
    let counts = counts(world);
    let most = counts.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
    let bar = |(name, count): &(String, usize)| {
        let bar = "█".repeat(count * BAR_MAX.min(most * 2) / most);
        format!("  {name:<34.34} {count:>4}  {bar}")
    };
    let open = world.stream.shards.iter().filter(|shard| shard.open).count();
    let total = world.stream.shards.len();
    let (unowned, imbalance) = status.leases.as_ref().map_or((0, 0), |l| (l.unassigned, l.imbalance));
    let closed = total - open;
    let r = &world.records;
    Frame {
        head: vec![head],
        body: counts.iter().map(bar).collect(),
        tail: vec![
            format!("  shards {total} total, {open} open, {closed} closed   unowned {unowned}   imbalance {imbalance}"),
            format!(
                "  records {} produced, {} delivered, {} missing",
                r.produced, r.delivered, r.missing
            ),
            format!("  {}", waiting(status).unwrap_or_default().replace('\n', " ")),
        ],
    }
}
