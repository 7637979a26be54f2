//! `report.html`: one page that needs nothing else.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};

use crate::report::chart::{Band, Chart, Series, svg};
use crate::report::markdown::spread;
use crate::report::recording::{Recording, Sample};
use crate::text::{seconds, slashed};

const PAGE: &str = include_str!("report.html");

/// Renders the page.
///
/// # Errors
/// When the template is broken, which a test would have found.
pub fn page(run: &Recording) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.add_filter("seconds", |value: Option<f64>| seconds(value));
    environment.add_filter("spread", |leases: Serde<BTreeMap<String, usize>>| spread(&leases.0));
    environment.add_template("report.html", PAGE)?;
    let summary = &run.summary;
    let counted: Vec<_> = run.moves.iter().filter(|m| m.counts()).collect();
    let minimum: usize = summary.phases.iter().map(|p| p.moves_minimum).sum();
    let moves: usize = summary.phases.iter().map(|p| p.moves).sum();
    let gaps = longest_gaps(run);
    let page = environment.get_template("report.html")?.render(context! {
        summary => Serde(summary),
        moves => Serde(&counted),
        moves_total => slashed([moves, minimum]),
        gaps,
        gaps_total => run.gaps.len(),
        leases => Serde(&run.leases),
        leases_chart => Value::from_safe_string(leases_chart(run)),
        imbalance_chart => Value::from_safe_string(imbalance_chart(run)),
        unread_max => run.gaps.iter().map(|g| g.seconds(summary.seconds)).fold(0.0, f64::max),
    })?;
    Ok(page)
}

/// The gaps of more than a look's length, the longest first, a screenful of them.
fn longest_gaps(run: &Recording) -> Vec<Value> {
    let now = run.summary.seconds;
    let mut gaps: Vec<_> = run.gaps.iter().collect();
    gaps.sort_by(|a, b| {
        b.seconds(now)
            .total_cmp(&a.seconds(now))
            .then_with(|| a.lease.cmp(&b.lease))
    });
    gaps.truncate(50);
    gaps.into_iter()
        .map(|gap| context! { lease => gap.lease.as_str(), from => gap.from, seconds => gap.seconds(now), why => gap.why.as_str(), open => gap.until.is_none() })
        .collect()
}

fn leases_chart(run: &Recording) -> String {
    let series: Vec<_> = run
        .workers()
        .into_iter()
        .map(|worker| {
            let points = changes(&run.samples, |s| s.leases_per_worker.get(&worker).map(|n| *n as f64));
            // The experiment's name is in the headline already.
            let name = worker
                .strip_prefix(&format!("{}-", run.summary.experiment))
                .unwrap_or(&worker)
                .to_owned();
            Series { name, points }
        })
        .collect();
    svg(&Chart {
        title: "Leases per worker over time",
        height: 400.0,
        seconds: run.summary.seconds,
        series: &series,
        bands: &bands(run),
        labels: true,
    })
}

fn imbalance_chart(run: &Recording) -> String {
    let imbalance = Series {
        name: "imbalance".into(),
        points: changes(&run.samples, |s| Some(s.imbalance as f64)),
    };
    let unowned = Series {
        name: "without owner".into(),
        points: changes(&run.samples, |s| Some(s.unowned as f64)),
    };
    svg(&Chart {
        title: "Imbalance and leases without an owner over time",
        height: 220.0,
        seconds: run.summary.seconds,
        series: &[imbalance, unowned],
        bands: &bands(run),
        labels: true,
    })
}

/// The moments at which a value changed.
fn changes(samples: &[Sample], value: impl Fn(&Sample) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    let mut points: Vec<(f64, Option<f64>)> = Vec::new();
    for sample in samples {
        let value = value(sample);
        if points.last().is_none_or(|(_, last)| *last != value) {
            points.push((sample.seconds, value));
        }
    }
    points
}

fn bands(run: &Recording) -> Vec<Band> {
    let steps = run.summary.steps.iter().enumerate();
    steps
        .filter_map(|(index, step)| {
            let from = step.started?;
            let until = from + step.seconds.unwrap_or(run.summary.seconds - from);
            Some(Band {
                number: index + 1,
                title: format!("{}. {} ({}): {}", index + 1, step.name, step.kind, step.outcome),
                span: (from, until),
                acts: !matches!(step.kind.as_str(), "waitUntilBalanced" | "assert" | "pause" | "setup"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::recording;

    #[test]
    fn the_page_is_whole_and_asks_for_nothing_from_outside() {
        // The template writes a slash as an entity.
        let page = page(&recording()).unwrap().replace("&#x2f;", "/");
        for outside in ["http://", "https://", "src=", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for part in ["Pass", "7/7/6", "10/10/10", "6/6/6/6/6", "<svg", "40/30/10"] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("undefined"));
    }

    #[test]
    fn names_from_outside_are_escaped() {
        let mut run = recording();
        run.summary.experiment = "<script>alert(1)</script>".into();
        assert!(!page(&run).unwrap().contains("<script>"));
    }
}
