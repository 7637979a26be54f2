//! Dashboards, alerts and runbooks name what there is: each metric is registered and documented, each alert has its page.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kinex_tidy::{files, read};

/// Where metrics are registered.
const SOURCES: [&str; 4] = ["consumer/src", "producer/src", "operator/src", "crates/telemetry/src"];
const ALERTS: &str = "charts/kinex/alerts/kinex.yaml";
const RUNBOOKS: &str = "docs/runbooks";

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let names = text.match_indices("kinex_").filter_map(|(at, _)| {
        let inside_a_word = text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/'));
        let rest = &text[at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let name = &rest[..end];
        // `kinex_core::` is a crate.
        (!inside_a_word && !rest[end..].starts_with("::") && name.len() > "kinex_".len()).then_some(name)
    });
    names.collect()
}

fn named() -> Vec<(PathBuf, String)> {
    let texts = files(&[".json", ".yaml", ".md"]).into_iter().filter(|path| {
        path.starts_with("charts/kinex/dashboards")
            || path.starts_with("charts/kinex/alerts")
            || path.starts_with("tests/alerts")
            || path.starts_with(RUNBOOKS)
    });
    let named: Vec<_> = texts
        .flat_map(|path| {
            let text = read(&path);
            let names: Vec<String> = metrics(&text).into_iter().map(str::to_owned).collect();
            names.into_iter().map(move |name| (path.clone(), name))
        })
        .collect();
    assert!(named.len() > 50, "only {} names were found", named.len());
    named
}

/// The name without what a histogram's series append.
fn family(name: &str) -> &str {
    let suffixes = ["_bucket", "_sum", "_count"];
    suffixes
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

#[test]
fn every_metric_of_a_dashboard_an_alert_or_a_runbook_is_registered() {
    let sources = files(&[".rs"]).into_iter().filter(|path| {
        let tests = path.ends_with("tests.rs");
        SOURCES.iter().any(|folder| path.starts_with(folder)) && !tests
    });
    let code: String = sources.map(|path| read(&path)).collect();
    for (path, name) in named() {
        // The registry appends these to the name that is registered.
        let base = family(&name).trim_start_matches("kinex_");
        let candidates = ["", "_total", "_seconds", "_info"].map(|suffix| base.strip_suffix(suffix));
        let registered = |base: &str| code.contains(&format!("\"{base}\""));
        assert!(
            candidates.into_iter().flatten().any(registered),
            "{}: no program registers {name}",
            path.display()
        );
    }
}

#[test]
fn every_metric_of_a_dashboard_an_alert_or_a_runbook_is_documented() {
    let page = read(Path::new("docs/metrics.md"));
    let rows: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    for (path, name) in named() {
        assert!(
            rows.contains(family(&name)),
            "{}: docs/metrics.md has no {name}",
            path.display()
        );
    }
}

/// An operator of several namespaces calls an experiment NAMESPACE/NAME; its consumers know their application NAME alone.
/// A panel that takes the one for the other is empty there.
#[test]
fn panels_ask_for_applications_and_experiments_by_their_own_names() {
    let mut asked = 0;
    for path in files(&[".json"]) {
        if !path.starts_with("charts/kinex/dashboards") {
            continue;
        }
        let text = read(&path);
        let board: serde_json::Value = serde_json::from_str(&text).unwrap();
        let named = |name: &str| {
            let variables = board["templating"]["list"].as_array().unwrap();
            variables
                .iter()
                .find(|variable| variable["name"] == name)
                .unwrap()
                .clone()
        };
        for (label, variable) in text
            .match_indices("=\\\"$")
            .chain(text.match_indices("=~\\\"$"))
            .map(|(at, sign)| {
                let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric()).collect::<String>();
                let label: String = word(&text[..at].chars().rev().collect::<String>())
                    .chars()
                    .rev()
                    .collect();
                (label, word(&text[at + sign.len()..]))
            })
            .filter(|(label, _)| label == "application" || label == "experiment")
        {
            let filled_by = named(&variable);
            let query = filled_by["query"]["query"].as_str().unwrap();
            let from = query.trim_end_matches(')').rsplit(' ').next().unwrap();
            let without_namespace = from == "experiment" && filled_by["regex"] == "/([^\\/]+)$/";
            assert!(
                if without_namespace {
                    label == "application"
                } else {
                    label == from
                },
                "{}: {label}=\"${variable}\", which holds a value of {from}",
                path.display()
            );
            asked += 1;
        }
    }
    assert!(asked > 30, "only {asked} were found");
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let rules = read(Path::new(ALERTS));
    let values = |key: &str| -> BTreeSet<String> {
        let lines = rules.lines().map(|line| line.trim_start().trim_start_matches("- "));
        lines
            .filter_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()))
            .collect()
    };
    let alerts = values("alert:");
    assert!(!alerts.is_empty());
    let expected: BTreeSet<String> = alerts.iter().map(|alert| format!("{RUNBOOKS}/{alert}.md")).collect();
    assert_eq!(values("runbook_url:"), expected, "each alert links its own page");
    let pages: BTreeSet<String> = files(&[".md"])
        .into_iter()
        .filter(|path| path.starts_with(RUNBOOKS))
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(pages, expected);
    let overview = read(Path::new("docs/metrics.md"));
    for alert in &alerts {
        let page = read(&PathBuf::from(format!("{RUNBOOKS}/{alert}.md")));
        assert!(
            page.starts_with(&format!("# {alert}: ")),
            "{alert}: the page names another alert"
        );
        for part in [
            "## What it means",
            "## What to look at",
            "## What to do",
            "```console\n$ ",
        ] {
            assert!(page.contains(part), "{alert}: the page has no `{part}`");
        }
        assert!(
            overview.contains(&format!("(runbooks/{alert}.md)")),
            "{alert} is not in docs/metrics.md"
        );
    }
}
