//! Metrics, dashboards and alerts, held against those who read them: a real Prometheus that scrapes a run at work, its
//! promtool, and Grafana's own models.
//!
//! `tests/signals/install` puts the three into target/signals; without them these tests fail.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod alerts;
mod dashboards;
mod page;
mod prometheus;
mod scrape;
#[path = "../e2e/support.rs"]
#[allow(dead_code, reason = "the end-to-end tests use more of it")]
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use prometheus::Prometheus;
use support::{Process, kinex, output, root, until};

/// The experiment's name, and so the application's.
const NAME: &str = "signals";

/// Every kind of number that a panel shows comes to be, and then the run rests.
const MANIFEST: &str = "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: signals}
spec:
  stream: {name: signals, initialShards: 4}
  replicas: 2
  producer: {recordsPerSecond: 20}
  balance: {stableFor: 2s, timeout: 2m}
  steps:
  - {name: steady-1, waitUntilBalanced: {}}
  - {name: split-two, split: {count: 2}}
  - {name: steady-2, waitUntilBalanced: {}}
  - {name: scale-to-three, scale: {replicas: 3}}
  - {name: steady-3, waitUntilBalanced: {}}
  - {name: rest, timeout: 1h, pause: {for: 50m}}
";

/// A tool that `tests/signals/install` has put where it belongs.
fn tool(path: &str) -> PathBuf {
    let tools = std::env::var_os("KINEX_SIGNALS_DIR").map_or_else(|| root().join("target/signals"), PathBuf::from);
    let tool = tools.join(path);
    assert!(
        tool.exists(),
        "{} is missing: run tests/signals/install first",
        tool.display()
    );
    tool
}

/// A run that rests at its last step, with everything in it served for a scrape.
struct Run {
    process: Process,
    directory: tempfile::TempDir,
}

impl Run {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manifest = directory.path().join("experiment.yaml");
        std::fs::write(&manifest, MANIFEST).unwrap();
        let log = std::fs::File::create(directory.path().join("run.log")).unwrap();
        let mut command = kinex();
        command
            .arg("run")
            .arg(&manifest)
            .arg("--report")
            .arg(directory.path())
            .args(["--metrics-addr", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(log);
        let process = Process::start(&mut command);
        Self { process, directory }
    }

    /// The file that tells a Prometheus where everything is.
    fn targets(&mut self) -> PathBuf {
        let file = self.directory.path().join("targets.json");
        until("the list of targets", || {
            let ended = self.process.0.try_wait().unwrap();
            assert!(ended.is_none(), "the run has ended: {}", self.log());
            file.exists().then(|| file.clone())
        })
    }

    /// Where the programs of a job serve their metrics.
    fn addresses(&mut self, job: &str) -> Vec<String> {
        let targets: Value = serde_json::from_str(&std::fs::read_to_string(self.targets()).unwrap()).unwrap();
        let of_job = targets
            .as_array()
            .unwrap()
            .iter()
            .filter(|group| group["labels"]["job"] == job);
        of_job
            .flat_map(|group| group["targets"].as_array().unwrap())
            .map(|address| address.as_str().unwrap().to_owned())
            .collect()
    }

    /// Runnable leases of each worker, by the lease table.
    fn table(&self) -> BTreeMap<String, u64> {
        let mut command = kinex();
        let view = support::json(command.args(["view-dist", "--run"]).arg(self.directory.path()));
        let workers = view["workers"].as_array().unwrap_or_else(|| panic!("{view:#}"));
        workers
            .iter()
            .map(|worker| {
                let name = worker["worker"].as_str().unwrap_or_else(|| panic!("{view:#}"));
                (name.to_owned(), worker["leases"].as_u64().unwrap())
            })
            .collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("run.log")).unwrap_or_default()
    }

    /// Ends it as a person would.
    fn end(self) {
        self.process.signal("TERM");
        let _ = self.process.wait();
    }
}

