//! The guide's tools against endpoints in a process of their own.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Emulator, Process, alone, json, kinex, output, stdout, until};

/// Before the first consumer there is nothing that could be balanced, and every tool says what to do.
fn nothing_to_judge_yet(emulator: &Emulator) {
    for (tool, code) in [("analyze", 1), ("view-dist", 0), ("monitor", 0)] {
        let said = output(&mut emulator.kinex(tool, "orders"));
        let text = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said.status.code(), Some(code), "{tool}: {text}");
        let next = "no leases yet, and no live worker: start a consumer, which makes them: \
                    `kinex consumer --stream orders --application orders`";
        assert!(text.contains(next), "{tool}: {text}");
    }
    assert!(stdout(emulator.kinex("timeline", "orders").args(["--count", "1"])).contains("no leases yet"));
}

#[test]
fn a_tool_waits_while_the_rate_of_a_call_is_used_up() {
    let _alone = alone();
    let emulator = Emulator::start(&["--create-stream", "orders:4"]);
    // More often than the client itself asks again.
    emulator.throttle("DescribeStreamSummary", 5);
    emulator.throttle("ListShards", 5);
    let verified = json(&mut emulator.kinex("verify", "orders"));
    assert_eq!(verified["shards"], json!({ "total": 4, "open": 4, "closed": 0 }));
}

#[test]
fn the_tools_tell_one_story() {
    let _alone = alone();
    let emulator = Emulator::start(&["--create-stream", "orders:4"]);
    stdout(&mut emulator.kinex("start", "orders"));
    let verified = json(&mut emulator.kinex("verify", "orders"));
    assert_eq!(verified["shards"], json!({ "total": 4, "open": 4, "closed": 0 }));
    assert_eq!(verified["flaws"], json!([]));
    nothing_to_judge_yet(&emulator);

    let consumer = |name: &str| {
        let mut command = emulator.kinex("consumer", "orders");
        command
            .args(["--worker-id", name, "--exit-with-parent"])
            .stdin(std::process::Stdio::piped());
        Process::start(
            command
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null()),
        )
    };
    let consumers = [consumer("pod-1"), consumer("pod-2")];
    let balanced = |leases: u64| {
        until("balance", || {
            let mut command = emulator.kinex("analyze", "orders");
            let said = output(command.args(["-o", "json"]));
            let analysis: serde_json::Value = serde_json::from_slice(&said.stdout).ok()?;
            let counts: Vec<_> = analysis["workers"]
                .as_array()?
                .iter()
                .map(|w| w["leases"].as_u64())
                .collect();
            (said.status.success() && counts == [Some(leases), Some(leases)]).then_some(())
        });
    };
    balanced(2);

    // What if there were four workers: two leases move, and nothing does.
    let planned = json(emulator.kinex("plan", "orders").args(["--workers", "4"]));
    assert_eq!(planned["moves"], 2, "{planned:#}");

    json(emulator.kinex("split", "orders").args(["--count", "2"]));
    let verified = json(&mut emulator.kinex("verify", "orders"));
    assert_eq!(verified["shards"], json!({ "total": 8, "open": 6, "closed": 2 }));
    balanced(3);
    let exported = json(&mut emulator.kinex("export", "orders"));
    let first = &exported[0];
    for key in [
        "leaseKey",
        "leaseOwner",
        "leaseCounter",
        "checkpointSequenceNumber",
        "ownerSwitchesSinceCheckpoint",
    ] {
        assert!(first.get(key).is_some(), "{key} in {first:#}");
    }
    assert!(stdout(emulator.kinex("timeline", "orders").args(["--count", "1"])).contains("leases 3/3"));
    assert!(stdout(&mut emulator.kinex("monitor", "orders")).contains("balanced"));

    json(emulator.kinex("merge", "orders").args(["--count", "1"]));
    for consumer in consumers {
        consumer.signal("TERM");
        assert_eq!(consumer.wait(), Some(0));
    }
    let check = json(&mut emulator.kinex("check", "orders"));
    assert!(
        check["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["ok"] == true),
        "{check:#}"
    );
    stdout(emulator.kinex("clean", "orders").arg("--yes"));
    assert_eq!(output(&mut emulator.kinex("verify", "orders")).status.code(), Some(2));
}

