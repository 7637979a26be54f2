//! Independent implementations of the same protocols, as programs that are started and ended here.
//!
//! They listen on every interface, so each runs in a network namespace that has nothing but loopback: the test starts
//! itself again inside of a new one. It is gone with its last process.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process inside of the namespace.
const INSIDE: &str = "KINEX_PEER_INSIDE";
const PEERS_DIR: &str = "KINEX_PEERS_DIR";
/// A busy machine needs a while to start Java.
const START_WITHIN: Duration = Duration::from_secs(120);

/// Whether this is the process inside of the namespace. Otherwise runs the test again inside, and fails as it fails.
pub(crate) fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("a test knows its own program");
    // Root has the right to make a namespace; others get it inside of a user namespace of their own.
    let ran = Command::new("unshare")
        .args([
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            r#"ip link set lo up && exec "$0" "$@""#,
        ])
        .arg(this)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("cannot run `unshare`: install util-linux and iproute2");
    assert!(ran.success(), "{test} failed inside of its network namespace: {ran}");
    false
}

/// A running peer; it is killed and reaped when dropped.
pub(crate) struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// npm `kinesis-local`: its URL.
pub(crate) fn kinesis_local() -> (Peer, String) {
    let dir = installed("node_modules/kinesis-local");
    let mut node = Command::new("node");
    node.arg("main.js")
        .current_dir(dir)
        .env("KINESIS_MOCK_PLAIN_PORT", "4568")
        .env("SHARD_LIMIT", "1000");
    for change in [
        "CREATE_STREAM",
        "DELETE_STREAM",
        "MERGE_SHARDS",
        "SPLIT_SHARD",
        "UPDATE_SHARD_COUNT",
    ] {
        node.env(format!("{change}_DURATION"), "800ms");
    }
    (
        start(node.env("LOG_LEVEL", "ERROR"), 4568),
        "http://127.0.0.1:4568".to_owned(),
    )
}

/// AWS's DynamoDB Local: its URL.
pub(crate) fn dynamodb_local() -> (Peer, String) {
    let lib = installed("dynamodb-local");
    let mut java = Command::new("java");
    java.arg("-Xmx512m")
        .arg(format!("-Dsqlite4java.library.path={}", lib.display()));
    java.arg("-cp")
        .arg(lib.join("*"))
        .arg("com.amazonaws.services.dynamodbv2.local.main.ServerRunner");
    java.args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", "8000"]);
    (start(&mut java, 8000), "http://127.0.0.1:8000".to_owned())
}

fn installed(part: &str) -> PathBuf {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers");
    let dir = PathBuf::from(std::env::var(PEERS_DIR).unwrap_or_else(|_| target.to_owned())).join(part);
    assert!(
        dir.is_dir(),
        "{} is missing: run tests/peers/install first (or point {PEERS_DIR} at it)",
        dir.display()
    );
    dir
}

fn start(command: &mut Command, port: u16) -> Peer {
    let name = command.get_program().to_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut peer = Peer(child.unwrap_or_else(|error| panic!("cannot start {name:?}: {error}: install it")));
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Ok(Some(ended)) = peer.0.try_wait() {
            panic!("{name:?} ended at its start: {ended}");
        }
        assert!(
            since.elapsed() < START_WITHIN,
            "{name:?} does not listen on port {port}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    peer
}
