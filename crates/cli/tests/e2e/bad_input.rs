//! Bad input gets one clear error with its place and the next step, and the exit code says of which kind it is.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::{Emulator, Process, alone, kinex, output, stdout, until};

/// What the command says on stderr, and its exit code, with what differs from run to run taken out.
fn said(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    format!("exit {}\n{}", output.status.code().unwrap(), steady(&text))
}

/// Ports and temporary names, as words.
fn steady(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words: Vec<_> = line
            .split(' ')
            .map(|word| {
                if word.contains("/tmp/") || word.contains("/.tmp") {
                    "FILE".to_owned()
                } else {
                    port(word)
                }
            })
            .collect();
        out += &words.join(" ");
        out.push('\n');
    }
    out
}

fn port(word: &str) -> String {
    match word.split_once("127.0.0.1:") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}127.0.0.1:PORT{rest}")
        }
        None if word.len() >= 4 && word.bytes().all(|b| b.is_ascii_digit()) && word != "1000000000" => {
            "PORT".to_owned()
        }
        None => word.to_owned(),
    }
}

fn manifest(steps: &str, more: &str) -> tempfile::NamedTempFile {
    let text = format!(
        "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {{name: bad}}\nspec:\n  stream: {{name: bad, initialShards: 4}}\n{more}  steps:\n{steps}"
    );
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn manifests() {
    let wait = "  - {name: a, waitUntilBalanced: {}}\n";
    let cases = [
        ("unknown key", manifest(wait, "  replicass: 3\n")),
        (
            "two actions",
            manifest("  - {name: a, scale: {replicas: 2}, split: {count: 1}}\n", ""),
        ),
        ("scale to 0", manifest("  - {name: a, scale: {replicas: 0}}\n", "")),
        (
            "scale to 10^9",
            manifest("  - {name: a, scale: {replicas: 1000000000}}\n", ""),
        ),
        (
            "unknown word in an assertion",
            manifest("  - {name: a, assert: {all: [{name: x, expr: 'lease.min > 1'}]}}\n", ""),
        ),
    ];
    let mut text = String::new();
    for (name, file) in &cases {
        text += &format!("## {name}\n{}\n", said(kinex().arg("run").arg(file.path())));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn places_that_are_not_there() {
    let emulator = Emulator::start(&[]);
    let port = emulator.url.rsplit(':').next().unwrap().to_owned();
    let mut text = String::new();
    let mut case = |name: &str, command: &mut Command| text += &format!("## {name}\n{}\n", said(command));
    case("no such file", kinex().args(["run", "no-such.yaml"]));
    case(
        "endpoint that does not answer",
        kinex().args(["verify", "--endpoint-url", "http://127.0.0.1:9"]),
    );
    case(
        "endpoint that is no URL",
        kinex().args(["verify", "--endpoint-url", "nonsense"]),
    );
    case("stream that does not exist", &mut emulator.kinex("verify", "nowhere"));
    case("port in use", kinex().args(["emulator", "--port", &port]));
    case("no run there", kinex().args(["monitor", "--run", "/proc"]));
    case("scale of nothing", kinex().args(["scale", "--replicas", "3"]));
    case("clean without yes", &mut emulator.kinex("clean", "orders"));
    insta::assert_snapshot!(text);
}

#[test]
fn a_split_of_more_shards_than_there_are_splits_none() {
    let emulator = Emulator::start(&["--create-stream", "few:3"]);
    let text = said(emulator.kinex("split", "few").args(["--count", "10"]));
    insta::assert_snapshot!(text);
    assert!(stdout(&mut emulator.kinex("verify", "few")).contains("total   3"));
}

#[test]
fn a_worker_id_that_is_alive_is_refused_to_a_second_process() {
    let _alone = alone();
    let emulator = Emulator::start(&["--create-stream", "one:2"]);
    stdout(&mut emulator.kinex("start", "one"));
    let consumer = || {
        let mut command = emulator.kinex("consumer", "one");
        command.args([
            "--worker-id",
            "pod-1",
            "--set",
            "failover_time_millis=3000",
            "--exit-with-parent",
        ]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Process::start(&mut command)
    };
    let first = consumer();
    until("the first one", || {
        stdout(&mut emulator.kinex("view-dist", "one"))
            .contains("pod-1")
            .then_some(())
    });
    let mut second = consumer();
    let code = until("the second one's end", || second.0.try_wait().unwrap()).code();
    let mut said = String::new();
    second.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("error: ") && said.contains("pod-1"), "{said}");
    drop(first);
}

#[test]
fn a_table_of_another_program_is_refused_and_left_alone() {
    let emulator = Emulator::start(&["--create-stream", "orders:2"]);
    stdout(&mut emulator.kinex("start", "orders"));
    // The workers' table of one application has another shape than a lease table.
    let mut command = kinex();
    command.args([
        "start",
        "--endpoint-url",
        &emulator.url,
        "--stream",
        "orders",
        "--application",
        "orders-workers",
    ]);
    let text = said(&mut command);
    assert!(
        text.starts_with("exit 2\nerror: ") && text.contains("orders-workers"),
        "{text}"
    );
    stdout(&mut emulator.kinex("verify", "orders"));
}
