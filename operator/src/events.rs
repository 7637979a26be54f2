//! What is told as Kubernetes events: the difference of two statuses. No client but for publishing.

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Outcome, Phase, Status};
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whether a person should look at it.
    pub(crate) warning: bool,
    /// What happened, in one word.
    pub(crate) reason: String,
    /// What it happened to: the step's name, so that two steps are two events.
    pub(crate) action: String,
    /// What happened, in a sentence.
    pub(crate) note: String,
}

/// What has happened between two statuses of an experiment.
pub(crate) fn between(old: &Status, new: &Status) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut tell = |warning: bool, reason: &str, action: &str, note: String| {
        notices.push(Notice {
            warning,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note,
        });
    };
    let begun = new.run_nonce != old.run_nonce;
    let nonce = new.run_nonce.unwrap_or(0);
    let run = format!("run-{nonce}");
    if begun && new.run_nonce.is_some() {
        tell(false, "RunStarted", &run, format!("run {nonce} begins"));
    }
    for (at, step) in new.steps.iter().enumerate() {
        let before = old.steps.get(at).filter(|_| !begun);
        if step.outcome == Outcome::Skipped {
            continue;
        }
        if before.is_none() {
            let note = format!("step {} ({}) begins", step.name, step.kind);
            tell(false, "StepStarted", &step.name, note);
        }
        if let Some(what) = &step.interference
            && before.is_none_or(|before| before.interference.is_none())
        {
            tell(true, "Interference", &step.name, what.clone());
        }
        if step.outcome != Outcome::Running && before.is_none_or(|before| before.outcome == Outcome::Running) {
            let took = step.seconds.unwrap_or(0.0);
            let why = step.message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let note = format!(
                "step {} ends after {took:.1} s: {}{why}",
                step.name,
                step.outcome.as_str()
            );
            let passed = step.outcome == Outcome::Pass;
            tell(
                !passed,
                if passed { "StepPassed" } else { "StepFailed" },
                &step.name,
                note,
            );
        }
    }
    // What others did while no step was at work stands in the timeline alone.
    let last = old.timeline.last().map(|entry| entry.at).filter(|_| !begun);
    for entry in &new.timeline {
        let newer = last.is_none_or(|last| entry.at > last);
        let in_step = new
            .steps
            .iter()
            .any(|step| step.interference.as_ref() == Some(&entry.what));
        if newer && !in_step && entry.what.contains("scaled the workers") {
            tell(false, "Scaled", "scale", entry.what.clone());
        }
    }
    if new.phase.ended() && (begun || !old.phase.ended()) {
        let (warning, reason) = match new.phase {
            Phase::Succeeded => (false, "RunSucceeded"),
            Phase::Aborted => (true, "RunAborted"),
            _ => (true, "RunFailed"),
        };
        let why = new.message.clone().unwrap_or_default();
        tell(
            warning,
            reason,
            &run,
            format!("run {nonce} ends: {:?}: {why}", new.verdict),
        );
    }
    let stalled = |status: &Status| {
        let found = status
            .conditions
            .iter()
            .find(|one| one.kind == "Stalled" && one.status == "True");
        found.map(|one| (one.reason.clone(), one.message.clone()))
    };
    if let Some((reason, message)) = stalled(new)
        && stalled(old).is_none_or(|(before, _)| before != reason)
    {
        tell(true, &reason, "reconcile", message);
    }
    notices
}

/// Tells. A notice that cannot be told is logged and forgotten: nothing depends on it.
pub(crate) async fn publish(recorder: &Recorder, experiment: &KinesisExperiment, notices: Vec<Notice>) {
    let about = experiment.object_ref(&());
    for notice in notices {
        let event = Event {
            type_: if notice.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason,
            // The API server takes 1 KiB.
            note: Some(notice.note.chars().take(1_000).collect()),
            action: notice.action,
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, &about).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be told");
        }
    }
}

#[cfg(test)]
mod tests;
