//! Step charts as SVG text: whole numbers over time, one line per series, the steps of the run behind them.
//!
//! Colours are CSS classes (`s0` to `s9`), so that the page decides what they look like in the dark.

use std::fmt::Write;

/// One line.
pub struct Series {
    /// Its name, shown at its right end.
    pub name: String,
    /// Time and value at each change, in the order of time; `None`: the line stops there.
    pub points: Vec<(f64, Option<f64>)>,
}

/// A stretch of the run, drawn as a band with a number on top.
pub struct Band {
    /// Its number.
    pub number: usize,
    /// What the pointer shows.
    pub title: String,
    /// From when until when.
    pub span: (f64, f64),
    /// Whether something was done in it, rather than waited for.
    pub acts: bool,
}

/// What to draw.
pub struct Chart<'a> {
    /// What a screen reader says.
    pub title: &'a str,
    /// The height of the drawing.
    pub height: f64,
    /// The end of the run.
    pub seconds: f64,
    /// The lines.
    pub series: &'a [Series],
    /// The steps.
    pub bands: &'a [Band],
    /// Whether the names stand at the lines' ends.
    pub labels: bool,
}

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 42.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 26.0;
/// Lines on the same value are drawn this far apart, so that each can be seen.
const APART: f64 = 2.4;

struct Scale {
    right: f64,
    height: f64,
    seconds: f64,
    most: f64,
}

impl Scale {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (self.right - LEFT) * (seconds / self.seconds).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        let floor = self.height - BOTTOM;
        floor - (floor - TOP) * value / self.most
    }
}

/// Draws the chart.
pub fn svg(chart: &Chart<'_>) -> String {
    let values = chart
        .series
        .iter()
        .flat_map(|s| s.points.iter().filter_map(|(_, value)| *value));
    let most = values.fold(1.0, f64::max);
    let scale = Scale {
        right: WIDTH - if chart.labels { label_room(chart.series) } else { 12.0 },
        height: chart.height,
        seconds: chart.seconds.max(1.0),
        most: (most * 1.08).ceil().max(2.0),
    };
    let mut out = format!(
        r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><title>{title}</title>"#,
        height = chart.height,
        title = escaped(chart.title),
    );
    bands(&mut out, chart.bands, &scale);
    grid(&mut out, &scale);
    for (index, series) in chart.series.iter().enumerate() {
        let shift = (index as f64 - (chart.series.len() as f64 - 1.0) / 2.0) * APART;
        line(&mut out, series, index, shift, &scale);
    }
    if chart.labels {
        labels(&mut out, chart.series, &scale);
    }
    out.push_str("</svg>");
    out
}

fn bands(out: &mut String, bands: &[Band], scale: &Scale) {
    let mut label_free_from = 0.0;
    for band in bands {
        let (left, right) = (scale.x(band.span.0), scale.x(band.span.1));
        let class = if band.acts { "band acts" } else { "band" };
        let _ = write!(
            out,
            r#"<rect class="{class}" x="{left:.1}" y="{TOP}" width="{width:.1}" height="{height:.1}"><title>{title}</title></rect><line class="mark" x1="{left:.1}" x2="{left:.1}" y1="{TOP}" y2="{floor:.1}"/>"#,
            width = (right - left).max(1.0),
            height = scale.height - BOTTOM - TOP,
            floor = scale.height - BOTTOM,
            title = escaped(&band.title),
        );
        let middle = left.max(label_free_from);
        if middle - left < 40.0 {
            let class = if band.acts { "number acts" } else { "number" };
            let _ = write!(
                out,
                r#"<g class="{class}"><title>{title}</title><circle cx="{x:.1}" cy="13" r="9"/><text x="{x:.1}" y="16.5">{number}</text></g>"#,
                x = middle,
                number = band.number,
                title = escaped(&band.title),
            );
            label_free_from = middle + 20.0;
        }
    }
}

