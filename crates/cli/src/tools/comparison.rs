//! Two runs side by side.

use serde::Serialize;

use kinex_stage::text::slashed;

use crate::output::{Shown, table};
use kinex_stage::report::markdown::spread;
use kinex_stage::report::summary::{Phase, Records, Summary};

/// One line: what, in the first run, in the second, and the difference where there is one to compute.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    what: String,
    a: String,
    b: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<f64>,
}

/// The comparison of two runs.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    a: String,
    b: String,
    lines: Vec<Line>,
}

impl Comparison {
    /// Compares two summaries that a user knows by these names.
    pub(crate) fn of((a_name, a): (&str, &Summary), (b_name, b): (&str, &Summary)) -> Self {
        let mut lines = vec![
            text("experiment", &a.experiment, &b.experiment),
            text("strategy", &a.strategy, &b.strategy),
            text("verdict", &a.verdict, &b.verdict),
            number("seconds", Some(a.seconds), Some(b.seconds)),
        ];
        for index in 0..a.phases.len().max(b.phases.len()) {
            phase(&mut lines, a.phases.get(index), b.phases.get(index));
        }
        let records = |s: &Summary| s.records.clone().unwrap_or_default();
        let (ra, rb) = (records(a), records(b));
        let count = |what: &str, a: u64, b: u64| number(what, Some(a as f64), Some(b as f64));
        lines.push(count("records produced", ra.produced, rb.produced));
        lines.push(count("records missing", ra.missing, rb.missing));
        lines.push(count("records duplicates", ra.duplicates, rb.duplicates));
        lines.push(count("records reordered", ra.reordered, rb.reordered));
        let dropped = |r: &Records| r.dropped.values().sum::<u64>();
        lines.push(count("records dropped", dropped(&ra), dropped(&rb)));
        let mut apis: Vec<_> = a.requests.keys().chain(b.requests.keys()).collect();
        apis.sort();
        apis.dedup();
        for api in apis {
            let rate = |s: &Summary| s.requests.get(api).map(|r| (r.per_second * 100.0).round() / 100.0);
            lines.push(number(&format!("{api} per second"), rate(a), rate(b)));
        }
        Self {
            a: a_name.to_owned(),
            b: b_name.to_owned(),
            lines,
        }
    }
}

fn phase(lines: &mut Vec<Line>, a: Option<&Phase>, b: Option<&Phase>) {
    let name = a.or(b).map_or_else(String::new, |p| p.name.clone());
    let leases = |p: Option<&Phase>| p.map_or_else(|| "-".to_owned(), |p| spread(&p.leases_per_worker));
    let shards = |p: Option<&Phase>| {
        p.map_or_else(
            || "-".to_owned(),
            |p| slashed([p.stream.total, p.stream.open, p.stream.closed]),
        )
    };
    lines.push(text(&format!("{name}: leases per worker"), &leases(a), &leases(b)));
    lines.push(text(&format!("{name}: total/open/closed"), &shards(a), &shards(b)));
    let mut value = |what: &str, of: fn(&Phase) -> Option<f64>| {
        lines.push(number(&format!("{name}: {what}"), a.and_then(of), b.and_then(of)));
    };
    value("convergence seconds", |p| p.convergence_seconds);
    value("moves", |p| Some(p.moves as f64));
    value("moves minimum", |p| Some(p.moves_minimum as f64));
    value("unread seconds max", |p| Some(p.unread_seconds_max));
}

fn text(what: &str, a: &str, b: &str) -> Line {
    Line {
        what: what.to_owned(),
        a: a.to_owned(),
        b: b.to_owned(),
        difference: None,
    }
}

fn number(what: &str, a: Option<f64>, b: Option<f64>) -> Line {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), shortest);
    Line {
        what: what.to_owned(),
        a: shown(a),
        b: shown(b),
        difference: a.zip(b).map(|(a, b)| b - a),
    }
}

/// Whole numbers without a point, others with two decimals at most.
fn shortest(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Shown for Comparison {
    fn text(&self, _wide: bool) -> String {
        let rows = self.lines.iter().map(|line| {
            let difference = line.difference.filter(|d| d.abs() >= 0.005);
            let sign = difference.map_or_else(String::new, |d| {
                format!("{}{}", if d > 0.0 { "+" } else { "" }, shortest(d))
            });
            vec![line.what.clone(), line.a.clone(), line.b.clone(), sign]
        });
        table(["", &self.a, &self.b, "b - a"], rows.collect())
    }
}