/// Consumers of the stream `orders` with a short failover time.
fn consumers(emulator: &Emulator, names: &[&str], renewal: &str) -> Vec<Process> {
    let start = |name: &&str| {
        let mut command = emulator.kinex("consumer", "orders");
        let renewal = format!("renewal={renewal}");
        command
            .args(["--worker-id", name, "--exit-with-parent", "--set", &renewal])
            .args(["--set", "failover_time_millis=3000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Process::start(&mut command)
    };
    names.iter().map(start).collect()
}

/// What a tool says as JSON, whatever its exit code.
fn said(emulator: &Emulator, tool: &str) -> Value {
    let said = output(emulator.kinex(tool, "orders").args(["-o", "json"]));
    serde_json::from_slice(&said.stdout).unwrap_or_default()
}

/// The names and the leases of the workers that live.
fn living(distribution: &Value) -> Vec<(String, u64)> {
    let workers = distribution["workers"].as_array().cloned().unwrap_or_default();
    workers
        .iter()
        .filter_map(|line| Some((line["worker"].as_str()?.to_owned(), line["leases"].as_u64()?)))
        .collect()
}

fn killed_workers_count_in_no_tool(renewal: &str) {
    let emulator = Emulator::start(&["--create-stream", "orders:6"]);
    let mut fleet = consumers(&emulator, &["pod-1", "pod-2", "pod-3"], renewal);
    let shared = |expected: &[(&str, u64)]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, leases)| ((*name).to_owned(), *leases))
            .collect();
        until("leases shared by the living", || {
            let analysis = said(&emulator, "analyze");
            (analysis["balanced"] == true && living(&analysis) == expected).then_some(())
        });
    };
    shared(&[("pod-1", 2), ("pod-2", 2), ("pod-3", 2)]);

    let killed = fleet.pop().unwrap();
    killed.signal("KILL");
    killed.wait();
    shared(&[("pod-1", 3), ("pod-2", 3)]);
    let seen = said(&emulator, "view-dist");
    assert_eq!(seen["verdict"], "balanced: 6 leases on 2 workers, 3 each", "{seen:#}");
    for absent in seen["absent"].as_array().unwrap() {
        assert!(
            ["silent", "dead"].contains(&absent["state"].as_str().unwrap()),
            "{seen:#}"
        );
    }
    let monitor = output(
        emulator
            .kinex("monitor", "orders")
            .args(["--until-balanced", "--interval", "0.2"]),
    );
    assert_eq!(monitor.status.code(), Some(0));
    let line = stdout(emulator.kinex("timeline", "orders").args(["--count", "1"]));
    assert!(line.contains("workers 2  leases 3/3  unassigned 0"), "{line}");
    let exported = json(&mut emulator.kinex("export", "orders"));
    assert!(
        exported
            .as_array()
            .unwrap()
            .iter()
            .all(|lease| lease["ownerState"] == "live"),
        "{exported:#}"
    );
    let planned = json(&mut emulator.kinex("plan", "orders"));
    assert_eq!(
        (&planned["moves"], &planned["orphansTaken"]),
        (&json!(0), &json!(0)),
        "{planned:#}"
    );

    // Nobody is left to take what the last ones had, and nobody reads it.
    for killed in fleet {
        killed.signal("KILL");
        killed.wait();
    }
    let seen = said(&emulator, "view-dist");
    assert_eq!(
        (&seen["unassigned"], &seen["balanced"]),
        (&json!(6), &json!(false)),
        "{seen:#}"
    );
    assert!(living(&seen).is_empty(), "{seen:#}");
    let text = stdout(&mut emulator.kinex("view-dist", "orders"));
    assert!(
        text.contains("no live worker: 6 leases without an owner that lives"),
        "{text}"
    );
    // One read cannot tell.
    let once = json(emulator.kinex("view-dist", "orders").arg("--once"));
    assert!(once["unknown"].as_u64() > Some(0), "{once:#}");
}

#[test]
fn killed_workers_count_in_no_tool_with_one_beat_per_worker() {
    let _alone = alone();
    killed_workers_count_in_no_tool("PerWorker");
}

#[test]
fn killed_workers_count_in_no_tool_with_one_beat_per_lease() {
    let _alone = alone();
    killed_workers_count_in_no_tool("PerLease");
}

/// A tool that watches, and what it writes.
struct Watch {
    process: Process,
    place: tempfile::TempDir,
}

