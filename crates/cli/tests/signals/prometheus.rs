//! A Prometheus of one's own, on a free port of loopback, for the time of a test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::alerts;
use super::dashboards::Question;
use super::scrape::get;
use super::support::{Process, root, until};
use super::tool;

/// A running server. It ends with the test.
pub(super) struct Prometheus {
    process: Process,
    address: String,
    started: f64,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes what the file lists, every second, and evaluates our alerts.
    pub(super) fn start(targets: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = serde_json::json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [root().join(alerts::FILE)],
            "scrape_configs": [{
                "job_name": "kinex",
                "file_sd_configs": [{ "files": [targets], "refresh_interval": "1s" }],
            }],
        });
        // JSON is YAML.
        let path = directory.path().join("prometheus.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new(tool("bin/prometheus"));
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let (said, lines) = std::sync::mpsc::channel();
        let stderr = BufReader::new(process.0.stderr.take().unwrap());
        // Reads on for as long as the server writes, so that it never waits for a reader.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let mut log = String::new();
        let address = until("Prometheus says where it listens", || {
            let ended = process.0.try_wait().unwrap();
            lines.try_iter().for_each(|line| log += &format!("{line}\n"));
            let listens = log.lines().find(|line| line.contains("msg=\"Listening on\""));
            let address = listens.and_then(|line| line.split("address=").nth(1));
            assert!(ended.is_none() || address.is_some(), "Prometheus cannot start:\n{log}");
            Some(address?.split(' ').next()?.to_owned())
        });
        let server = Self {
            process,
            address,
            started: now(),
            _directory: directory,
        };
        until("Prometheus is ready", || {
            (get(&server.address, "/-/ready").ok()?.0 == 200).then_some(())
        });
        server
    }

    fn ask(&self, path: &str) -> Value {
        let (status, body) = get(&self.address, path).unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        assert_eq!(
            (status, &answer["status"]),
            (200, &Value::from("success")),
            "{path}: {answer}"
        );
        answer["data"].clone()
    }

    /// The series that an expression gives now.
    pub(super) fn instant(&self, expr: &str) -> Vec<Value> {
        let answer = self.ask(&format!("/api/v1/query?query={}", escaped(expr)));
        answer["result"].as_array().unwrap().clone()
    }

    /// Whether an expression gives a number anywhere in the time since the start.
    pub(super) fn answers(&self, question: &Question) -> bool {
        let answer = self.ask(&format!(
            "/api/v1/query_range?query={}&start={}&end={}&step=1",
            escaped(&question.expr),
            self.started,
            now()
        ));
        let series = answer["result"].as_array().unwrap();
        let values = series.iter().flat_map(|one| one["values"].as_array().unwrap());
        let mut numbers = values.filter_map(|pair| pair[1].as_str()?.parse::<f64>().ok());
        numbers.any(|number| !number.is_nan())
    }

    /// The values that a label has on a metric.
    pub(super) fn label_values(&self, metric: &str, label: &str) -> Vec<String> {
        let values = self.ask(&format!("/api/v1/label/{label}/values?match[]={}", escaped(metric)));
        let values = values.as_array().unwrap().iter();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    /// Whole numbers by worker.
    pub(super) fn by_worker(&self, expr: &str) -> BTreeMap<String, u64> {
        let series = self.instant(expr).into_iter();
        series
            .filter_map(|one| {
                let worker = one["metric"]["worker"].as_str()?.to_owned();
                let count = one["value"][1].as_str()?.parse::<f64>().ok()?;
                Some((worker, count as u64))
            })
            .collect()
    }

    /// A run that is well sets off no alert, and every alert can be evaluated.
    pub(super) fn every_rule_is_evaluated_and_none_fires(&self) {
        let rules = until("every rule is evaluated", || {
            let answer = self.ask("/api/v1/rules");
            let groups = answer["groups"].as_array().unwrap().clone();
            let rules: Vec<Value> = groups
                .iter()
                .flat_map(|group| group["rules"].as_array().unwrap().clone())
                .collect();
            rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
        });
        assert_eq!(rules.len(), alerts::all().len());
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule:#}");
            assert_ne!(rule["state"], "firing", "{rule:#}");
        }
    }

    pub(super) fn end(self) {
        self.process.signal("TERM");
        let _ = self.process.wait();
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// As it may stand in the query of a URL.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
