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

/// Ends what the verbs started, whatever becomes of the test.
struct Stop<'a>(u16, &'a Path);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        drop(output(&mut make("stop", self.0, self.1)));
    }
}

#[test]
fn a_verb_typed_twice_harms_neither_log_nor_process_id() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("logs");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _stop = Stop(port, &logs);
    stdout(&mut make("start", port, &logs));
    let emulator = std::fs::read_to_string(logs.join("emulator.pid")).unwrap();
    let mut command = make("consumer-pod1", port, &logs);
    let terminal = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0));
    let file = |name: &str| std::fs::read_to_string(logs.join(name)).unwrap_or_default();
    until("a first line of its log", || {
        file("consumer-pod-1.log").contains("consumer starts").then_some(())
    });
    let (pid, log) = (file("consumer-pod-1.pid"), file("consumer-pod-1.log"));

    let second = output(&mut make("consumer-pod1", port, &logs));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success(), "{said}");
    assert!(
        said.contains(&format!("consumer-pod-1 runs already (process {})", pid.trim())),
        "{said}"
    );
    assert_eq!(file("consumer-pod-1.pid"), pid);
    assert!(file("consumer-pod-1.log").starts_with(&log));
    assert!(stdout(&mut make("start", port, &logs)).contains("the emulator runs already"));
    assert_eq!(file("emulator.pid"), emulator);

    stdout(&mut make("stop", port, &logs));
    assert_eq!(terminal.wait(), Some(0));
    // What the first one logged is still there when the same verb is typed again.
    stdout(&mut make("start", port, &logs));
    let mut command = make("consumer-pod1", port, &logs);
    let terminal = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0));
    until("a second start in the log", || {
        (file("consumer-pod-1.log").matches("consumer starts").count() == 2).then_some(())
    });
    stdout(&mut make("stop", port, &logs));
    assert_eq!(terminal.wait(), Some(0));
}

#[test]
fn a_stale_process_id_that_somebody_else_has_blocks_nothing_and_ends_nobody() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("logs");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _stop = Stop(port, &logs);
    // It only has to live, and to be named as if it were one of ours.
    let mut stranger = Command::new("bash");
    stranger.args(["-c", "read -r line", "kinex"]).stdin(Stdio::piped());
    let mut stranger = Process::start(&mut stranger);
    std::fs::create_dir_all(&logs).unwrap();
    for name in ["emulator", "consumer-pod-1"] {
        std::fs::write(logs.join(format!("{name}.pid")), stranger.0.id().to_string()).unwrap();
        std::fs::write(logs.join(format!("{name}.lock")), "").unwrap();
    }
    stdout(&mut make("stop", port, &logs));
    assert!(stranger.0.try_wait().unwrap().is_none());
    stdout(&mut make("start", port, &logs));
    let emulator = std::fs::read_to_string(logs.join("emulator.pid")).unwrap();
    assert_ne!(emulator.trim(), stranger.0.id().to_string());
    stdout(&mut make("stop", port, &logs));
    assert!(stranger.0.try_wait().unwrap().is_none());
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
