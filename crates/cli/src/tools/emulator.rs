//! `kinex emulator`: the embedded endpoints as a process of their own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use kinex_aws::{Access, Clients};
use kinex_embedded::{DeadPort, Endpoints, Options, Rule, StartError};
use kinex_telemetry::Interrupts;
use serde::Serialize;

use crate::endpoint::EMULATOR_PORT;
use crate::exit::{Code, Stop};
use crate::output::{Format, Shown, show_next, table};

/// Serves Kinesis and DynamoDB on this machine, in memory, until it is told to stop.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; one that others can reach serves everyone, so mind the network
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: IpAddr,
    /// Port of both services, or of Kinesis with --dynamodb-port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = EMULATOR_PORT)]
    port: u16,
    /// A port of its own for DynamoDB; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    dynamodb_port: Option<u16>,
    /// Create this stream at the start: NAME:SHARDS; may be repeated
    #[arg(long, value_name = "NAME:SHARDS", value_parser = stream)]
    create_stream: Vec<(String, u32)>,
    /// Do not enforce the rates that Kinesis enforces
    #[arg(long)]
    no_limits: bool,
    /// Begin with these rules of the fault plan: a JSON list, as docs/emulator.md describes it
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Accept connections on this port too and never answer them; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    silent_port: Option<u16>,
    /// Let attempts to connect to this port hang; 0 takes a free one
    #[arg(long, value_name = "PORT")]
    hanging_port: Option<u16>,
    /// Write the process id there
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Leave when stdin is closed
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// Where it listens.
#[derive(Debug, Serialize)]
struct Listening {
    kinesis: String,
    dynamodb: String,
    streams: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hanging: Option<String>,
}

impl Shown for Listening {
    fn text(&self, _wide: bool) -> String {
        let row = |service: &str, url: &str| vec![service.to_owned(), url.to_owned()];
        let mut rows = vec![row("kinesis", &self.kinesis), row("dynamodb", &self.dynamodb)];
        rows.extend(self.silent.as_deref().map(|url| row("silent", url)));
        rows.extend(self.hanging.as_deref().map(|url| row("hanging", url)));
        table(["service", "endpoint"], rows)
    }
}

fn stream(text: &str) -> Result<(String, u32), String> {
    let split = text
        .split_once(':')
        .and_then(|(name, shards)| Some((name, shards.parse::<u32>().ok()?)));
    match split {
        Some((name, shards)) if !name.is_empty() && shards > 0 => Ok((name.to_owned(), shards)),
        _ => Err("expected NAME:SHARDS, such as kcl-experiment:20".to_owned()),
    }
}

/// Serves until a signal asks it to end.
pub(crate) fn run(args: &Args, output: Format) -> anyhow::Result<Code> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(args, output))
}

async fn serve(args: &Args, output: Format) -> anyhow::Result<Code> {
    let mut interrupts = Interrupts::listen()?;
    let rules = args.faults.as_deref().map(rules).transpose()?.unwrap_or_default();
    let endpoints = Endpoints::start(Options {
        addr: SocketAddr::new(args.address, args.port),
        dynamodb_port: args.dynamodb_port.unwrap_or(0),
        one_port: args.dynamodb_port.is_none(),
        limits: !args.no_limits,
        ..Options::default()
    })
    .await
    .map_err(refused)?;
    let silent = match args.silent_port {
        Some(port) => Some(dead(DeadPort::silent(SocketAddr::new(args.address, port)).await, port)?),
        None => None,
    };
    let hanging = match args.hanging_port {
        Some(port) => Some(dead(
            DeadPort::unconnectable(SocketAddr::new(args.address, port)).await,
            port,
        )?),
        None => None,
    };
    let access = Access {
        kinesis_endpoint: Some(endpoints.kinesis_url()),
        dynamodb_endpoint: Some(endpoints.dynamodb_url()),
        ..Access::default()
    };
    let clients = Clients::connect(&access).await?;
    let mut streams = Vec::new();
    for (name, shards) in &args.create_stream {
        clients.streams().create(name, *shards).await?;
        streams.push(name.clone());
    }
    // The streams are there before anything goes wrong.
    endpoints.faults().set(rules);
    if let Some(path) = &args.pid_file {
        std::fs::write(path, format!("{}\n", std::process::id()))?;
    }
    let (kinesis, dynamodb) = (endpoints.kinesis_url(), endpoints.dynamodb_url());
    show_next(
        output,
        &Listening {
            kinesis,
            dynamodb,
            streams,
            silent: silent.as_ref().map(DeadPort::url),
            hanging: hanging.as_ref().map(DeadPort::url),
        },
    )?;
    let parent = async {
        if args.exit_with_parent {
            let mut stdin = tokio::io::stdin();
            let mut sink = tokio::io::sink();
            let _ = tokio::io::copy(&mut stdin, &mut sink).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = interrupts.next() => {}
        () = parent => {}
    }
    endpoints.stop().await;
    if let Some(path) = &args.pid_file {
        let _ = std::fs::remove_file(path);
    }
    Ok(Code::Done)
}

/// The rules of a file.
fn rules(path: &Path) -> anyhow::Result<Vec<Rule>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Stop::usage(format!("cannot read the fault plan {shown}")).source(error))?;
    let rules = serde_json::from_str(&text)
        .map_err(|error| Stop::usage(format!("{shown} is not a fault plan, a JSON list of rules")).source(error))?;
    Ok(rules)
}

fn dead(port: io::Result<DeadPort>, number: u16) -> anyhow::Result<DeadPort> {
    Ok(port.map_err(|error| Stop::usage(format!("cannot listen on port {number}")).source(error))?)
}

fn refused(error: StartError) -> anyhow::Error {
    // The error itself says what to do next.
    Stop::usage("the emulator cannot start").source(error).into()
}
