//! Plain HTTP to a server on loopback, and the text of a scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A page, with its status.
///
/// # Errors
/// When nobody answers.
pub(super) fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // HTTP/1.0: the body ends with the connection, and is never sent in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

/// A metric as a scrape shows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Metric {
    /// The name that a query has.
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) help: String,
    pub(super) labels: BTreeSet<String>,
}

/// The metrics of a scrape in their order, each with the labels of all of its series.
pub(super) fn metrics(text: &str) -> Vec<Metric> {
    let mut found: Vec<Metric> = Vec::new();
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            at.insert(name.to_owned(), found.len());
            found.push(Metric {
                name: name.to_owned(),
                help: help.trim_end_matches('.').to_owned(),
                ..Metric::default()
            });
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (_, kind) = kind.split_once(' ').unwrap();
            let metric = found.last_mut().unwrap();
            metric.kind = kind.to_owned();
            match kind {
                "counter" => metric.name += "_total",
                "info" => metric.name += "_info",
                _ => {}
            }
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let suffixes = ["", "_total", "_info", "_bucket", "_sum", "_count"];
            let base = suffixes.iter().find_map(|suffix| at.get(name.strip_suffix(suffix)?));
            let metric = &mut found[*base.unwrap_or_else(|| panic!("{line} belongs to no metric"))];
            metric.labels.extend(labels(line));
        }
    }
    found
}

/// The names of the labels of a series, without the bounds of a histogram.
fn labels(line: &str) -> impl Iterator<Item = String> {
    let inside = line.split_once('{').map_or("", |(_, rest)| rest);
    // Between two quoted values stands `,name=`.
    let names = inside.split('"').step_by(2).filter_map(|between| {
        let name = between.trim_start_matches(',').strip_suffix('=')?;
        Some(name.to_owned())
    });
    names.filter(|name| name != "le")
}
