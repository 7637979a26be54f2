//! Rows of the workers' table: workers and the group row <-> their values.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use kinex_core::id::{Incarnation, WorkerId};
use kinex_core::worker::{Departure, Group, RenewalMode, WorkerRow};

use crate::item::{Flaw, Item, flag, n, number, required_number, required_text, s, small_number, text};

pub(crate) const KIND: &str = "kind";
pub(crate) const ID: &str = "id";
pub(crate) const INCARNATION: &str = "incarnation";
pub(crate) const BEAT: &str = "beat";
pub(crate) const LEASES: &str = "leases";
pub(crate) const ASKS: &str = "asks";
const HARD_CAP: &str = "hardCap";
pub(crate) const DEPARTING: &str = "departing";
pub(crate) const RESERVE: &str = "reserveMillis";
pub(crate) const DEPARTED: &str = "departed";
pub(crate) const ENDED: &str = "ended";
const ADDRESS: &str = "address";
const STARTED: &str = "started";
const FAILOVER: &str = "failoverMillis";
pub(crate) const ORDER: &str = "order";
pub(crate) const RENEWAL: &str = "renewal";
pub(crate) const LINEAGE: &str = "lineage";

/// The kind of the workers' rows and of the group row.
pub(crate) const MEMBER: &str = "member";
/// The id of the group row; no worker may have it.
pub(crate) const GROUP: &str = "#group";

/// Reads a worker's row. Attributes that are not known are ignored.
pub(crate) fn decode(item: &Item) -> Result<WorkerRow, Flaw> {
    Ok(WorkerRow {
        id: WorkerId::from(required_text(item, ID)?),
        incarnation: Incarnation::from(required_text(item, INCARNATION)?),
        beat: required_number(item, BEAT)?,
        leases: small_number(item, LEASES)?.unwrap_or(0),
        asks: number(item, ASKS)?.unwrap_or(0),
        hard_cap: small_number(item, HARD_CAP)?,
        departing: departing(item)?,
        departed: flag(item, DEPARTED)?,
        ended: flag(item, ENDED)?,
        address: text(item, ADDRESS)?.map(str::to_owned),
        started: text(item, STARTED)?.unwrap_or_default().to_owned(),
        failover_after: number(item, FAILOVER)?.map(Duration::from_millis),
        order: text(item, ORDER)?.map(str::to_owned),
    })
}

fn departing(item: &Item) -> Result<Option<Departure>, Flaw> {
    match text(item, DEPARTING)? {
        None => Ok(None),
        Some("Release") => Ok(Some(Departure::Release)),
        Some("Reserve") => {
            let millis = number(item, RESERVE)?.unwrap_or(0);
            Ok(Some(Departure::Reserve(Duration::from_millis(millis))))
        }
        Some(other) => Err(format!("`{DEPARTING}` is `{other}`; expected Release or Reserve")),
    }
}

/// The attributes of a new row, its key left out; `None` where an attribute must be absent.
///
/// The count of asks is left out: a new process goes on with that of the old one.
pub(crate) fn encode(row: &WorkerRow) -> Vec<(&'static str, Option<AttributeValue>)> {
    let WorkerRow {
        id: _,
        incarnation,
        beat,
        leases,
        asks: _,
        hard_cap,
        departing,
        departed,
        ended,
        address,
        started,
        failover_after,
        order,
    } = row;
    let yes = |flag: bool| flag.then_some(AttributeValue::Bool(true));
    let mut attributes = vec![
        (INCARNATION, Some(s(incarnation))),
        (BEAT, Some(n(beat))),
        (LEASES, Some(n(leases))),
        (HARD_CAP, hard_cap.map(n)),
        (DEPARTED, yes(*departed)),
        (ENDED, yes(*ended)),
        (ADDRESS, address.as_ref().map(s)),
        (STARTED, Some(s(started))),
        (FAILOVER, failover_after.map(|time| n(time.as_millis()))),
        (ORDER, order.as_ref().map(s)),
    ];
    attributes.extend(encode_departing(*departing));
    attributes
}

/// `departing` and `reserveMillis`.
pub(crate) fn encode_departing(departing: Option<Departure>) -> [(&'static str, Option<AttributeValue>); 2] {
    let (how, reserve) = match departing {
        None => (None, None),
        Some(Departure::Release) => (Some("Release"), None),
        Some(Departure::Reserve(time)) => (Some("Reserve"), Some(n(time.as_millis()))),
    };
    [(DEPARTING, how.map(s)), (RESERVE, reserve)]
}

/// A condition on the items of a read, with the names and the values in it.
pub(crate) struct Filter {
    pub(crate) condition: &'static str,
    pub(crate) names: [(&'static str, &'static str); 2],
    pub(crate) values: [(&'static str, AttributeValue); 2],
}

/// All but the rows of workers that left for good: see [`WorkerRow::left_for_good`]. A comparison with an attribute that
/// is not there is false.
pub(crate) fn present() -> Filter {
    Filter {
        condition: "NOT (#departed = :yes AND #departing = :release)",
        names: [("#departed", DEPARTED), ("#departing", DEPARTING)],
        values: [(":yes", AttributeValue::Bool(true)), (":release", s("Release"))],
    }
}

/// Reads the group row.
pub(crate) fn decode_group(item: &Item) -> Result<Group, Flaw> {
    let renewal = match required_text(item, RENEWAL)? {
        "PerWorker" => RenewalMode::PerWorker,
        "PerLease" => RenewalMode::PerLease,
        other => return Err(format!("`{RENEWAL}` is `{other}`; expected PerWorker or PerLease")),
    };
    let lineage = required_number(item, LINEAGE)?;
    Ok(Group { renewal, lineage })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_reads_back_as_it_was_written() {
        for departing in [
            None,
            Some(Departure::Release),
            Some(Departure::Reserve(Duration::from_millis(1500))),
        ] {
            let row = WorkerRow {
                id: "w".into(),
                incarnation: "i".into(),
                beat: 7,
                leases: 3,
                asks: 0,
                hard_cap: Some(10),
                departing,
                departed: true,
                ended: true,
                address: Some("10.0.0.1:80".into()),
                started: "2026-01-01T00:00:00Z".into(),
                failover_after: Some(Duration::from_secs(10)),
                order: Some("freeze".into()),
            };
            let attributes = encode(&row)
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)));
            let mut item: Item = attributes.collect();
            item.insert(ID.into(), s("w"));
            assert_eq!(decode(&item).unwrap(), row);
        }
    }

    #[test]
    fn an_unknown_way_of_leaving_is_reported() {
        let item = Item::from([
            (ID.into(), s("w")),
            (INCARNATION.into(), s("i")),
            (BEAT.into(), n(1)),
            (DEPARTING.into(), s("Fly")),
        ]);
        assert_eq!(
            decode(&item).unwrap_err(),
            "`departing` is `Fly`; expected Release or Reserve"
        );
    }
}
