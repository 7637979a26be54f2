//! What a run shows to Prometheus: its own metrics, and a file that says where each of its programs serves its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kinex_aws::Requests;
use kinex_core::experiment::{Effect, Failure, Status, World};
use kinex_operator::metrics::{Meters, Reconcile};
use kinex_telemetry::{Admin, Health, Metrics};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Stop;

/// The file, in the run's directory.
const TARGETS_FILE: &str = "targets.json";

/// Arguments that let a program of the run serve its metrics.
pub(super) const PROGRAM: [&str; 2] = ["--metrics-addr", "127.0.0.1:0"];

/// A list of addresses, as Prometheus' `file_sd_configs` reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Targets {
    targets: Vec<String>,
    labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Labels {
    job: &'static str,
}

/// The metrics of a run, served.
pub(super) struct Scrape {
    meters: Meters,
    experiment: String,
    own: String,
    file: PathBuf,
    written: Vec<Targets>,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Scrape {
    /// Serves the metrics of an experiment, which say what an operator's would.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(super) async fn serve(
        address: &str,
        experiment: &str,
        directory: &Path,
        requests: &Requests,
    ) -> anyhow::Result<Self> {
        let admin = Admin::bind(address).await;
        let admin = admin.map_err(|error| Stop::usage(error.to_string()))?;
        let own = admin.address().to_string();
        let meters = Meters::default();
        meters.leading(true);
        meters.count_requests(requests);
        let mut metrics = Metrics::new("run", env!("CARGO_PKG_VERSION"));
        meters.register(metrics.registry());
        let stop = CancellationToken::new();
        let server = tokio::spawn(admin.serve(metrics, Health::default(), stop.clone()));
        Ok(Self {
            meters,
            experiment: experiment.to_owned(),
            own,
            file: directory.join(TARGETS_FILE),
            written: Vec::new(),
            stop,
            server,
        })
    }

    /// Counts a round, and what was begun and refused in it.
    pub(super) fn round(&self, before: &Status, after: &Status, world: &World, effects: &[Effect], took: Duration) {
        let outcome = if world.unseen.is_some() {
            Reconcile::Unseen
        } else if before == after && effects.is_empty() {
            Reconcile::Unchanged
        } else {
            Reconcile::Changed
        };
        self.meters.reconciled(outcome, took);
        for effect in effects {
            self.meters.effect(effect.kind(), true);
        }
        for Failure { effect, .. } in &world.failures {
            self.meters.effect(effect, false);
        }
        self.meters.observe_status(&self.experiment, None, after);
        if world.unseen.is_none() {
            self.meters.observe_records(&self.experiment, &world.records);
        }
    }

    /// Says where the programs are, when that has changed.
    ///
    /// A file that cannot be written is said once, and the run goes on.
    pub(super) fn targets(&mut self, consumers: Vec<String>, producer: Option<String>) {
        let jobs = [
            ("run", vec![self.own.clone()]),
            ("consumer", consumers),
            ("producer", producer.into_iter().collect()),
        ];
        let targets: Vec<Targets> = jobs
            .into_iter()
            .map(|(job, targets)| Targets {
                targets,
                labels: Labels { job },
            })
            .collect();
        if targets != self.written {
            // Whoever reads it sees all of it or what was there before.
            let draft = self.file.with_extension("json.new");
            let text = serde_json::to_string_pretty(&targets).expect("targets are JSON") + "\n";
            let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &self.file));
            if let Err(error) = written {
                eprintln!("warning: cannot write {}: {error}", self.file.display());
            }
            self.written = targets;
        }
    }

    /// Ends the server; its programs have ended by now.
    pub(super) async fn end(self) {
        self.stop.cancel();
        let _ = self.server.await;
        let _ = std::fs::remove_file(&self.file);
    }
}
