//! kubectl and helm as processes, with what they said.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// What a command said and whether it succeeded.
#[derive(Debug, Clone)]
pub struct Answer {
    command: String,
    /// Its data.
    pub stdout: String,
    /// Its complaints.
    pub stderr: String,
    /// Whether its exit code is 0.
    pub success: bool,
}

impl Answer {
    /// The data of a command that succeeded.
    ///
    /// # Errors
    /// The command and its complaint, when it failed.
    pub fn ok(self) -> anyhow::Result<String> {
        if !self.success {
            bail!("{}: {}{}", self.command, self.stderr.trim(), self.stdout.trim());
        }
        Ok(self.stdout)
    }

    /// The data of a command that succeeded and printed JSON.
    ///
    /// # Errors
    /// As [`Self::ok`], or what is wrong with the JSON.
    pub fn json(self) -> anyhow::Result<Value> {
        let command = self.command.clone();
        serde_json::from_str(&self.ok()?).with_context(|| format!("{command} printed no JSON"))
    }

    /// The complaint of a command that failed.
    ///
    /// # Errors
    /// The command succeeded.
    pub fn refused(self) -> anyhow::Result<String> {
        if self.success {
            bail!("{}: succeeded: {}", self.command, self.stdout.trim());
        }
        Ok(self.stderr)
    }
}

/// Runs kubectl.
///
/// # Panics
/// When there is no kubectl to run.
pub fn kubectl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Answer {
    call("kubectl", arguments, None)
}

/// Runs kubectl with a text on its input, for `-f -`.
///
/// # Panics
/// When there is no kubectl to run.
pub fn kubectl_with<A: AsRef<OsStr>>(input: &str, arguments: impl IntoIterator<Item = A>) -> Answer {
    call("kubectl", arguments, Some(input))
}

/// Runs helm.
///
/// # Panics
/// When there is no helm to run.
pub fn helm<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Answer {
    call("helm", arguments, None)
}

/// Runs the `kinex` of this build, or the one that `KINEX` names.
///
/// # Panics
/// When it was not built.
pub(crate) fn kinex<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Answer {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), Into::into);
    let built = target.join("debug/kinex").into_os_string();
    let program = std::env::var_os("KINEX").unwrap_or(built);
    call(&program.to_string_lossy(), arguments, None)
}

fn call<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>, input: Option<&str>) -> Answer {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(crate::root())
        .stdin(input.map_or_else(Stdio::null, |_| Stdio::piped()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let shown = std::iter::once(OsStr::new(program))
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ");
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}; run the tests by `make cluster-test`"));
    if let Some(input) = input {
        // A program that ends without reading says why on its error output.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .expect("a child that was started can be waited for");
    Answer {
        command: shown,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        success: output.status.success(),
    }
}
