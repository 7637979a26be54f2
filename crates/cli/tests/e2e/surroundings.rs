//! A run in surroundings that are not as one would wish: used names and directories, closed pipes, full disks, an endpoint
//! that stands still, signals.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Emulator, Process, alone, kinex, output, stdout, until};

fn manifest(name: &str, more: &str, steps: &str) -> String {
    format!(
        "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {{name: {name}}}\nspec:\n  stream: {{name: {name}, initialShards: 2{more}}}\n  replicas: 1\n  balance: {{stableFor: 500ms, timeout: 60s}}\n  steps:\n{steps}"
    )
}

fn written(directory: &Path, text: &str) -> std::path::PathBuf {
    let path = directory.join("experiment.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

const WAIT: &str = "  - {name: w, waitUntilBalanced: {}}\n";

/// A step that outlasts every test.
const PAUSE: &str = "  - {name: p, pause: {for: 10m}}\n";

#[test]
fn worker_name_and_directory_used_before_play_again() {
    let _alone = alone();
    let place = tempfile::tempdir().unwrap();
    let steps = "  - {name: up, scale: {replicas: 2}, timeout: 60s}\n  - {name: down, scale: {replicas: 1}, timeout: 60s}\n  - {name: again, scale: {replicas: 2}, timeout: 60s}\n  - {name: w, waitUntilBalanced: {}}\n";
    let path = written(place.path(), &manifest("reused", "", steps));
    for turn in 0..2 {
        let mut command = kinex();
        command
            .arg("run")
            .arg(&path)
            .arg("--report")
            .arg(place.path().join("report"));
        let played = output(&mut command);
        let said = String::from_utf8_lossy(&played.stderr).into_owned();
        assert_eq!(played.status.code(), Some(0), "turn {turn}: {said}");
    }
}

#[test]
fn verdict_with_nobody_to_read_it_is_the_exit_code() {
    let _alone = alone();
    let place = tempfile::tempdir().unwrap();
    let steps = "  - {name: a, timeout: 1s, assert: {all: [{name: never, expr: 'leases.total == 99'}]}}\n";
    let path = written(place.path(), &manifest("unread", "", steps));
    let mut command = kinex();
    command
        .arg("run")
        .arg(&path)
        .arg("--report")
        .arg(place.path().join("report"));
    let mut run = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    drop((run.0.stdout.take(), run.0.stderr.take()));
    assert_eq!(run.wait(), Some(1));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = kinex();
    command
        .arg("run")
        .arg(&path)
        .arg("--report")
        .arg(place.path().join("full"));
    let run = Process::start(command.stdout(full.try_clone().unwrap()).stderr(full));
    assert_eq!(run.wait(), Some(1), "a full disk in place of stdout and stderr");
}

#[test]
fn child_that_cannot_start_ends_the_run_with_the_reason() {
    let place = tempfile::tempdir().unwrap();
    let path = written(place.path(), &manifest("stillborn", "", WAIT));
    let mut command = kinex();
    command.env("RUST_LOG", "=").arg("run").arg(&path);
    let played = output(command.arg("--report").arg(place.path().join("report")));
    let said = String::from_utf8_lossy(&played.stderr).into_owned();
    assert_eq!(played.status.code(), Some(2), "{said}");
    assert!(
        said.contains("stillborn-consumer-0 ended") && said.contains("the log filter `=` cannot be read"),
        "{said}"
    );
}

#[test]
fn stream_that_was_there_outlives_the_run() {
    let _alone = alone();
    let emulator = Emulator::start(&["--create-stream", "theirs:2"]);
    let place = tempfile::tempdir().unwrap();
    let play = |name: &str, more: &str| {
        let path = written(place.path(), &manifest(name, more, WAIT));
        let mut command = kinex();
        command.arg("run").arg(&path).args(["--endpoint-url", &emulator.url]);
        stdout(command.arg("--report").arg(place.path().join(name)));
    };
    play("theirs", ", creationPolicy: MustExist, deletionPolicy: Delete");
    stdout(&mut emulator.kinex("verify", "theirs"));
    play("ours", ", deletionPolicy: Delete");
    let gone = output(&mut emulator.kinex("verify", "ours"));
    assert_eq!(gone.status.code(), Some(2), "the run made it, so the run deletes it");
}

/// The same command with SIGHUP as it is by default: whoever runs the tests may ignore it, and a child inherits that.
fn hearing_hangup(kinex: &Command) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(kinex.get_program());
    command.current_dir(kinex.get_current_dir().unwrap());
    for (name, value) in kinex.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null());
    command
}

/// A run in its pause, against an emulator of its own.
fn paused(emulator: &Emulator, place: &Path, name: &str) -> Process {
    let steps = format!("{WAIT}{PAUSE}");
    let path = written(place, &manifest(name, "", &steps));
    let mut command = hearing_hangup(&kinex());
    command.arg("run").arg(&path).args(["--endpoint-url", &emulator.url]);
    command.arg("--report").arg(place.join("report"));
    let run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    until("the pause", || {
        let status = std::fs::read_to_string(place.join("report/status.json")).ok()?;
        status.contains("2/2 p").then_some(())
    });
    run
}

#[test]
fn interrupt_is_obeyed_while_the_endpoint_stands_still() {
    let _alone = alone();
    let emulator = Emulator::start(&[]);
    let place = tempfile::tempdir().unwrap();
    let run = paused(&emulator, place.path(), "halted");
    emulator.signal("STOP");
    run.signal("INT");
    let asked = Instant::now();
    let code = run.wait();
    emulator.signal("CONT");
    // Requests to an endpoint that stands give up after 8 to 15 s each, and there are several of them.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(code, Some(130));
    assert!(place.path().join("report/report.html").exists());
}

#[test]
fn hangup_ends_a_run_with_its_report() {
    let _alone = alone();
    let emulator = Emulator::start(&[]);
    let place = tempfile::tempdir().unwrap();
    let run = paused(&emulator, place.path(), "hangup");
    run.signal("HUP");
    assert_eq!(run.wait(), Some(130));
    assert!(place.path().join("report/report.html").exists());
}

#[test]
fn time_limit_holds_over_a_request_that_stands() {
    let emulator = Emulator::start(&["--create-stream", "stands:2"]);
    stdout(&mut emulator.kinex("start", "stands"));
    emulator.signal("STOP");
    let mut command = emulator.kinex("monitor", "stands");
    let asked = Instant::now();
    let code = output(command.args(["--until-balanced", "--timeout", "1"]))
        .status
        .code();
    emulator.signal("CONT");
    assert_eq!(code, Some(4));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}