impl Watch {
    fn start(command: &mut Command) -> Self {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| std::fs::File::create(place.path().join(name)).unwrap();
        let process = Process::start(command.stdout(file("stdout")).stderr(file("stderr")));
        Self { process, place }
    }

    fn wrote(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.path().join(name)).unwrap()
    }

    /// Waits until what it wrote there contains this.
    fn says(&self, name: &str, text: &str) {
        until(text, || self.wrote(name).contains(text).then_some(()));
    }
}

#[test]
fn watch_shows_that_a_killed_worker_is_replaced_without_waiting_for_its_next_line() {
    let _alone = alone();
    let emulator = Emulator::start(&["--create-stream", "orders:6"]);
    let mut fleet = consumers(&emulator, &["pod-1", "pod-2", "pod-3"], "PerWorker");
    let balanced = || {
        let monitor = output(emulator.kinex("monitor", "orders").arg("--until-balanced"));
        assert_eq!(monitor.status.code(), Some(0));
    };
    until("leases of all three", || {
        let seen = said(&emulator, "analyze");
        (seen["balanced"] == true && living(&seen).len() == 3).then_some(())
    });
    // The next line is due when the test has long ended.
    let timeline = Watch::start(emulator.kinex("timeline", "orders").args(["--interval", "3600"]));
    timeline.says("stdout", "workers 3  leases 2/2/2");
    let killed = fleet.pop().unwrap();
    killed.signal("KILL");
    killed.wait();
    timeline.says("stdout", "workers 2  leases 3/3  unassigned 0");
    balanced();
    assert_eq!(said(&emulator, "analyze")["balanced"], true);
    timeline.process.signal("INT");
    assert_eq!(timeline.process.wait(), Some(0));
}

#[test]
fn watch_goes_on_when_an_endpoint_that_was_away_is_back() {
    let emulator = Emulator::start(&["--create-stream", "orders:2"]);
    stdout(&mut emulator.kinex("start", "orders"));
    let away = json!({"service": "dynamodb", "api": "*", "fault": "serverError"});
    for (tool, flags) in [("monitor", &["--watch"][..]), ("timeline", &[])] {
        let watch = Watch::start(emulator.kinex(tool, "orders").args(flags).args(["--interval", "0.1"]));
        watch.says("stdout", "no leases yet");
        emulator.fault(&away);
        watch.says("stderr", "cannot read, trying again");
        emulator.heal();
        watch.says("stderr", "read again after");
        let before = watch.wrote("stdout").len();
        until("more lines", || (watch.wrote("stdout").len() > before).then_some(()));
        watch.process.signal("INT");
        assert_eq!(watch.process.wait(), Some(0), "{tool}");
    }
    // At the first request it may be the wrong endpoint.
    emulator.fault(&away);
    let code = output(emulator.kinex("monitor", "orders").arg("--watch")).status.code();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
}

#[test]
fn application_that_cannot_name_tables_is_refused_with_what_to_do() {
    let emulator = Emulator::start(&["--create-stream", "s4:2"]);
    let refused = output(&mut emulator.kinex("start", "s4"));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(
        why.contains("3 to 247 of these") && why.contains("--application NAME"),
        "{why}"
    );
    // Nobody has to name one.
    let mut command = kinex();
    command.args(["start", "--endpoint-url", &emulator.url, "--stream", "s4"]);
    stdout(&mut command);
    let (runtime, clients) = emulator.connect();
    runtime.block_on(clients.tables("kinex-s4").check()).unwrap();
}

/// `kinex monitor` on an endpoint that takes connections and never responds, and that endpoint.
fn on_a_silent_endpoint(arguments: &[&str]) -> (Process, TcpListener) {
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = kinex();
    command
        .args([
            "monitor",
            "--endpoint-url",
            &format!("http://{}", endpoint.local_addr().unwrap()),
        ])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    (Process::start(&mut command), endpoint)
}

#[test]
fn a_time_limit_holds_while_a_request_is_in_flight() {
    let (monitor, _endpoint) = on_a_silent_endpoint(&["--until-balanced", "--timeout", "1"]);
    assert_eq!(monitor.wait(), Some(4));
}

#[test]
fn an_interrupt_ends_a_watch_while_a_request_is_in_flight() {
    let (monitor, endpoint) = on_a_silent_endpoint(&["--watch"]);
    let _request = endpoint.accept().unwrap();
    monitor.signal("INT");
    assert_eq!(monitor.wait(), Some(0));
}
