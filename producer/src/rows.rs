//! The producer's row in the workers' table, and the orders that come from there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kinex_aws::{Facts, Fault};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::send::Sheet;

/// The kind of the producers' fact rows; the id is the source.
pub const PRODUCER: &str = "producer";

/// The kind and the id of the fact row with the order to a producer: `{"recordsPerSecond": N}`.
pub const CONTROL: (&str, &str) = ("control", "producer");

/// How often the row is written and the orders are read.
const EVERY: Duration = Duration::from_secs(1);

/// How often the last row is tried.
const LAST_TRIES: u32 = 10;

/// An order to the producer.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Control {
    records_per_second: f64,
}

/// Writes the row each second when it has changed, until cancelled; then the last one.
pub(crate) async fn write(facts: Facts, sheet: Sheet, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = None;
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let count = sheet.row().lanes;
        if written.as_ref() == Some(&count) {
            continue;
        }
        match put(&facts, &sheet, false).await {
            Ok(()) => written = Some(count),
            Err(fault) => warn!(error = %fault, "producer row not written"),
        }
    }
    for attempt in 1..=LAST_TRIES {
        match put(&facts, &sheet, true).await {
            Ok(()) => return,
            Err(fault) => warn!(error = %fault, attempt, "last producer row not written"),
        }
        tokio::time::sleep(EVERY / 2).await;
    }
}

async fn put(facts: &Facts, sheet: &Sheet, ended: bool) -> Result<(), Fault> {
    let mut row = sheet.row();
    row.ended = ended;
    row.seen_ms = now_ms();
    let body = serde_json::to_string(&row).expect("a row is JSON");
    facts.put(PRODUCER, &row.source, &body).await
}

/// Looks for another rate each second until cancelled.
pub(crate) async fn obey(facts: Facts, rate: watch::Sender<f64>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = None;
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let body = match facts.get(CONTROL.0, CONTROL.1).await {
            Ok(body) => body,
            Err(fault) => {
                warn!(error = %fault, "orders not read");
                continue;
            }
        };
        if body == last {
            continue;
        }
        if let Some(text) = &body {
            match order(text) {
                Ok(wanted) => {
                    info!(records_per_second = wanted, "rate ordered");
                    rate.send_replace(wanted);
                }
                Err(error) => warn!(error, "order not understood, the rate stays as it is"),
            }
        }
        last = body;
    }
}

fn order(text: &str) -> Result<f64, String> {
    let control: Control = serde_json::from_str(text).map_err(|error| error.to_string())?;
    crate::checked_rate(control.records_per_second)
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<f64, &str>) {
        match (order(text), expected) {
            (Ok(rate), Ok(expected)) => assert_eq!(rate, expected, "{text}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, _) => panic!("{text}: {got:?}"),
        }
    }

    #[test]
    fn an_order_names_a_rate() {
        check(r#"{"recordsPerSecond": 40}"#, Ok(40.0));
        check(r#"{"recordsPerSecond": 0}"#, Ok(0.0));
        check(r#"{"recordsPerSecond": 2.5}"#, Ok(2.5));
        check(r#"{"recordsPerSecond": -1}"#, Err("records per second"));
        check(r#"{"recordsPerSecond": 1e9}"#, Err("records per second"));
        check(r#"{"rate": 1}"#, Err("unknown field"));
        check("", Err("EOF"));
    }
}
