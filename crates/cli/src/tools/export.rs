//! `kinex export`: the lease table, with the names that Java tools use.

use kinex_core::lease::Lease;
use serde::Serialize;

use super::fleet::{Fleet, FleetArgs, State};
use crate::exit::Code;
use crate::output::{Format, Shown, line, show, table};
use kinex_stage::report::csv;
use kinex_stage::report::recording::LeaseLine;

/// What to write.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    fleet: FleetArgs,
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
struct Exported(Vec<OwnedLine>);

/// A row, and what is known of the life of the worker that has the lease at present.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnedLine {
    #[serde(flatten)]
    lease: LeaseLine,
    owner_state: Option<State>,
}

impl OwnedLine {
    fn state(&self) -> &'static str {
        self.owner_state.map_or("-", State::as_str)
    }
}

impl Shown for Exported {
    fn text(&self, wide: bool) -> String {
        let rows = self.0.iter().map(|line| {
            let lease = &line.lease;
            let mut row = vec![
                lease.lease_key.clone(),
                lease.lease_owner.clone().unwrap_or_else(|| "-".to_owned()),
                lease.lease_counter.to_string(),
                lease.checkpoint_sequence_number.clone(),
                lease.owner_switches_since_checkpoint.to_string(),
                line.state().to_owned(),
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
            "ownerState",
        ];
        if wide {
            header.extend(["checkpointOwner", "epoch"]);
        }
        table(header, rows.collect())
    }
}

/// Writes the table; rows that cannot be read are listed on stderr, and the exit code is then 1.
pub(crate) async fn run(args: &Args, output: Format) -> anyhow::Result<Code> {
    let at = args.fleet.target.connect().await?;
    let observed = Fleet::new(&at, &args.fleet).judged().await?;
    let snapshot = &observed.snapshot;
    let owned = |lease: &Lease| OwnedLine {
        lease: LeaseLine::from(lease),
        owner_state: lease.present_owner().and_then(|owner| observed.state(owner)),
    };
    let leases: Vec<OwnedLine> = snapshot.scan.leases.iter().map(owned).collect();
    match &args.file {
        Some(path) => {
            let comma = args.csv || path.extension().is_some_and(|extension| extension == "csv");
            let text = if comma {
                csv::leases(&lines(&leases))
            } else {
                serde_json::to_string_pretty(&leases)? + "\n"
            };
            std::fs::write(path, text)?;
            let noun = if leases.len() == 1 { "lease" } else { "leases" };
            eprintln!("{} {noun} written to {}", leases.len(), path.display());
        }
        None if args.csv => line(csv::leases(&lines(&leases)).trim_end())?,
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

/// CSV is the file that a report has too, without the owners' states.
fn lines(leases: &[OwnedLine]) -> Vec<LeaseLine> {
    leases.iter().map(|line| line.lease.clone()).collect()
}
