//! The command tree.

use std::future::Future;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::endpoint::Target;
use crate::exit::{Code, HELP};
use crate::output::Format;
use crate::tools::fleet::FleetArgs;
use crate::{run, tools};

/// Repeatable rebalancing experiments on Kinesis consumer fleets.
#[derive(Debug, Parser)]
#[command(name = "kinex", version, after_help = HELP, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Args {
    /// The format of the data on stdout
    #[arg(short, long, global = true, value_enum, default_value_t, env = "KINEX_OUTPUT")]
    pub(crate) output: Format,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Everything `kinex` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play an experiment on this machine and write its report
    Run(Box<run::Args>),
    /// Summarize a run from its report; exit code 1 unless its verdict is Pass
    Report {
        /// The report: its directory or its summary.json
        report: PathBuf,
    },
    /// Compare the reports of two runs, side by side
    Diff {
        /// The first report: its directory or its summary.json
        a: PathBuf,
        /// The second report
        b: PathBuf,
    },
    /// Check manifests without a cluster, every problem with its place
    Validate {
        /// The manifests
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },

    /// Serve Kinesis and DynamoDB on this machine, in memory
    Emulator(tools::emulator::Args),
    /// Create the stream and the tables that do not exist yet
    Start(tools::setup::StartArgs),
    /// Check that the endpoint, the stream and the tables exist and are usable
    Check(Target),
    /// Delete the stream and the tables
    Clean(tools::setup::CleanArgs),
    /// Run the operator for the KinesisExperiments of a Kubernetes cluster
    Operator {
        #[command(flatten)]
        args: Box<kinex_operator::Args>,
        /// Log lines as JSON
        #[arg(long, env = "KINEX_LOG_JSON")]
        log_json: bool,
    },
    /// Read a stream as one worker, and count and audit its records
    Consumer {
        #[command(flatten)]
        args: Box<kinex_consumer::Args>,
        #[command(flatten)]
        parent_watch: tools::program::ParentWatch,
    },
    /// Stop the parent and let it go on, as its stdin says (started by consumers that obey orders)
    #[command(hide = true)]
    ChaosGuard,
    /// Send numbered records to a stream at a steady rate
    Producer {
        #[command(flatten)]
        args: Box<kinex_producer::Args>,
        #[command(flatten)]
        parent_watch: tools::program::ParentWatch,
    },

    /// Count total, open and closed shards, and audit the hash keys
    Verify(Target),
    /// Show the leases of each worker, live with --watch
    Monitor(tools::watch::Args),
    /// Show the leases of each worker once
    ViewDist(FleetArgs),
    /// Judge the distribution: ideal, CV, verdict; exit code 1 when it is not balanced
    Analyze(FleetArgs),
    /// Write the lease table as JSON, YAML or CSV
    Export(tools::export::Args),
    /// Write a line about the leases every ten seconds
    Timeline(tools::watch::TimelineArgs),
    /// Split shards in the middle
    Split(tools::reshard::SplitArgs),
    /// Merge adjacent shards
    Merge(tools::reshard::MergeArgs),
    /// Scale the workers of a local run
    Scale(tools::reshard::ScaleArgs),
    /// Say what other workers or shards would do to the leases, and change nothing
    Plan(tools::plan::Args),
    /// Simulate a fleet under faults, seed by seed, in virtual time
    Sim(tools::sim::Args),

    /// Print the IAM policy of a program, with the APIs that it uses and no other
    Iam(tools::iam::Args),
    /// Print the CustomResourceDefinition of KinesisExperiment
    Crd,
    /// Print the JSON Schema of a run's summary.json
    Schema,
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one per command
    Man {
        /// Write the pages into this directory
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

impl Command {
    /// Runs the command to its end.
    pub(crate) fn run(self, output: Format) -> anyhow::Result<Code> {
        match self {
            Self::Run(args) => run::run(&args, output),
            Self::Report { report } => tools::report::run(&report, output),
            Self::Diff { a, b } => tools::diff::run(&a, &b, output),
            Self::Validate { files } => tools::validate::validate(&files, output),
            Self::Emulator(args) => tools::emulator::run(&args, output),
            Self::Start(args) => wait(tools::setup::start(&args)),
            Self::Check(target) => wait(tools::setup::check(&target, output)),
            Self::Clean(args) => wait(tools::setup::clean(&args)),
            Self::Operator { args, log_json } => tools::program::operator(*args, log_json),
            Self::Consumer { args, parent_watch } => tools::program::consumer(*args, &parent_watch),
            Self::ChaosGuard => tools::program::chaos_guard(),
            Self::Producer { args, parent_watch } => tools::program::producer(*args, &parent_watch),
            Self::Verify(target) => wait(tools::verify::run(&target, output)),
            Self::Monitor(args) => wait(tools::watch::monitor(&args, output)),
            Self::ViewDist(args) => wait(tools::watch::view(&args, output)),
            Self::Analyze(args) => wait(tools::watch::analyze(&args, output)),
            Self::Export(args) => wait(tools::export::run(&args, output)),
            Self::Timeline(args) => wait(tools::watch::timeline(&args, output)),
            Self::Split(args) => wait(tools::reshard::split(&args, output)),
            Self::Merge(args) => wait(tools::reshard::merge(&args, output)),
            Self::Scale(args) => wait(tools::reshard::scale(&args)),
            Self::Plan(args) => wait(tools::plan::run(&args, output)),
            Self::Sim(args) => tools::sim::run(&args, output),
            Self::Iam(args) => tools::iam::run(args),
            Self::Crd => tools::validate::crd(),
            Self::Schema => tools::generate::schema(),
            Self::Completions { shell } => tools::generate::completions(shell),
            Self::Man { directory } => tools::generate::man(directory.as_deref()),
        }
    }
}

/// Runs a command that only asks and waits.
fn wait(command: impl Future<Output = anyhow::Result<Code>>) -> anyhow::Result<Code> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(Box::pin(command));
    // A look-up of a name that still runs on a thread of its own must not hold up an exit.
    runtime.shutdown_background();
    ended
}
