//! The command tree.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::exit::{Code, HELP};
use crate::output::Format;
use crate::tools;

/// Repeatable rebalancing experiments on Kinesis consumer fleets.
#[derive(Debug, Parser)]
#[command(name = "kinex", version, after_help = HELP, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Args {
    /// The format of the data on stdout.
    #[arg(short, long, global = true, value_enum, default_value_t, env = "KINEX_OUTPUT")]
    pub(crate) output: Format,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Everything `kinex` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compare the reports of two runs, side by side.
    Diff {
        /// The first report: its directory or its summary.json.
        a: PathBuf,
        /// The second report.
        b: PathBuf,
    },
    /// Print the JSON Schema of a run's summary.json.
    Schema,
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one per command.
    Man {
        /// Write the pages into this directory.
        #[arg(long)]
        directory: Option<PathBuf>,
    },
}

impl Command {
    /// Runs the command to its end.
    pub(crate) fn run(self, output: Format) -> anyhow::Result<Code> {
        match self {
            Self::Diff { a, b } => tools::diff::run(&a, &b, output),
            Self::Schema => tools::generate::schema(),
            Self::Completions { shell } => tools::generate::completions(shell),
            Self::Man { directory } => tools::generate::man(directory.as_deref()),
        }
    }
}
