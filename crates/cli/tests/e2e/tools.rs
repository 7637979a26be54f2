//! The guide's tools against endpoints in a process of their own.

use serde_json::json;

use crate::support::{Emulator, Process, alone, json, output, stdout, until};

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
