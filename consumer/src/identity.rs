//! Who this process is, and whom it tells.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use kinex_aws::{Facts, Fault, patiently};
use kinex_kcl::{Incarnation, WorkerId};

use crate::{Args, Error};

/// The worker's name and this start of it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) worker: WorkerId,
    pub(crate) incarnation: Incarnation,
    /// RFC 3339.
    pub(crate) started: String,
    /// The pod that the process is in, where there is one.
    pub(crate) pod: Option<String>,
}

/// The kind of the fact rows that say which pod a worker's process is in: `{"incarnation","podUid","startedAt"}` by the
/// worker's name.
pub const PROCESS: &str = "process";

impl Identity {
    /// The flag wins, then `POD_NAME`, then the host name.
    pub(crate) fn of(args: &Args) -> Result<Self, Error> {
        let pod = std::env::var("POD_NAME").ok();
        let name = [args.worker_id.clone(), pod, Some(host())]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty())
            .ok_or_else(|| Error::Settings("this machine has no host name: give --worker-id NAME".to_owned()))?;
        if name.starts_with('#') || name.len() > 255 || name.chars().any(char::is_control) {
            return Err(Error::Settings(format!(
                "`{}` cannot be a worker id: at most 255 characters, no control characters, no `#` at the start",
                name.escape_debug()
            )));
        }
        Ok(Self {
            worker: WorkerId::from(name),
            incarnation: Incarnation::from(uuid::Uuid::new_v4().to_string()),
            started: jiff::Timestamp::now().to_string(),
            pod: std::env::var("POD_UID").ok().filter(|uid| !uid.is_empty()),
        })
    }

    /// Where a person finds this process: the metrics address, with the host's name in place of "any address".
    pub(crate) fn address(&self, metrics: Option<&str>) -> String {
        let host = host();
        match metrics.and_then(|address| address.parse::<SocketAddr>().ok()) {
            Some(address) if address.ip().is_unspecified() => format!("{host}:{}", address.port()),
            Some(address) => address.to_string(),
            None => host,
        }
    }

    /// Says which pod the process is in, for whoever has to tell the pods of one name apart.
    pub(crate) async fn register(&self, facts: &Facts) -> Result<(), Fault> {
        let Some(pod) = &self.pod else {
            return Ok(());
        };
        let fact = serde_json::json!({ "incarnation": self.incarnation, "podUid": pod, "startedAt": self.started });
        let body = fact.to_string();
        patiently(|| facts.put(PROCESS, self.worker.as_str(), &body)).await
    }

    /// Writes the incarnation where a witness of this process's death will find it, and the identity for a runner.
    pub(crate) fn announce(&self, args: &Args, metrics: Option<&str>) -> Result<(), Error> {
        if let Some(path) = &args.termination_log {
            write(path, self.incarnation.as_str())?;
        }
        if let Some(path) = &args.identity_file {
            let line = serde_json::json!({
                "worker": self.worker,
                "incarnation": self.incarnation,
                "pid": std::process::id(),
                "metrics": metrics,
            });
            replace(path, &format!("{line}\n"))?;
        }
        Ok(())
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whoever polls for the file sees all of it or none.
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    write(Path::new(&new), text)?;
    fs::rename(&new, path).map_err(|error| refused(path, &error))
}

/// In place: a termination log is a mounted file, which cannot be replaced.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &std::io::Error) -> Error {
    Error::Start(format!("cannot write {}: {error}", path.display()))
}
