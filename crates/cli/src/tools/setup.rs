//! `kinex start`, `clean`, `check`: the stream and the tables.

use std::fmt::Write as _;

use kinex_aws::{Fault, FaultKind, Leases, StreamStatus, StreamSummary};
use kinex_kcl::adoption::foreign_lease;
use kinex_kcl::ports::LeaseStore;
use serde::Serialize;

use crate::endpoint::{Connected, Target};
use crate::exit::{Code, Stop, code_of};
use crate::output::{Format, Shown, show, table};

/// What to make.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    target: Target,
    /// Open shards, when the stream is made
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    shards: u32,
}

/// What to remove.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CleanArgs {
    #[command(flatten)]
    target: Target,
    /// Do it: stream, records, leases and facts are gone for good
    #[arg(long)]
    yes: bool,
}

/// Makes the stream and the tables that are missing.
pub(crate) async fn start(args: &StartArgs) -> anyhow::Result<Code> {
    let at = args.target.connect().await?;
    let stream = at
        .clients
        .streams()
        .create(&at.stream, args.shards)
        .await
        .map_err(|fault| at.explain(fault))?;
    at.clients
        .tables(&at.application)
        .ensure()
        .await
        .map_err(|fault| at.explain(fault))?;
    of_this_stream(&at, &stream).await?;
    eprintln!(
        "stream {} is {:?} with {} open shards at {}",
        stream.name, stream.status, stream.open_shards, at.label
    );
    eprintln!("tables {0} and {0}-workers are ready", at.application);
    Ok(Code::Done)
}

/// Removes the stream and the tables.
pub(crate) async fn clean(args: &CleanArgs) -> anyhow::Result<Code> {
    let at = args.target.connect().await?;
    if !args.yes {
        let what = format!(
            "stream {} and tables {1}, {1}-workers at {2}",
            at.stream, at.application, at.label
        );
        return Err(Stop::usage(format!("this deletes {what}"))
            .next("say --yes when that is meant")
            .into());
    }
    at.clients
        .streams()
        .delete(&at.stream)
        .await
        .map_err(|fault| at.explain(fault))?;
    at.clients
        .tables(&at.application)
        .delete()
        .await
        .map_err(|fault| at.explain(fault))?;
    eprintln!("stream {} and the tables of {} are gone", at.stream, at.application);
    Ok(Code::Done)
}

/// What was checked.
#[derive(Debug, Serialize)]
struct Checked {
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    ok: bool,
    detail: String,
}

impl Shown for Checked {
    fn text(&self, _wide: bool) -> String {
        let rows = self.checks.iter().map(|check| {
            vec![
                check.what.to_owned(),
                if check.ok { "ok" } else { "FAILED" }.to_owned(),
                check.detail.clone(),
            ]
        });
        table(["check", "", "detail"], rows.collect())
    }
}

/// Looks whether everything that a consumer needs is there and allowed. Changes nothing.
pub(crate) async fn check(target: &Target, output: Format) -> anyhow::Result<Code> {
    let at = target.connect().await?;
    let mut worst = Code::Done;
    let mut checks = Vec::new();
    let mut note = |what, result: Result<String, anyhow::Error>| {
        if let Err(error) = &result {
            worst = if worst == Code::Done { code_of(error) } else { worst };
        }
        let ok = result.is_ok();
        checks.push(Check {
            what,
            ok,
            detail: result.unwrap_or_else(|error| format!("{error:#}")),
        });
    };
    note("endpoint", reachable(&at).await);
    note("stream", stream(&at).await);
    note("tables", tables(&at).await);
    note("leases", leases(&at).await);
    show(output, &Checked { checks })?;
    Ok(worst)
}

async fn reachable(at: &Connected) -> anyhow::Result<String> {
    let streams = at.clients.streams();
    let names = at.ask(|| streams.list()).await?;
    Ok(format!("{} answers, {} streams", at.label, names.len()))
}

async fn stream(at: &Connected) -> anyhow::Result<String> {
    let streams = at.clients.streams();
    let stream = at.ask(|| streams.describe(&at.stream)).await?;
    let said = format!(
        "{} is {:?}, {} open shards",
        stream.name, stream.status, stream.open_shards
    );
    if stream.status == StreamStatus::Deleting {
        return Err(Stop::usage(said).next("wait until it is gone").into());
    }
    Ok(said)
}

/// What every consumer will refuse: leases of another stream, maybe of an earlier one of the same name.
async fn leases(at: &Connected) -> anyhow::Result<String> {
    let streams = at.clients.streams();
    let stream = match streams.describe(&at.stream).await {
        Ok(stream) => stream,
        Err(fault) if fault.kind == FaultKind::Missing => return Ok("no stream to hold them against".to_owned()),
        Err(fault) => return Err(at.explain(fault)),
    };
    of_this_stream(at, &stream).await?;
    let scan = match at.clients.leases(&at.application).leases().await {
        Ok(scan) => scan,
        Err(fault) if fault.kind == FaultKind::Missing => return Ok("none yet".to_owned()),
        Err(fault) => return Err(at.explain(fault)),
    };
    let mut said = format!("{} of this stream", scan.leases.len());
    if !scan.foreign.is_empty() {
        let _ = write!(
            said,
            ", {} rows of something else that are left alone",
            scan.foreign.len()
        );
    }
    if !scan.unreadable.is_empty() {
        let _ = write!(said, ", {} that cannot be read", scan.unreadable.len());
    }
    Ok(said)
}

/// Fails with what every consumer would end with: the leases are those of another stream.
async fn of_this_stream(at: &Connected, stream: &StreamSummary) -> anyhow::Result<()> {
    let leases = at.clients.leases(&at.application);
    let fault = match leases.bound().await {
        Ok(Some(_)) => at
            .clients
            .tables(&at.application)
            .bound_to(&stream.identity)
            .await
            .err(),
        // A lease table of the Java library has no workers' table beside it.
        Ok(None) => foreign(at, &leases).await?,
        Err(fault) if fault.kind == FaultKind::Missing => foreign(at, &leases).await?,
        Err(fault) => Some(fault),
    };
    fault.map_or(Ok(()), |fault| Err(at.explain(fault)))
}

async fn foreign(at: &Connected, leases: &Leases) -> anyhow::Result<Option<Fault>> {
    match foreign_lease(leases, &at.clients.reader(&at.stream)).await {
        Ok(None) => Ok(None),
        Ok(Some(foreign)) => Err(Stop::usage(format!("table {} at {}", at.application, at.label))
            .source(foreign)
            .into()),
        Err(fault) if fault.kind == FaultKind::Missing => Ok(None),
        Err(fault) => Ok(Some(fault)),
    }
}

async fn tables(at: &Connected) -> anyhow::Result<String> {
    match at.clients.tables(&at.application).check().await {
        Ok(()) => Ok(format!("{0} and {0}-workers have the right shape", at.application)),
        // Consumers make them.
        Err(fault) if fault.kind == FaultKind::Missing => {
            Ok(format!("{} is not there yet; a consumer makes it", at.application))
        }
        Err(fault) => Err(at.explain(fault)),
    }
}
