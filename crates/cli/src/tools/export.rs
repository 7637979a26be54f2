//! `kinex export`: the lease table, with the names that Java tools use.

use serde::Serialize;

use super::snapshot::Snapshot;
use crate::endpoint::Target;
use crate::exit::Code;
use crate::output::{Format, Shown, line, show, table};
use kinex_stage::report::csv;
use kinex_stage::report::recording::LeaseLine;

/// What to write.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Comma-separated values instead of --output
    #[arg(long)]
    csv: bool,
    /// Write to this file instead of stdout: CSV for names that end in .csv, else JSON
    #[arg(long, value_name = "FILE")]
    file: Option<std::path::PathBuf>,
}

/// The rows.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Exported(Vec<LeaseLine>);

impl Shown for Exported {
    fn text(&self, wide: bool) -> String {
        let rows = self.0.iter().map(|lease| {
            let mut row = vec![
                lease.lease_key.clone(),
                lease.lease_owner.clone().unwrap_or_else(|| "-".to_owned()),
                lease.lease_counter.to_string(),
                lease.checkpoint_sequence_number.clone(),
                lease.owner_switches_since_checkpoint.to_string(),
            ];
            if wide {
                row.push(lease.checkpoint_owner.clone().unwrap_or_else(|| "-".to_owned()));
                row.push(lease.epoch.to_string());
            }
            row
        });
        let mut header = vec![
            "leaseKey",
            "leaseOwner",
            "leaseCounter",
            "checkpointSequenceNumber",
            "ownerSwitchesSinceCheckpoint",
        ];
        if wide {
            header.extend(["checkpointOwner", "epoch"]);
        }
        table(header, rows.collect())
    }
}

/// Writes the table; rows that cannot be read are listed on stderr, and the exit code is then 1.
pub(crate) async fn run(args: &Args, output: Format) -> anyhow::Result<Code> {
    let at = args.target.connect().await?;
    let snapshot = Snapshot::read(&at).await?;
    let leases: Vec<_> = snapshot.scan.leases.iter().map(LeaseLine::from).collect();
    match &args.file {
        Some(path) => {
            let comma = args.csv || path.extension().is_some_and(|extension| extension == "csv");
            let text = if comma {
                csv::leases(&leases)
            } else {
                serde_json::to_string_pretty(&leases)? + "\n"
            };
            std::fs::write(path, text)?;
            eprintln!("{} leases written to {}", leases.len(), path.display());
        }
        None if args.csv => line(csv::leases(&leases).trim_end())?,
        None => show(output, &Exported(leases))?,
    }
    for (key, why) in &snapshot.scan.unreadable {
        eprintln!("warning: row {key} of table {} cannot be read: {why}", at.application);
    }
    Ok(if snapshot.scan.unreadable.is_empty() {
        Code::Done
    } else {
        Code::VerdictFailed
    })
}