#[test]
fn a_prometheus_that_scrapes_a_run_has_an_answer_for_every_panel_and_alert() {
    let _alone = support::alone();
    let mut run = Run::start();
    let targets = run.targets();
    let prometheus = Prometheus::start(&targets);

    let rests = format!("kinex_experiment_step_info{{experiment=\"{NAME}\",step=\"rest\"}}");
    until("the run's last step", || {
        (!prometheus.instant(&rests).is_empty()).then_some(())
    });

    let questions: Vec<_> = dashboards::questions().into_iter().chain(alerts::questions()).collect();
    assert!(questions.len() > 60, "only {} questions", questions.len());
    let mut open = questions;
    // Rates want a few scrapes; what is still open at the end of the limit has no answer.
    let start = std::time::Instant::now();
    while !open.is_empty() {
        open.retain(|question| !prometheus.answers(question));
        assert!(
            open.is_empty() || start.elapsed() < support::LIMIT,
            "no answer to:\n{}\n{}",
            open.iter()
                .map(|question| format!("{}: {}", question.place, question.expr))
                .collect::<Vec<_>>()
                .join("\n"),
            run.log()
        );
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    for variable in dashboards::variables() {
        let values = prometheus.label_values(&variable.metric, &variable.label);
        assert!(!values.is_empty(), "{}: no values", variable.place);
        assert!(
            variable.name != "experiment" || values == [NAME],
            "{}: {values:?}",
            variable.place
        );
    }
    prometheus.every_rule_is_evaluated_and_none_fires();

    until("the leases that Prometheus counts are those of the table", || {
        let table = run.table();
        let sum: u64 = table.values().sum();
        let same = |query: &str| prometheus.by_worker(query) == table;
        let said = same(&format!(
            "sum by (worker) (kinex_leases_owned{{application=\"{NAME}\"}})"
        )) && same(&format!(
            "sum by (worker) (kinex_worker_leases{{experiment=\"{NAME}\"}})"
        ));
        (said && table.len() == 3 && sum == 6).then_some(())
    });

    page::is_what_is_served(&mut run);
    prometheus.end();
    run.end();
}

#[test]
fn grafana_knows_every_field_of_every_dashboard() {
    let mut command = Command::new(tool("venv/bin/python"));
    command.current_dir(root()).arg("tests/signals/parse_dashboards.py");
    let parsed = output(command.args(dashboards::files()));
    let said = String::from_utf8_lossy(&parsed.stderr);
    assert!(parsed.status.success(), "{said}");
}

#[test]
fn a_field_that_grafana_does_not_know_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("misspelled.json");
    let text = std::fs::read_to_string(root().join("charts/kinex/dashboards/operator.json")).unwrap();
    std::fs::write(&path, text.replacen("\"drawStyle\"", "\"drawStile\"", 1)).unwrap();
    let mut command = Command::new(tool("venv/bin/python"));
    command.current_dir(root()).arg("tests/signals/parse_dashboards.py");
    let parsed = output(command.arg(&path));
    let said = String::from_utf8_lossy(&parsed.stderr);
    assert!(!parsed.status.success() && said.contains("drawStile"), "{said}");
}

#[test]
fn every_alert_fires_and_keeps_quiet_as_its_tests_say() {
    let mut command = Command::new(tool("bin/promtool"));
    let checked =
        output(
            command
                .current_dir(root())
                .args(["check", "rules", "--lint=all", "--lint-fatal", alerts::FILE]),
        );
    assert!(checked.status.success(), "{checked:?}");
    alerts::each_is_tested_firing_and_not_firing();
    let mut command = Command::new(tool("bin/promtool"));
    let tested = output(
        command
            .current_dir(root())
            .args(["test", "rules"])
            .args(alerts::tests()),
    );
    assert!(
        tested.status.success(),
        "{}{}",
        String::from_utf8_lossy(&tested.stdout),
        String::from_utf8_lossy(&tested.stderr)
    );
}
