//! `monitor`, `view-dist`, `analyze`, `timeline`: who has how many leases, once or again and again.

use std::time::Duration;

use serde::Serialize;

use super::snapshot::{Distribution, Snapshot};
use kinex_stage::text::slashed;
use kinex_telemetry::Interrupts;

use crate::endpoint::{Connected, Target};
use crate::exit::Code;
use crate::output::{Format, Shown, interactive, line, show, show_next};

/// How often, and until when.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Look again and again
    #[arg(short, long)]
    watch: bool,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = period)]
    interval: f64,
    /// Exit 0 as soon as the leases are balanced
    #[arg(long)]
    until_balanced: bool,
    /// With --until-balanced: exit 4 after so many seconds
    #[arg(long, value_name = "SECONDS", requires = "until_balanced", value_parser = period)]
    timeout: Option<f64>,
}

/// When to look.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TimelineArgs {
    #[command(flatten)]
    target: Target,
    /// Seconds from one line to the next
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
pub(crate) async fn view(target: &Target, output: Format) -> anyhow::Result<Code> {
    let at = target.connect().await?;
    show(output, &Snapshot::read(&at).await?.distribution(&at))?;
    Ok(Code::Done)
}

/// `kinex analyze`: the figures and a verdict, which is also the exit code.
pub(crate) async fn analyze(target: &Target, output: Format) -> anyhow::Result<Code> {
    let at = target.connect().await?;
    let distribution = Snapshot::read(&at).await?.distribution(&at);
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
        done = Box::pin(command) => done,
        () = tokio::time::sleep(limit.unwrap_or(Duration::MAX)) => Ok(Code::TimedOut),
        _ = interrupts.next() => Ok(interrupted),
    }
}

async fn look_on(args: &Args, output: Format) -> anyhow::Result<Code> {
    let at = args.target.connect().await?;
    let redraw = interactive() && matches!(output, Format::Table | Format::Wide);
    let mut drawn = 0;
    loop {
        let distribution = Snapshot::read(&at).await?.distribution(&at);
        if args.watch && redraw {
            let text = format!(
                "{}  {} at {}\n\n{}",
                now(),
                at.stream,
                at.label,
                distribution.text(output == Format::Wide)
            );
            let up = if drawn > 0 {
                format!("\x1b[{drawn}A\x1b[J")
            } else {
                String::new()
            };
            line(&format!("{up}{text}"))?;
            drawn = text.lines().count();
        } else if args.watch || args.until_balanced {
            show_next(output, &distribution)?;
        } else {
            show(output, &distribution)?;
            return Ok(Code::Done);
        }
        if args.until_balanced && distribution.balanced {
            return Ok(Code::Done);
        }
        tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
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
        format!(
            "{}  workers {}  leases {counts}  unassigned {}  imbalance {}  shards {}  {state}",
            self.at,
            d.workers.len(),
            d.unassigned,
            d.imbalance,
            slashed([d.shards.total, d.shards.open, d.shards.closed]),
        )
    }
}

/// `kinex timeline`: a line every ten seconds.
pub(crate) async fn timeline(args: &TimelineArgs, output: Format) -> anyhow::Result<Code> {
    let lines = async {
        let at = args.target.connect().await?;
        let mut written = 0;
        loop {
            show_next(output, &look(&at).await?)?;
            written += 1;
            if args.count == Some(written) {
                return Ok(Code::Done);
            }
            tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
        }
    };
    interruptible(None, Code::Done, lines).await
}

async fn look(at: &Connected) -> anyhow::Result<TimelineLine> {
    Ok(TimelineLine {
        at: now(),
        distribution: Snapshot::read(at).await?.distribution(at),
    })
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.0}")
}
