//! What the tests on a real cluster share: kubectl and helm called as a user would, waits with a limit, and a
//! namespace of its own for each test that leaves its state in the logs when the test fails.
//!
//! The cluster is the one that `KUBECONFIG` names. `make cluster-test` starts one when there is none.

mod audit;
mod endpoint;
mod namespace;
mod release;
mod tool;
mod wait;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use audit::{AuditLog, Call};
pub use endpoint::Endpoint;
pub use namespace::Namespace;
pub use release::{Release, step_of};
pub use tool::{Answer, helm, kubectl, kubectl_with};
pub use wait::{Waited, until};

/// The repository's folder.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("tests/cluster is two folders down")
        .to_path_buf()
}

/// Where a failed test leaves what it saw of the cluster.
#[must_use]
pub fn logs() -> PathBuf {
    root().join("target/cluster/logs/tests")
}

/// Has the cluster learn the custom resource, as `deploy/crd` has it, and waits until it serves and describes it.
///
/// # Errors
/// What the API server objects to.
///
/// # Panics
/// When it has not published the description within half a minute: that comes a moment after the resource is served.
pub fn install_definition() -> anyhow::Result<()> {
    let file = root().join("deploy/crd/kinesisexperiments.yaml");
    kubectl([
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        &file.display().to_string(),
    ])
    .ok()?;
    kubectl([
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd/kinesisexperiments.kinex.dev",
    ])
    .ok()?;
    until("the definition is described", Duration::from_secs(30), || {
        kubectl(["explain", "kex"]).ok()
    });
    Ok(())
}
