//! What the tests share: starting `kinex`, waiting, reading what it wrote.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinex_aws::{Access, Clients};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Nothing here takes longer, unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// Tests with fleets hold this, so that they do not slow each other down.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The command, with an environment that says nothing.
pub(crate) fn kinex() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinex"));
    command
        .current_dir(root())
        .env_remove("KINEX_ENDPOINT_URL")
        .env_remove("KINEX_OUTPUT")
        .env_remove("RUST_LOG");
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Runs a command that must succeed, and gives what it wrote.
pub(crate) fn stdout(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The same as JSON.
pub(crate) fn json(command: &mut Command) -> Value {
    serde_json::from_str(&stdout(command.args(["-o", "json"]))).unwrap()
}

/// Waits until there is something, for [`LIMIT`] at most.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Sends a signal by its number.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Option<i32> {
        let status = until("the end of a process", || self.0.try_wait().unwrap());
        status.code()
    }
}

/// Sends a signal to a process that the test knows to be its own.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// The ids of a run's children, once it has `count` of them.
pub(crate) fn children(run: u32, count: usize) -> Vec<u32> {
    until("the children of a run", || {
        let said = output(Command::new("ps").args(["-o", "pid=", "--ppid", &run.to_string()]));
        let ids = String::from_utf8(said.stdout).unwrap();
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        (ids.len() >= count).then_some(ids)
    })
}

/// Waits until none of these processes runs.
pub(crate) fn gone(ids: &[u32]) {
    let there = |id: &&u32| {
        // A zombie has ended; whoever inherited it has not looked yet.
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    until("the end of every child", || {
        ids.iter().find(there).is_none().then_some(())
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Endpoints in a process of their own.
pub(crate) struct Emulator {
    process: Process,
    pub(crate) url: String,
}

impl Emulator {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = kinex();
        command
            .args(["emulator", "--port", "0", "-o", "json", "--exit-with-parent"])
            .args(arguments);
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        Self {
            process,
            url: listening["kinesis"].as_str().unwrap().to_owned(),
        }
    }

    /// Sends a signal to its process.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Clients of it, and what their requests are waited for with.
    pub(crate) fn connect(&self) -> (Runtime, Clients) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let clients = runtime
            .block_on(Clients::connect(&Access::endpoint(&self.url)))
            .unwrap();
        (runtime, clients)
    }

    /// Refuses the next calls of an API of Kinesis.
    pub(crate) fn throttle(&self, api: &str, times: u32) {
        self.fault(&serde_json::json!({"service": "kinesis", "api": api, "fault": "throttle", "times": times}));
    }

    /// Injects a fault.
    pub(crate) fn fault(&self, rule: &Value) {
        self.private("POST", "faults", &rule.to_string());
    }

    /// Takes every injected fault back.
    pub(crate) fn heal(&self) {
        self.private("DELETE", "faults", "");
    }

    /// How often each API was asked, by its name with its service.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        let answer = self.private("GET", "requests", "");
        let requests: Value = serde_json::from_str(&answer).unwrap();
        let counts = requests["total"].as_object().unwrap().iter();
        counts
            .map(|(api, counts)| (api.clone(), counts["count"].as_u64().unwrap()))
            .collect()
    }

    /// Asks for something that AWS does not have, and gives the body of the answer.
    fn private(&self, method: &str, path: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        write!(
            socket,
            "{method} /_kinex/{path} HTTP/1.0\r\nHost: tests\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.split(' ').nth(1).unwrap().starts_with('2'), "{answer}");
        body.to_owned()
    }

    /// A command about a stream there.
    pub(crate) fn kinex(&self, command: &str, stream: &str) -> Command {
        let mut kinex = kinex();
        kinex.args([
            command,
            "--endpoint-url",
            &self.url,
            "--stream",
            stream,
            "--application",
            stream,
        ]);
        kinex
    }
}

/// A run that has ended.
pub(crate) struct Played {
    pub(crate) code: Option<i32>,
    pub(crate) summary: Value,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) stderr: String,
}

/// Plays a manifest to its end.
pub(crate) fn play(manifest: &Path, arguments: &[&str]) -> Played {
    let directory = tempfile::tempdir().unwrap();
    let mut command = kinex();
    command
        .arg("run")
        .arg(manifest)
        .arg("--report")
        .arg(directory.path())
        .args(arguments)
        .args(["-o", "json"]);
    let output = output(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    Played {
        code: output.status.code(),
        summary,
        directory,
        stderr,
    }
}

/// Plays the text of a manifest to its end.
pub(crate) fn play_text(manifest: &str, arguments: &[&str]) -> Played {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("experiment.yaml");
    std::fs::write(&path, manifest).unwrap();
    play(&path, arguments)
}

impl Played {
    /// Fails the test with everything that is known unless the verdict is Pass.
    pub(crate) fn passed(&self) -> &Self {
        let summary = serde_json::to_string_pretty(&self.summary).unwrap();
        assert_eq!(self.code, Some(0), "{summary}\n{}\n{}", self.stderr, self.logs());
        assert_eq!(self.summary["verdict"], "Pass");
        self
    }

    /// The last lines of every log.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.directory.path().join("logs")).unwrap().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let from = log.lines().count().saturating_sub(15);
                text += &format!("--- {}\n", entry.path().display());
                log.lines().skip(from).for_each(|line| text += &format!("{line}\n"));
            }
        }
        text
    }

    /// The counts of a phase in the order of the workers' names.
    pub(crate) fn counts(&self, phase: usize) -> Vec<u64> {
        let counts = self.summary["phases"][phase]["leasesPerWorker"].as_object().unwrap();
        counts.values().map(|count| count.as_u64().unwrap()).collect()
    }

    /// A number of the summary, by its pointer.
    pub(crate) fn number(&self, pointer: &str) -> f64 {
        let value = self.summary.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("{pointer} is no number in {:#}", self.summary))
    }
}
