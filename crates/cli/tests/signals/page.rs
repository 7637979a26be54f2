//! docs/metrics.md lists what the programs serve, neither more nor less.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Run;
use super::scrape::{Metric, get, metrics};
use super::support::{root, until};

/// Compares the tables of the page with the scrapes of a run. `UPDATE=1` writes them.
pub(super) fn is_what_is_served(run: &mut Run) {
    let path = root().join("docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut fresh = page.clone();
    for job in ["consumer", "producer", "run"] {
        let addresses = until(&format!("a {job} to scrape"), || {
            Some(run.addresses(job)).filter(|addresses| !addresses.is_empty())
        });
        let (status, text) = get(&addresses[0], "/metrics").unwrap();
        assert_eq!(status, 200, "{text}");
        let (begin, end) = (format!("<!-- {job} -->\n"), format!("<!-- end of {job} -->\n"));
        let (before, rest) = fresh
            .split_once(&begin)
            .unwrap_or_else(|| panic!("the page lacks {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the page lacks {end}"));
        fresh = format!("{before}{begin}{}{end}{after}", table(&metrics(&text)));
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page, fresh, "docs/metrics.md: refresh with UPDATE=1");
}

fn table(metrics: &[Metric]) -> String {
    let common = common(metrics);
    let mut text = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in metrics {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .filter(|label| !common.contains(*label))
            .map(|label| format!("`{label}`"))
            .collect();
        let Metric { name, kind, help, .. } = metric;
        let help = help.replace('|', "\\|");
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join(" "));
    }
    text
}

/// The labels that every metric of a program has; the text above the table names them.
fn common(metrics: &[Metric]) -> BTreeSet<String> {
    let build = metrics.iter().find(|metric| metric.name == "kinex_build_info").unwrap();
    let own = ["program", "version"];
    build
        .labels
        .iter()
        .filter(|label| !own.contains(&label.as_str()))
        .cloned()
        .collect()
}
