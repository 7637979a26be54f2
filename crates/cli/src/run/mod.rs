//! `kinex run`: plays an experiment on this machine, with a process for every consumer.
//!
//! Expected flow: load the manifest, connect (or serve the embedded endpoints), then look, decide, store the status,
//! carry out, until the run has ended; then stop the processes, read the audit once more and write the report.

mod closing;
mod directory;
mod effects;
mod files;
mod fleet;
mod live;
mod manifest;
mod process;
mod producer;
mod scrape;
mod session;

use std::path::PathBuf;

use crate::endpoint::Endpoint;
use crate::exit::Code;
use crate::output::Format;

pub(crate) use manifest::load;

/// Plays an experiment on this machine and writes its report.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest: a KinesisExperiment in YAML
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
    /// Write report, logs and status into this directory [default: reports/NAME-TIME]
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// Give up after this long: 90s, 10m
    #[arg(long, value_name = "DURATION")]
    pub(crate) deadline: Option<String>,
    /// Change a field of the manifest: `strategy=Stealing` (of spec.consumers), `producer.recordsPerSecond=100`
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// Do not say which processes have ended, so that a dead worker's leases wait for the failover time
    #[arg(long)]
    pub(crate) no_witness: bool,
    /// Serve /metrics of the run here, e.g. 127.0.0.1:9090, and let every program serve its own: DIR/targets.json
    /// tells Prometheus where (file_sd_configs)
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_addr: Option<String>,
    /// Keep stream and tables, whatever deletionPolicy says
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Runs it to its end.
pub(crate) fn run(args: &Args, output: Format) -> anyhow::Result<Code> {
    let spec = manifest::spec(args)?;
    files::raise_limit(&spec)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async { Box::pin(session::play(args, spec, output)).await })
}
