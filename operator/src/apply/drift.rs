//! Whether a live object is still as it was wanted.

use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::build::APPLIED_HASH;

/// Whether the cluster has everything that is wanted: the fingerprint says that it was written, a comparison that nobody
/// has changed it since. What others have added does not count.
pub(super) fn as_wanted<K: Resource + Serialize>(wanted: &K, live: &K) -> bool {
    if !same_source(wanted, live) {
        return false;
    }
    let json = |object: &K| serde_json::to_value(object).expect("objects of Kubernetes are JSON");
    covers(&json(live), &json(wanted))
}

/// Whether the live object was written from the same experiment, settings and version.
pub(super) fn same_source<K: Resource>(wanted: &K, live: &K) -> bool {
    wanted.annotations().get(APPLIED_HASH) == live.annotations().get(APPLIED_HASH)
}

/// Whether `live` has every value of `wanted`. The API server fills in defaults and keeps the order of lists.
fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| live.get(key).is_some_and(|live| covers(live, wanted))),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() >= wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| covers(live, wanted))
        }
        (Value::String(live), Value::String(wanted)) => {
            live == wanted || quantity(live).is_some_and(|live| quantity(wanted) == Some(live))
        }
        (live, wanted) => live == wanted,
    }
}

/// A quantity in thousandths: the API server writes `0.5` as `500m`.
fn quantity(text: &str) -> Option<i128> {
    let units = [
        ("m", 1),
        ("Ki", 1_000 << 10),
        ("Mi", 1_000 << 20),
        ("Gi", 1_000 << 30),
        ("Ti", 1_000_i128 << 40),
        ("k", 1_000_000),
        ("M", 1_000_000_000),
        ("G", 1_000_000_000_000),
        ("T", 1_000_000_000_000_000),
        ("", 1_000),
    ];
    let (number, unit) = units
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{part}");
    let plain = !digits.is_empty() && digits.len() < 16 && digits.chars().all(|c| c.is_ascii_digit());
    let value: i128 = digits.parse().ok().filter(|_| plain)?;
    Some(value * unit / 10_i128.pow(u32::try_from(part.len()).ok()?))
}

#[cfg(test)]
mod tests;
