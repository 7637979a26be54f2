//! The status as Kubernetes has it: conditions added, and written under the resource's version.
//!
//! # Guarantees
//! A status is written only onto the very object that it was decided from: of two operators, or of an operator and an
//! old view, one wins. It is written only when it says something new.

mod bound;

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Condition, Created, Phase, Status, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};

/// Who owns the fields that are written here.
const FIELD_MANAGER: &str = "kinex/status";
/// Longer than any reason needs; the definition allows twice as much.
const MESSAGE_MAX: usize = 2_000;

/// Why an experiment does not go on as it should, for its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    /// In one word.
    pub(crate) reason: &'static str,
    /// With the next step.
    pub(crate) message: String,
}

/// Adds the conditions that every Kubernetes tool knows to those of the experiment itself.
///
/// The time of a condition is that of `stored` for as long as its truth is the same. `reported` says whether the report
/// of a run that has ended is written: the run is complete only then.
pub(crate) fn complete(status: &mut Status, stored: &Status, stall: Option<&Stall>, reported: bool, now: Timestamp) {
    let ended = status.phase.ended();
    let done = ended && reported;
    let awaited = ["StreamReady", "WorkersReady"].into_iter().find_map(|kind| {
        let found = status.conditions.iter().find(|one| one.kind == kind);
        match found {
            Some(one) if one.status == "True" => None,
            Some(one) => Some(one.message.clone()),
            None => Some("the stream and the workers were not looked at yet".to_owned()),
        }
    });
    let step = status.step.clone().unwrap_or_else(|| format!("{:?}", status.phase));
    let stalled = stall.map(|stall| (stall.reason, stall.message.clone()));
    let ready = match &stalled {
        Some((reason, message)) => (false, *reason, message.clone()),
        None => match awaited {
            None => (true, "Ready", "the stream and the workers are ready".to_owned()),
            Some(message) => (false, "NotReady", message),
        },
    };
    let reconciling = match (done, ended, &stalled) {
        (true, _, _) => (false, "RunEnded", "nothing is left to do".to_owned()),
        (_, true, _) => (
            true,
            "Reporting",
            "the run has ended, its report is being written".to_owned(),
        ),
        (_, _, Some((reason, message))) => (false, *reason, message.clone()),
        _ => (true, "RunInProgress", format!("at work on {step}")),
    };
    let paused = status.phase == Phase::Paused;
    let mut found = vec![
        ("Ready", ready.0, ready.1.to_owned(), ready.2),
        ("Reconciling", reconciling.0, reconciling.1.to_owned(), reconciling.2),
        match stalled {
            Some((reason, message)) => ("Stalled", true, reason.to_owned(), message),
            None => (
                "Stalled",
                false,
                "GoesOn".to_owned(),
                "nothing is in the way".to_owned(),
            ),
        },
        match paused {
            true => (
                "Paused",
                true,
                "Held".to_owned(),
                "held by run.state: Paused".to_owned(),
            ),
            false => ("Paused", false, "NotHeld".to_owned(), "the run is not held".to_owned()),
        },
    ];
    if ended && !reported {
        let message = "the run has ended, its report is being written".to_owned();
        found.push(("Complete", false, "Reporting".to_owned(), message));
    }
    for (kind, truth, reason, message) in found {
        let condition = Condition {
            kind: kind.to_owned(),
            status: if truth { "True" } else { "False" }.to_owned(),
            reason,
            message: message.chars().take(MESSAGE_MAX).collect(),
            last_transition_time: now,
            observed_generation: status.observed_generation,
        };
        match status.conditions.iter_mut().find(|one| one.kind == kind) {
            Some(old) => *old = condition,
            None => status.conditions.push(condition),
        }
    }
    for condition in &mut status.conditions {
        let before = stored.conditions.iter().find(|one| one.kind == condition.kind);
        if let Some(before) = before.filter(|before| before.status == condition.status) {
            condition.last_transition_time = before.last_transition_time;
        }
    }
    bound::fit(status);
}

/// Writes the status if the experiment still is what it was decided from; gives the experiment as it is then.
///
/// # Errors
/// 409 when somebody wrote in between: the decision must be dropped and taken anew.
pub(crate) async fn write(
    client: &Client,
    experiment: &KinesisExperiment,
    status: &Status,
) -> kube::Result<KinesisExperiment> {
    let namespace = experiment.namespace().unwrap_or_default();
    let api: Api<KinesisExperiment> = Api::namespaced(client.clone(), &namespace);
    let name = experiment.name_any();
    let known = serde_json::to_value(&experiment.status).map_err(kube::Error::SerdeError)?;
    let wanted = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    let body = json!({
        "metadata": { "uid": experiment.uid(), "resourceVersion": experiment.resource_version() },
        "status": difference(&known, &wanted),
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    // A merge: an apply would make an emptied map null, which the definition refuses.
    api.patch_status(&name, &parameters, &Patch::Merge(body)).await
}

/// Writes what the experiment created, whatever else was changed since it was read: it can only be more.
///
/// # Errors
/// 409 when the experiment is another one of that name.
pub(crate) async fn note_created(
    client: &Client,
    experiment: &KinesisExperiment,
    created: &Created,
) -> kube::Result<KinesisExperiment> {
    let namespace = experiment.namespace().unwrap_or_default();
    let api: Api<KinesisExperiment> = Api::namespaced(client.clone(), &namespace);
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let body = json!({ "metadata": { "uid": experiment.uid() }, "status": { "created": created } });
    api.patch_status(&experiment.name_any(), &parameters, &Patch::Merge(body))
        .await
}

/// The merge patch (RFC 7396) that makes `known` into `wanted`: what is gone becomes null, what is the same is left out.
fn difference(known: &Value, wanted: &Value) -> Value {
    let (Some(before), Some(after)) = (known.as_object(), wanted.as_object()) else {
        return wanted.clone();
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let mut patch: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in after {
        match before.get(key) {
            Some(old) if old == value => {}
            Some(old) => {
                patch.insert(key.clone(), difference(old, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

/// Whether an answer says that the object was changed or replaced in between.
pub(crate) fn conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(answer) if answer.code == 409)
}

/// What is in the way when the API server refuses something.
pub(crate) fn stall_of(error: &kube::Error, what: &str) -> Stall {
    match error {
        kube::Error::Api(answer) if answer.code == 403 => Stall {
            reason: "PermissionDenied",
            message: format!(
                "cannot {what}: {}; grant it to the operator's service account (the chart's Role has it)",
                answer.message
            ),
        },
        kube::Error::Api(answer) => Stall {
            reason: "Refused",
            message: format!("cannot {what}: {}", answer.message),
        },
        other => Stall {
            reason: "ApiServerUnreachable",
            message: format!("cannot {what}: {other}; it is tried again"),
        },
    }
}

#[cfg(test)]
mod tests;
