//! What is told as Kubernetes events: the difference of two statuses. No client but for publishing.

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Outcome, Phase, Plan, Status};
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};

/// How many shards or pods an event names.
const NAMED: usize = 10;

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
        if step.acted_at.is_some()
            && before.is_none_or(|before| before.acted_at.is_none())
            && let Some((reason, what)) = step.plan.as_ref().and_then(|plan| acted(&step.kind, plan))
        {
            tell(false, reason, &step.name, format!("step {}: {what}", step.name));
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
        if newer && entry.interference && !in_step {
            tell(true, "Interference", &run, entry.what.clone());
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
    let complete = |status: &Status| {
        let mut conditions = status.conditions.iter();
        conditions.any(|one| one.kind == "Complete" && one.status == "True")
    };
    if let Some(report) = new.report.as_ref().filter(|_| complete(new) && !complete(old)) {
        let note = format!("the report of run {nonce} is configmap {report}");
        tell(false, "ReportWritten", &run, note);
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

/// What a step of this kind does to the stream or to the workers, for those that name what they change.
fn acted(kind: &str, plan: &Plan) -> Option<(&'static str, String)> {
    let listed = |all: Vec<String>| match all.len() {
        0..=NAMED => all.join(", "),
        more => format!("{} and {} more", all[..NAMED].join(", "), more - NAMED),
    };
    let splits = plan.splits.iter().map(|split| split.shard.to_string()).collect();
    let merges = plan.merges.iter();
    let merges = merges
        .map(|merge| format!("{} with {}", merge.shard, merge.adjacent))
        .collect();
    let pods = plan.pods.iter().map(|pod| pod.worker.to_string()).collect();
    Some(match kind {
        "split" => ("ShardsSplit", format!("splits {}", listed(splits))),
        "merge" => ("ShardsMerged", format!("merges {}", listed(merges))),
        "updateShardCount" => ("ShardCountUpdated", format!("asks for {} open shards", plan.target?)),
        "killPod" => ("PodsKilled", format!("ends {}", listed(pods))),
        "freezePod" => ("PodsFrozen", format!("stops {}", listed(pods))),
        _ => return None,
    })
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
