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

/// The size of a terminal that does not say its own.
const SIZE: Size = Size { rows: 24, columns: 80 };

/// The display.
pub(crate) struct Live {
    terminal: bool,
    /// The widths of the lines that were drawn last.
    drawn: Vec<usize>,
    last: Option<(String, Timestamp)>,
}

/// How much a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    rows: usize,
    columns: usize,
}

impl Size {
    /// That of the terminal at stderr.
    fn of_stderr() -> Self {
        match rustix::termios::tcgetwinsize(std::io::stderr()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Self {
                rows: size.ws_row.into(),
                columns: size.ws_col.into(),
            },
            _ => SIZE,
        }
    }
}

impl Live {
    /// Nothing shown yet.
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            terminal: std::io::stderr().is_terminal() && !dumb,
            drawn: Vec::new(),
            last: None,
        }
    }

    /// Shows the state.
    pub(crate) fn show(&mut self, spec: &Spec, status: &Status, world: &World, now: Timestamp) {
        if self.terminal {
            let size = Size::of_stderr();
            let lines = fit(screen(spec, status, world, now), size);
            put(&redraw(&self.drawn, &lines, size));
            self.drawn = lines.iter().map(|line| line.chars().count()).collect();
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
        self.drawn.clear();
    }
}

/// What is shown, by its parts: the bars in the middle are what may be left out.
struct Screen {
    head: String,
    bars: Vec<String>,
    foot: Vec<String>,
}

/// As many lines as the terminal has, less the one that the cursor stands on, none longer than it is wide: what scrolls
/// away cannot be drawn over.
fn fit(screen: Screen, size: Size) -> Vec<String> {
    let Screen { head, mut bars, foot } = screen;
    let rows = size.rows.saturating_sub(1).max(1);
    let room = rows.saturating_sub(1 + foot.len());
    if bars.len() > room {
        let shown = room.saturating_sub(1);
        let hidden = bars.len() - shown;
        bars.truncate(shown);
        if room > 0 {
            bars.push(format!("  ... and {hidden} more workers"));
        }
    }
    let lines = std::iter::once(head).chain(bars).chain(foot).take(rows);
    lines
        .map(|line| {
            line.chars()
                .take(size.columns)
                .collect::<String>()
                .trim_end()
                .to_owned()
        })
        .collect()
}

/// The text that draws `lines` over those that were drawn before, whose widths these are. A terminal that has become
/// narrower has broken them.
fn redraw(before: &[usize], lines: &[String], size: Size) -> String {
    let up: usize = before.iter().map(|width| width.div_ceil(size.columns).max(1)).sum();
    let mut out = String::new();
    if up > 0 {
        let _ = write!(out, "\r\x1b[{}A\x1b[J", up.min(size.rows - 1).max(1));
    }
    for line in lines {
        out.push_str(line);
        out.push('\n');
    }
    out
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

fn screen(spec: &Spec, status: &Status, world: &World, now: Timestamp) -> Screen {
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
    Screen {
        head,
        bars: counts.iter().map(bar).collect(),
        foot: vec![
            format!("  shards {total} total, {open} open, {closed} closed   unowned {unowned}   imbalance {imbalance}"),
            format!(
                "  records {} produced, {} delivered, {} missing",
                r.produced, r.delivered, r.missing
            ),
            format!("  {}", waiting(status).unwrap_or_default().replace('\n', " ")),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(workers: usize) -> Screen {
        Screen {
            head: "twelve  1.0 s".to_owned(),
            bars: (0..workers).map(|n| format!("  worker-{n}  ██")).collect(),
            foot: vec!["  shards".to_owned(), "  records".to_owned(), "  waits".to_owned()],
        }
    }

    fn check(workers: usize, rows: usize, columns: usize, expected: &[&str]) {
        let lines = fit(screen(workers), Size { rows, columns });
        assert_eq!(lines, expected, "{workers} workers on {rows} x {columns}");
    }

    #[test]
    fn table_larger_than_the_terminal_is_cut_to_it() {
        let all = [
            "twelve  1.0 s",
            "  worker-0  ██",
            "  worker-1  ██",
            "  shards",
            "  records",
            "  waits",
        ];
        check(2, 10, 80, &all);
        check(2, 7, 80, &all);
        let cut = [
            "twelve  1.0 s",
            "  worker-0  ██",
            "  ... and 11 more workers",
            "  shards",
            "  records",
            "  waits",
        ];
        check(12, 7, 80, &cut);
        check(
            12,
            6,
            80,
            &[
                "twelve  1.0 s",
                "  ... and 12 more workers",
                "  shards",
                "  records",
                "  waits",
            ],
        );
        check(12, 3, 80, &["twelve  1.0 s", "  shards"]);
        check(1, 1, 80, &["twelve  1.0 s"]);
        check(1, 10, 8, &["twelve", "  worker", "  shards", "  record", "  waits"]);
    }

    #[test]
    fn terminal_made_narrower_is_drawn_over_from_the_first_broken_line() {
        let lines = ["a".to_owned()];
        assert_eq!(redraw(&[], &lines, Size { rows: 24, columns: 80 }), "a\n");
        assert_eq!(
            redraw(&[70, 10], &lines, Size { rows: 24, columns: 80 }),
            "\r\x1b[2A\x1b[Ja\n"
        );
        assert_eq!(
            redraw(&[70, 10], &lines, Size { rows: 24, columns: 40 }),
            "\r\x1b[3A\x1b[Ja\n"
        );
        assert_eq!(
            redraw(&[70, 10], &lines, Size { rows: 3, columns: 10 }),
            "\r\x1b[2A\x1b[Ja\n"
        );
    }
}