fn grid(out: &mut String, scale: &Scale) {
    let step = nice(scale.most / 6.0).max(1.0);
    let mut value = 0.0;
    while value <= scale.most {
        let y = scale.y(value);
        let _ = write!(
            out,
            r#"<line class="grid" x1="{LEFT}" x2="{right:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="axis" x="{at}" y="{text:.1}" text-anchor="end">{value}</text>"#,
            right = scale.right,
            at = LEFT - 8.0,
            text = y + 4.0,
        );
        value += step;
    }
    let step = nice(scale.seconds / 12.0).max(1.0);
    let mut at = 0.0;
    while at <= scale.seconds {
        let _ = write!(
            out,
            r#"<text class="axis" x="{x:.1}" y="{y:.1}" text-anchor="middle">{at} s</text>"#,
            x = scale.x(at),
            y = scale.height - 8.0,
        );
        at += step;
    }
}

fn line(out: &mut String, series: &Series, index: usize, shift: f64, scale: &Scale) {
    let mut path = String::new();
    let mut last: Option<f64> = None;
    for (at, value) in &series.points {
        let x = scale.x(*at);
        match (last, value) {
            (None, Some(value)) => {
                let _ = write!(path, "M{x:.1} {y:.1}", y = scale.y(*value) + shift);
            }
            (Some(_), Some(value)) => {
                let _ = write!(path, "H{x:.1}V{y:.1}", y = scale.y(*value) + shift);
            }
            (Some(_), None) => {
                let _ = write!(path, "H{x:.1}");
            }
            (None, None) => {}
        }
        last = *value;
    }
    if last.is_some() {
        let _ = write!(path, "H{x:.1}", x = scale.right);
    }
    let (class, name) = (index % 10, escaped(&series.name));
    let _ = write!(
        out,
        r#"<path class="line s{class}" d="{path}"><title>{name}</title></path>"#
    );
}

/// The names at the lines' ends, pushed apart so that none covers another.
fn labels(out: &mut String, series: &[Series], scale: &Scale) {
    let mut ends: Vec<_> = series
        .iter()
        .enumerate()
        .filter_map(|(index, series)| Some((scale.y(series.points.iter().rev().find_map(|(_, v)| *v)?), index)))
        .collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let gap = 15.0;
    let room = scale.height - BOTTOM - gap * (ends.len() as f64 - 1.0);
    let mut free_from = TOP;
    for (place, (y, index)) in ends.into_iter().enumerate() {
        let y = y.min((room + gap * place as f64).max(TOP)).max(free_from);
        free_from = y + gap;
        let (class, name) = (index % 10, escaped(&series[index].name));
        let _ = write!(
            out,
            r#"<text class="label s{class}" x="{x:.1}" y="{y:.1}">{name}</text>"#,
            x = scale.right + 10.0,
            y = y + 4.0,
        );
    }
}

/// The room that the longest name needs, within reason.
fn label_room(series: &[Series]) -> f64 {
    let longest = series
        .iter()
        .map(|series| series.name.chars().count())
        .max()
        .unwrap_or(0);
    (longest as f64 * 7.6 + 22.0).clamp(60.0, 320.0)
}

/// The next of 1, 2, 5, 10, 20, 50 ... that is not smaller.
fn nice(least: f64) -> f64 {
    let mut unit = 1.0;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if unit * factor >= least {
                return unit * factor;
            }
        }
        unit *= 10.0;
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_get_round_numbers() {
        let steps: Vec<_> = [0.3, 1.0, 1.2, 2.5, 7.0, 11.0, 60.0].map(nice).into();
        assert_eq!(steps, [1.0, 1.0, 2.0, 5.0, 10.0, 20.0, 100.0]);
    }

    #[test]
    fn a_line_stops_where_its_worker_is_gone_and_starts_again() {
        let points = vec![(0.0, Some(1.0)), (5.0, None), (8.0, Some(1.0))];
        let series = [Series {
            name: "a<b".into(),
            points,
        }];
        let svg = svg(&Chart {
            title: "t",
            height: 100.0,
            seconds: 10.0,
            series: &series,
            bands: &[],
            labels: false,
        });
        let path = svg
            .split("d=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap();
        let kinds: String = path.chars().filter(char::is_ascii_alphabetic).collect();
        assert_eq!(kinds, "MHMH", "{path}");
        assert!(svg.contains("a&lt;b"));
    }
}
