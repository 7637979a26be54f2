//! The endpoints of a release, reached from the test: what stands in the stream and in the lease table, asked without
//! the operator.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::Context;
use serde_json::Value;

use crate::tool::{Answer, kinex};
use crate::{Namespace, root};

/// A tunnel to the endpoints' Service. It is closed when this is dropped.
#[derive(Debug)]
pub struct Endpoint {
    tunnel: Child,
    /// Reads what kubectl says of each connection: it would stand still once nobody did.
    reader: Option<JoinHandle<()>>,
    url: String,
}

impl Endpoint {
    /// Opens the tunnel on a free port of this machine.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn open(namespace: &Namespace) -> anyhow::Result<Self> {
        let mut tunnel = Command::new("kubectl")
            .args([
                "--namespace",
                namespace.name(),
                "port-forward",
                "service/kinex-endpoint",
                ":4566",
            ])
            .current_dir(root())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let mut output = BufReader::new(tunnel.stdout.take().expect("it is piped"));
        output.read_line(&mut line)?;
        // Forwarding from 127.0.0.1:40123 -> 4566
        let address = line
            .split_whitespace()
            .find(|word| word.starts_with("127.0.0.1:"))
            .with_context(|| format!("no tunnel: {line}"));
        match address {
            Ok(address) => Ok(Self {
                url: format!("http://{address}"),
                reader: Some(std::thread::spawn(move || {
                    let _ = std::io::copy(&mut output, &mut std::io::sink());
                })),
                tunnel,
            }),
            Err(error) => {
                let _ = tunnel.kill();
                let _ = tunnel.wait();
                Err(error)
            }
        }
    }

    /// Runs a verb of `kinex` on a stream and its lease table, with its answer as JSON.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn kinex(&self, verb: &str, stream: &str, application: &str) -> anyhow::Result<Value> {
        self.ask(verb, stream, application).json()
    }

    /// Runnable leases of each worker, as `kinex view-dist` reads them from the table.
    ///
    /// # Errors
    /// As [`Self::kinex`], or what is missing in its answer.
    pub fn leases(&self, stream: &str, application: &str) -> anyhow::Result<BTreeMap<String, u64>> {
        let view = self.kinex("view-dist", stream, application)?;
        let line = |worker: &Value| Some((worker["worker"].as_str()?.to_owned(), worker["leases"].as_u64()?));
        let lines = view["workers"]
            .as_array()
            .map(|workers| workers.iter().map(line).collect());
        lines.flatten().with_context(|| format!("{view:#}"))
    }

    fn ask(&self, verb: &str, stream: &str, application: &str) -> Answer {
        let at = [
            "--endpoint-url",
            &self.url,
            "--stream",
            stream,
            "--application",
            application,
        ];
        kinex([verb, "-o", "json"].into_iter().chain(at))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.tunnel.kill();
        let _ = self.tunnel.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
