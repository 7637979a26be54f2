//! Whose the tables of an experiment are. Client required.
//!
//! They are named after the experiment alone, and two namespaces may each have one of that name on one endpoint. Who
//! claims them first has them until they are deleted: otherwise two fleets would take each other's leases, and deleting
//! one experiment would delete the other's stream.

use kinex_stage::Subject;

use crate::status::Stall;

/// The fact that holds the namespace.
const CLAIM: (&str, &str) = ("control", "namespace");

/// Claims the tables for a namespace.
///
/// # Errors
/// What is in the way: another namespace has them, or the endpoint does not answer.
pub(crate) async fn claim(subject: &Subject, namespace: &str) -> Result<(), Stall> {
    let (kind, id) = CLAIM;
    let facts = subject.clients.facts(&subject.application);
    match facts.claim(kind, id, namespace).await {
        Ok(owner) => ours(subject, namespace, &owner).map_err(|message| Stall {
            reason: "TableOfAnother",
            message,
        }),
        Err(fault) => Err(Stall {
            reason: "TablesNotReady",
            message: fault.to_string(),
        }),
    }
}

fn ours(subject: &Subject, namespace: &str, owner: &str) -> Result<(), String> {
    if owner == namespace {
        return Ok(());
    }
    let name = &subject.application;
    Err(format!(
        "the lease table {name} belongs to the experiment {name} of namespace {owner}: give this one another name, or \
         delete the tables with `kinex clean` when that one is gone"
    ))
}
