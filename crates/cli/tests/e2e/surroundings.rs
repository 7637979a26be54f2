//! A run in surroundings that are not as one would wish: used names and directories, closed pipes, full disks, an endpoint
//! that stands still, signals.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Emulator, Process, alone, children, gone, kinex, output, signal, stdout, until};

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
fn too_few_open_files_are_refused_before_anything_starts() {
    let place = tempfile::tempdir().unwrap();
    let path = written(place.path(), &manifest("few-files", "", WAIT));
    let limited = |limit: u32| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]);
        command.arg(kinex().get_program()).arg("run").arg(&path);
        output(command.arg("--report").arg(place.path().join(limit.to_string())))
    };
    let refused = limited(16);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("may open 16 files, and a fleet of 1 needs 48"), "{said}");
    assert!(said.contains("ulimit -n 48"), "{said}");
    assert!(!place.path().join("16").exists());
    let _alone = alone();
    let played = limited(48);
    assert_eq!(
        played.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&played.stderr)
    );
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
    play("theirs", ", deletionPolicy: Delete");
    stdout(&mut emulator.kinex("verify", "theirs"));
    // A second run finds the stream and the tables of the first one.
    play("twice", "");
    play("twice", ", deletionPolicy: Delete");
    stdout(&mut emulator.kinex("verify", "twice"));
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

/// A run in its pause.
fn paused(place: &Path, name: &str, arguments: &[&str]) -> Process {
    let steps = format!("{WAIT}{PAUSE}");
    let path = written(place, &manifest(name, "", &steps));
    let mut command = hearing_hangup(&kinex());
    command.arg("run").arg(&path).args(arguments);
    command.arg("--report").arg(place.join("report"));
    let run = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    status_says(place, "2/2 p");
    run
}

/// Waits until the status of a run contains this.
fn status_says(place: &Path, text: &str) {
    until(text, || {
        let status = std::fs::read_to_string(place.join("report/status.json")).ok()?;
        status.contains(text).then_some(())
    });
}

/// Sends a run these signals, each as soon as it has taken note of the one before, and gives the time from the first one
/// to its end.
fn ended_by(signals: &[&str], run: Process, place: &Path) -> Duration {
    let sent = Instant::now();
    for name in signals {
        run.signal(name);
        status_says(place, "Aborted");
    }
    assert_eq!(run.wait(), Some(130), "{signals:?}");
    let took = sent.elapsed();
    assert!(place.join("report/report.html").exists(), "{signals:?}");
    took
}

#[test]
fn interrupt_is_obeyed_while_the_endpoint_stands_still() {
    let _alone = alone();
    let emulator = Emulator::start(&[]);
    let place = tempfile::tempdir().unwrap();
    let run = paused(place.path(), "halted", &["--endpoint-url", &emulator.url]);
    emulator.signal("STOP");
    let took = ended_by(&["INT"], run, place.path());
    emulator.signal("CONT");
    // Requests to an endpoint that stands give up after 8 to 15 s each, and there are several of them.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn signal_that_asks_to_end_leaves_a_report() {
    let _alone = alone();
    for name in ["HUP", "TERM"] {
        let place = tempfile::tempdir().unwrap();
        let run = paused(place.path(), "signaled", &[]);
        ended_by(&[name], run, place.path());
    }
}

#[test]
fn second_interrupt_ends_a_run_without_its_grace() {
    let _alone = alone();
    let took = |signals: &[&str]| {
        let place = tempfile::tempdir().unwrap();
        let run = paused(place.path(), "impatient", &[]);
        let ids = children(run.0.id(), 1);
        // They will not leave by themselves, so the run waits for as long as it gives anybody.
        ids.iter().for_each(|id| signal(*id, "STOP"));
        let took = ended_by(signals, run, place.path());
        gone(&ids);
        took
    };
    let (patient, impatient) = (took(&["INT"]), took(&["INT", "INT"]));
    assert!(
        impatient + Duration::from_secs(1) < patient,
        "{impatient:?} after two, {patient:?} after one"
    );
}
