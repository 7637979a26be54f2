//! The Makefile's verbs in the guide's order.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Process, alone, output, root, stdout, until};

/// `make VERB` with a port and a log directory of the test's own, and without building.
fn make(verb: &str, port: u16, logs: &Path) -> Command {
    let mut command = Command::new("make");
    command
        .current_dir(root())
        .args(["--no-print-directory", verb, "CARGO=true"])
        .stdin(Stdio::null());
    command.arg(format!("KINEX={}", env!("CARGO_BIN_EXE_kinex")));
    command
        .arg(format!("PORT={port}"))
        .arg(format!("LOGS={}", logs.display()));
    command
}

#[test]
fn the_guides_terminals_work_one_by_one() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("logs");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let verb = |name: &str| make(name, port, &logs);
    // Whatever happens below, the processes that were started end.
    struct Stop<F: Fn()>(F);
    impl<F: Fn()> Drop for Stop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let stop = Stop(|| drop(output(&mut make("stop", port, &logs))));

    stdout(&mut verb("start"));
    assert!(logs.join("emulator.pid").exists());
    assert!(stdout(&mut verb("verify")).contains("open    20"));
    let terminal = |name: &str| {
        let mut command = verb(name);
        Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0))
    };
    let mut terminals: Vec<_> = ["consumer-pod1", "consumer-pod2", "consumer-pod3", "producer"]
        .map(terminal)
        .into();
    until("three workers with 6 or 7", || {
        let said = output(&mut verb("analyze"));
        (said.status.success() && String::from_utf8_lossy(&said.stdout).contains("20 leases on 3 workers"))
            .then_some(())
    });
    assert!(stdout(&mut verb("split")).contains("40 total, 30 open, 10 closed"));
    until("ten each", || {
        let said = output(&mut verb("analyze"));
        (said.status.success() && String::from_utf8_lossy(&said.stdout).contains("30 leases on 3 workers, 10 each"))
            .then_some(())
    });
    terminals.extend(["consumer-pod4", "consumer-pod5"].map(terminal));
    until("six each", || {
        let said = output(&mut verb("analyze"));
        (said.status.success() && String::from_utf8_lossy(&said.stdout).contains("30 leases on 5 workers, 6 each"))
            .then_some(())
    });
    stdout(&mut verb("export"));
    assert!(logs.join("leases.json").exists() && logs.join("leases.csv").exists());
    let log = std::fs::read_to_string(logs.join("consumer-pod-1.log")).unwrap();
    assert!(log.contains("Rate: "), "{log}");
    stdout(&mut verb("stop"));
    for terminal in terminals {
        assert_eq!(terminal.wait(), Some(0));
    }
    assert!(!logs.join("emulator.pid").exists());
    drop(stop);
}

#[test]
fn help_is_the_default() {
    let listed = stdout(Command::new("make").arg("--no-print-directory").current_dir(root()));
    for verb in [
        "build", "start", "verify", "producer", "monitor", "split", "analyze", "timeline", "stop", "demo",
    ] {
        assert!(
            listed.lines().any(|line| line.trim_start().starts_with(verb)),
            "{verb} in {listed}"
        );
    }
}
