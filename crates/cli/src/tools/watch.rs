//! `monitor`, `view-dist`, `analyze`, `timeline`: who has how many leases, once or again and again.

use std::time::{Duration, Instant};

use kinex_kcl::ports::FaultKind;
use kinex_stage::text::slashed;
use kinex_telemetry::Interrupts;
use serde::Serialize;

use super::fleet::{Fleet, FleetArgs, State};
use super::snapshot::{Distribution, News, Observed};
use crate::endpoint::Connected;
use crate::exit::{Code, fault_of};
use crate::output::{Format, Shown, draw, interactive, show, show_next};
use crate::screen::{Frame, Screen, size};

/// An endpoint that does not respond for so long has gone for whoever waits for balance there.
const UNSEEN_MAX: Duration = Duration::from_secs(60);
/// From one complaint about an endpoint that does not respond to the next.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// However seldom something is shown, the tables are read this often, so that what has changed is known at once.
const READ_EVERY: Duration = Duration::from_secs(1);

/// How often, and until when.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Look again and again
    #[arg(short, long)]
    watch: bool,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = period)]
    interval: f64,
    /// Exit 0 as soon as the leases are balanced on workers that beat
    #[arg(long, conflicts_with = "once")]
    until_balanced: bool,
    /// With --until-balanced: exit 4 after so many seconds, also while a request is in flight
    #[arg(long, value_name = "SECONDS", requires = "until_balanced", value_parser = period)]
    timeout: Option<f64>,
}

/// When to look.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TimelineArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// Seconds from one line to the next; there is one more as soon as the balance or who lives has changed
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = period)]
    interval: f64,
    /// Stop after so many lines
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

fn period(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds between 0.1 and 86400".to_owned()),
    }
}

/// `kinex view-dist`: the distribution now.
pub(crate) async fn view(args: &FleetArgs, output: Format) -> anyhow::Result<Code> {
    let at = args.target.connect().await?;
    show(output, &Fleet::new(&at, args).judged().await?.distribution(&at))?;
    Ok(Code::Done)
}

/// `kinex analyze`: the figures and a verdict, which is also the exit code.
pub(crate) async fn analyze(args: &FleetArgs, output: Format) -> anyhow::Result<Code> {
    let at = args.target.connect().await?;
    let distribution = Fleet::new(&at, args).judged().await?.distribution(&at);
    show(output, &distribution)?;
    Ok(if distribution.balanced {
        Code::Done
    } else {
        Code::VerdictFailed
    })
}

/// `kinex monitor`: the distribution, live with `--watch`.
pub(crate) async fn monitor(args: &Args, output: Format) -> anyhow::Result<Code> {
    let limit = args.timeout.map(Duration::from_secs_f64);
    // Ctrl-C is the ordinary end of a watch, and no answer to whether the leases are balanced.
    let interrupted = if args.until_balanced {
        Code::Interrupted
    } else {
        Code::Done
    };
    interruptible(limit, interrupted, look_on(args, output)).await
}

/// Holds a time limit and Ctrl-C over whatever a command waits for, an answer that does not come included.
async fn interruptible(
    limit: Option<Duration>,
    interrupted: Code,
    command: impl Future<Output = anyhow::Result<Code>>,
) -> anyhow::Result<Code> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        biased;
        _ = interrupts.next() => Ok(interrupted),
        () = tokio::time::sleep(limit.unwrap_or(Duration::MAX)) => Ok(Code::TimedOut),
        done = Box::pin(command) => done,
    }
}

async fn look_on(args: &Args, output: Format) -> anyhow::Result<Code> {
    let at = args.fleet.target.connect().await?;
    let mut fleet = Fleet::new(&at, &args.fleet);
    if args.watch || args.until_balanced {
        watch(args, &at, fleet, output).await
    } else {
        show(output, &fleet.judged().await?.distribution(&at))?;
        Ok(Code::Done)
    }
}

