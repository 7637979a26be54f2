//! How evenly leases are shared, in the figures that reports and assertions use.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::balance::{Placed, View};
use crate::id::WorkerId;

/// Runnable leases over the live workers; a worker without a lease counts with 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// How many each worker has.
    pub by_worker: BTreeMap<WorkerId, u32>,
    /// How many nobody of them has.
    pub unassigned: u32,
}

impl Spread {
    /// The spread of a view. A lease with a running hand-off counts for the worker that asked for it.
    pub fn of(view: &View) -> Self {
        let mut spread = Self {
            by_worker: view.workers.iter().map(|worker| (worker.id.clone(), 0)).collect(),
            unassigned: 0,
        };
        for Placed { owner, .. } in &view.leases {
            match owner.as_ref().and_then(|owner| spread.by_worker.get_mut(owner)) {
                Some(count) => *count += 1,
                None => spread.unassigned += 1,
            }
        }
        spread
    }

    /// All leases, also those that nobody has.
    pub fn total(&self) -> u32 {
        self.assigned() + self.unassigned
    }

    /// The leases that somebody has.
    pub fn assigned(&self) -> u32 {
        self.by_worker.values().sum()
    }

    /// The least that a worker has; 0 without workers.
    pub fn min(&self) -> u32 {
        self.by_worker.values().min().copied().unwrap_or(0)
    }

    /// The most that a worker has; 0 without workers.
    pub fn max(&self) -> u32 {
        self.by_worker.values().max().copied().unwrap_or(0)
    }

    /// The most less the least.
    pub fn imbalance(&self) -> u32 {
        self.max() - self.min()
    }

    /// The mean share if everything were assigned; 0 without workers.
    pub fn ideal(&self) -> f64 {
        match self.by_worker.len() {
            0 => 0.0,
            workers => f64::from(self.total()) / workers as f64,
        }
    }

    /// The largest distance of a worker from the ideal, in leases.
    pub fn gap(&self) -> f64 {
        let ideal = self.ideal();
        let distances = self.by_worker.values().map(|count| (f64::from(*count) - ideal).abs());
        distances.fold(0.0, f64::max)
    }

    /// Coefficient of variation: the population's standard deviation over the mean of what is assigned; 0 when nothing is.
    pub fn cv(&self) -> f64 {
        let workers = self.by_worker.len() as f64;
        let mean = f64::from(self.assigned()) / workers;
        if self.assigned() == 0 {
            return 0.0;
        }
        let squares = self.by_worker.values().map(|count| (f64::from(*count) - mean).powi(2));
        (squares.sum::<f64>() / workers).sqrt() / mean
    }

    /// What to think of it.
    pub fn verdict(&self) -> Balance {
        if self.total() == 0 {
            return Balance::NoLeases;
        }
        if self.by_worker.is_empty() {
            return Balance::NoWorkers;
        }
        match (self.unassigned, self.imbalance()) {
            (0, 0..=1) => Balance::Even,
            (0, _) => Balance::Uneven,
            _ => Balance::Unassigned,
        }
    }

    /// The verdict as a sentence with its figures.
    pub fn verdict_text(&self) -> String {
        let workers = count(self.by_worker.len(), "worker");
        let leases = count(self.total() as usize, "lease");
        let each = match (self.by_worker.len(), self.min(), self.max()) {
            (1, all, _) => all.to_string(),
            (_, min, max) if min == max => format!("{min} each"),
            (_, min, max) => format!("{min} to {max} each"),
        };
        match self.verdict() {
            Balance::NoLeases if self.by_worker.is_empty() => "no leases yet, and no live worker".to_owned(),
            Balance::NoLeases => format!("no leases yet, live workers: {}", self.by_worker.len()),
            Balance::NoWorkers => format!("no live worker: {leases} without an owner that lives"),
            Balance::Even if self.by_worker.len() == 1 => format!("balanced: {leases} on {workers}"),
            Balance::Even => format!("balanced: {leases} on {workers}, {each}"),
            Balance::Uneven => format!(
                "not balanced: {leases} on {workers}, {each} where {} would do",
                self.fair()
            ),
            Balance::Unassigned => format!(
                "not balanced: {} of {leases} without an owner that lives; {workers} with {each}",
                self.unassigned
            ),
        }
    }

    fn fair(&self) -> String {
        let workers = self.by_worker.len() as u32;
        let (low, high) = (self.total() / workers, self.total().div_ceil(workers));
        if low == high {
            low.to_string()
        } else {
            format!("{low} to {high}")
        }
    }
}

/// A number with its noun: `1 lease`, `2 leases`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What to think of a spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Balance {
    /// Everything is assigned, and nobody has two more than another.
    Even,
    /// Everything is assigned, and somebody has at least two more than another.
    Uneven,
    /// Some leases are nobody's.
    Unassigned,
    /// There is no live worker.
    NoWorkers,
    /// There is nothing to share: no worker has seen the stream's shards yet.
    NoLeases,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(text: &str) -> Spread {
        let mut spread = Spread::default();
        for part in text.split_whitespace() {
            let (name, count) = part.split_once(':').unwrap();
            match name {
                "-" => spread.unassigned = count.parse().unwrap(),
                name => drop(spread.by_worker.insert(name.into(), count.parse().unwrap())),
            }
        }
        spread
    }

    fn check(text: &str, imbalance: u32, cv: &str, verdict: &str) {
        let spread = spread(text);
        assert_eq!(spread.imbalance(), imbalance, "{text}");
        assert_eq!(format!("{:.3}", spread.cv()), cv, "{text}");
        assert_eq!(spread.verdict_text(), verdict, "{text}");
    }

    #[test]
    fn figures_and_verdicts() {
        check(
            "a:7 b:7 c:6",
            1,
            "0.071",
            "balanced: 20 leases on 3 workers, 6 to 7 each",
        );
        check(
            "a:6 b:6 c:6 d:6 e:6",
            0,
            "0.000",
            "balanced: 30 leases on 5 workers, 6 each",
        );
        check(
            "a:10 b:10 c:10 d:0 e:0",
            10,
            "0.816",
            "not balanced: 30 leases on 5 workers, 0 to 10 each where 6 would do",
        );
        check(
            "a:6 b:6 c:6 -:2",
            0,
            "0.000",
            "not balanced: 2 of 20 leases without an owner that lives; 3 workers with 6 each",
        );
        check(
            "-:4",
            0,
            "0.000",
            "no live worker: 4 leases without an owner that lives",
        );
        check("a:4", 0, "0.000", "balanced: 4 leases on 1 worker");
        check("a:1 b:0", 1, "1.000", "balanced: 1 lease on 2 workers, 0 to 1 each");
        check(
            "a:3 -:1",
            0,
            "0.000",
            "not balanced: 1 of 4 leases without an owner that lives; 1 worker with 3",
        );
        check("a:0 b:0", 0, "0.000", "no leases yet, live workers: 2");
        check("", 0, "0.000", "no leases yet, and no live worker");
    }

    #[test]
    fn the_ideal_counts_what_nobody_has() {
        let spread = spread("a:6 b:6 c:6 -:2");
        assert!((spread.ideal() - 20.0 / 3.0).abs() < 1e-9);
        assert!((spread.gap() - 2.0 / 3.0).abs() < 1e-9);
    }
}
