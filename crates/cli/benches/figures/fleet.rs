//! What a fleet at rest asks of DynamoDB, and how much memory its processes need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Row;

const STREAM: &str = "figures";

/// How long a fleet at rest is watched.
const WATCHED: Duration = Duration::from_secs(30);

/// Nothing here takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn rows() -> Vec<Row> {
    let five = measure(5, "PerWorker");
    let per_lease = measure(5, "PerLease");
    let one = measure(1, "PerWorker");
    vec![
        Row {
            what: "DynamoDB at rest, 30 leases",
            unit: "1/s",
            first: ("PerWorker", five.requests),
            second: ("PerLease", per_lease.requests),
        },
        Row {
            what: "consumer, resident",
            unit: "MiB",
            first: ("6 leases", five.consumer.resident),
            second: ("30 leases", one.consumer.resident),
        },
        Row {
            what: "consumer, anonymous",
            unit: "MiB",
            first: ("6 leases", five.consumer.anonymous),
            second: ("30 leases", one.consumer.anonymous),
        },
        Row {
            what: "30 shards, resident",
            unit: "MiB",
            first: ("consumer with 6 of them", five.consumer.resident),
            second: ("emulator", five.emulator.resident),
        },
    ]
}

/// What one fleet showed.
struct Measured {
    /// Requests to DynamoDB per second.
    requests: f64,
    consumer: Memory,
    emulator: Memory,
}

/// In MiB. Resident counts the pages of the executable as well, which processes share.
struct Memory {
    resident: f64,
    anonymous: f64,
}

fn measure(workers: usize, renewal: &str) -> Measured {
    let emulator = Emulator::start(30);
    let start = |nth: usize| {
        let mut command = emulator.kinex("consumer");
        let name = format!("worker-{nth}");
        let renewal = format!("renewal={renewal}");
        command.args(["--worker-id", &name, "--set", &renewal, "--exit-with-parent"]);
        Process::start(command.stdout(Stdio::null()))
    };
    let consumers: Vec<Process> = (0..workers).map(start).collect();
    balanced(&emulator, workers);
    // Readers settle into their pace, and the first looks around are over.
    std::thread::sleep(Duration::from_secs(5));
    let (before, at) = (emulator.dynamodb_requests(), Instant::now());
    std::thread::sleep(WATCHED);
    let asked = emulator.dynamodb_requests() - before;
    Measured {
        requests: asked as f64 / at.elapsed().as_secs_f64(),
        consumer: consumers[0].memory(),
        emulator: emulator.process.memory(),
    }
}

fn balanced(emulator: &Emulator, workers: usize) {
    let start = Instant::now();
    loop {
        let said = emulator.kinex("analyze").args(["-o", "json"]).output().unwrap();
        let analysis: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
        let there = analysis["workers"].as_array().map_or(0, Vec::len);
        if analysis["balanced"] == true && analysis["leases"] == 30 && there == workers {
            return;
        }
        assert!(start.elapsed() < LIMIT, "no balance within {LIMIT:?}: {analysis:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `kinex emulator` with a stream.
pub(crate) struct Emulator {
    process: Process,
    url: String,
}

impl Emulator {
    pub(crate) fn start(shards: u32) -> Self {
        let mut command = kinex();
        let stream = format!("{STREAM}:{shards}");
        command.args([
            "emulator",
            "--port",
            "0",
            "-o",
            "json",
            "--exit-with-parent",
            "--create-stream",
            &stream,
        ]);
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let mut line = String::new();
        let stdout = process.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let url = listening["kinesis"].as_str().unwrap().to_owned();
        Self { process, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn kinex(&self, command: &str) -> Command {
        let mut kinex = kinex();
        let about = ["--stream", STREAM, "--application", STREAM];
        kinex.args([command, "--endpoint-url", &self.url]).args(about);
        kinex
    }

    /// How many requests it has counted.
    fn dynamodb_requests(&self) -> u64 {
        let mut socket = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        socket
            .write_all(b"GET /_kinex/requests HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let counts: Value = serde_json::from_str(body).unwrap();
        let total = counts["total"].as_object().unwrap();
        let dynamodb = total.iter().filter(|(api, _)| api.starts_with("dynamodb."));
        dynamodb.map(|(_, counted)| counted["count"].as_u64().unwrap()).sum()
    }
}

struct Process(Child);

impl Process {
    /// Ends with this program, whatever becomes of it: see `--exit-with-parent`.
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn memory(&self) -> Memory {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id())).unwrap();
        let mib = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let kib: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
            kib / 1024.0
        };
        Memory {
            resident: mib("Rss:"),
            anonymous: mib("Anonymous:"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kinex() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinex"));
    command
        .env_remove("KINEX_ENDPOINT_URL")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}