/// Looks until somebody ends it, or until there is balance when that was asked for.
async fn watch(args: &Args, at: &Connected, mut fleet: Fleet<'_>, output: Format) -> anyhow::Result<Code> {
    let redraw = args.watch && interactive() && matches!(output, Format::Table | Format::Wide);
    let mut screen = Screen::default();
    let mut unseen = Unseen::new(args.until_balanced.then_some(UNSEEN_MAX));
    let interval = Duration::from_secs_f64(args.interval);
    let mut shown: Option<Instant> = None;
    loop {
        let Some(observed) = unseen.bridge(fleet.read().await)? else {
            screen.leave();
            tokio::time::sleep(interval.min(READ_EVERY)).await;
            continue;
        };
        let distribution = observed.distribution(at);
        let balanced = args.until_balanced && distribution.balanced && distribution.unknown == 0;
        if !balanced && shown.is_some_and(|shown| shown.elapsed() < interval) {
            tokio::time::sleep(interval.min(READ_EVERY)).await;
            continue;
        }
        shown = Some(Instant::now());
        if redraw {
            let (header, body, mut tail) = distribution.parts(output == Format::Wide);
            tail.insert(0, String::new());
            let title = format!("{}  {} at {}", now(), at.stream, at.label);
            let frame = Frame {
                head: vec![title, String::new(), header],
                body,
                tail,
            };
            draw(&screen.redraw(frame, size(std::io::stdout())))?;
        } else {
            show_next(output, &distribution)?;
        }
        if balanced {
            return Ok(Code::Done);
        }
        tokio::time::sleep(interval.min(READ_EVERY)).await;
    }
}

/// A watch goes on while its endpoint is away.
struct Unseen {
    /// For how long at most.
    limit: Option<Duration>,
    seen: bool,
    since: Option<Instant>,
    complained: Option<Instant>,
}

impl Unseen {
    fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            seen: false,
            since: None,
            complained: None,
        }
    }

    /// What was read; nothing while the endpoint cannot be read, which is said now and then. At the very first read it is
    /// an error: there may be no such endpoint.
    fn bridge(&mut self, read: anyhow::Result<Observed>) -> anyhow::Result<Option<Observed>> {
        let error = match read {
            Ok(observed) => {
                if let Some(since) = self.since.take() {
                    eprintln!("read again after {:.0} s", since.elapsed().as_secs_f64());
                }
                (self.seen, self.complained) = (true, None);
                return Ok(Some(observed));
            }
            Err(error) => error,
        };
        let passing = fault_of(&error).is_some_and(|fault| {
            matches!(
                fault.kind,
                FaultKind::Unreachable | FaultKind::Throttled | FaultKind::Service
            )
        });
        let since = *self.since.get_or_insert_with(Instant::now);
        if !passing || !self.seen || self.limit.is_some_and(|limit| since.elapsed() > limit) {
            return Err(error);
        }
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            let time = self.limit.map_or("until it can be read".to_owned(), |limit| {
                format!("for {} s", limit.as_secs())
            });
            eprintln!("cannot read, trying again {time}: {error:#}");
            self.complained = Some(Instant::now());
        }
        Ok(None)
    }
}

/// One line of `kinex timeline`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TimelineLine {
    at: String,
    #[serde(flatten)]
    distribution: Distribution,
}

impl Shown for TimelineLine {
    fn text(&self, _wide: bool) -> String {
        let d = &self.distribution;
        let counts = slashed(d.workers.iter().map(|worker| worker.leases as usize));
        let state = match (d.leases, d.balanced) {
            (0, _) => "no leases yet",
            (_, true) => "balanced",
            (_, false) => "not balanced",
        };
        let mut line = format!(
            "{}  workers {}  leases {counts}  unassigned {}  imbalance {}  shards {}  {state}",
            self.at,
            d.workers.len(),
            d.unassigned,
            d.imbalance,
            slashed([d.shards.total, d.shards.open, d.shards.closed]),
        );
        // Who has left is no news; who is silent or dead is.
        for absent in d.absent.iter().filter(|line| line.state != State::Departed) {
            line += &format!("  {} is {}", absent.worker, absent.state.as_str());
        }
        line
    }
}

/// `kinex timeline`: a line every ten seconds, and one when something has changed that the line tells.
pub(crate) async fn timeline(args: &TimelineArgs, output: Format) -> anyhow::Result<Code> {
    let lines = async {
        let at = args.fleet.target.connect().await?;
        let mut fleet = Fleet::new(&at, &args.fleet);
        let mut unseen = Unseen::new(None);
        let interval = Duration::from_secs_f64(args.interval);
        let mut written = 0;
        let mut last: Option<(Instant, News)> = None;
        // The first line would know of nobody whether it lives.
        let mut read = fleet.judged().await;
        loop {
            if let Some(observed) = unseen.bridge(read)? {
                let distribution = observed.distribution(&at);
                let news = distribution.news();
                let due = |(at, before): &(Instant, _)| at.elapsed() >= interval || *before != news;
                if last.as_ref().is_none_or(due) {
                    show_next(
                        output,
                        &TimelineLine {
                            at: now(),
                            distribution,
                        },
                    )?;
                    last = Some((Instant::now(), news));
                    written += 1;
                    if args.count == Some(written) {
                        return Ok(Code::Done);
                    }
                }
            }
            tokio::time::sleep(interval.min(READ_EVERY)).await;
            read = fleet.read().await;
        }
    };
    interruptible(None, Code::Done, lines).await
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.0}")
}
