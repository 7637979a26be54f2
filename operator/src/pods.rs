//! What a pod says of its worker: which process, whether it runs, how it ended, why it does not come up. No client.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kinex_core::experiment::Timestamp;
use kinex_core::id::{Incarnation, WorkerId};
use kinex_core::lease::Process;
use kinex_stage::PodFacts;
use kube::ResourceExt;
use serde::Deserialize;

/// What a consumer writes of itself at its start: the tie between a pod and a process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessRow {
    /// Which start of its worker it is.
    pub(crate) incarnation: Incarnation,
    /// The pod that it runs in.
    pub(crate) pod_uid: String,
}

/// A process that has ended beyond doubt: the kubelet saw its container exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    /// The process.
    pub(crate) process: Process,
    /// When it ended, by the kubelet's clock.
    pub(crate) at: Option<Timestamp>,
    /// Why, in words: `OOMKilled with exit code 137`.
    pub(crate) why: String,
}

/// The processes of a pod that have ended, by what they wrote into their termination log.
///
/// A pod that is deleted, unreachable or forgotten proves nothing: only the kubelet's word does.
pub(crate) fn deaths(pod: &Pod) -> Vec<Death> {
    let containers = statuses(pod).iter();
    let states = containers.flat_map(|container| [container.last_state.as_ref(), container.state.as_ref()]);
    states
        .filter_map(|state| state?.terminated.as_ref())
        .filter_map(|end| {
            let incarnation = incarnation(end)?;
            Some(Death {
                process: Process {
                    worker: WorkerId::from(pod.name_any()),
                    incarnation,
                },
                at: end.finished_at.as_ref().map(|time| Timestamp(time.0.as_millisecond())),
                why: removal(pod).unwrap_or_else(|| exit(end)),
            })
        })
        .collect()
}

/// The process of a pod that is being removed, when it is known, and why.
pub(crate) fn leaving<'a>(pod: &Pod, row: Option<&'a ProcessRow>) -> Option<(&'a Incarnation, String)> {
    let row = row.filter(|row| Some(&row.pod_uid) == pod.metadata.uid.as_ref())?;
    Some((&row.incarnation, removal(pod)?))
}

/// Why a pod is being removed, by whom as far as Kubernetes says it; `None`: it is not.
fn removal(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let disrupted = conditions
        .iter()
        .find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True");
    if let Some(disrupted) = disrupted {
        let reason = disrupted.reason.as_deref().unwrap_or("Disrupted");
        return Some(match disrupted.message.as_deref() {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        });
    }
    // The kubelet evicts without deleting.
    if let Some(reason) = status.and_then(|status| status.reason.as_deref()) {
        let message = status.and_then(|status| status.message.as_deref()).unwrap_or_default();
        return Some(format!("{reason}: {message}"));
    }
    let deleted = pod.metadata.deletion_timestamp.is_some();
    deleted.then(|| "its pod was deleted".to_owned())
}

/// How a container ended, in words.
fn exit(end: &ContainerStateTerminated) -> String {
    let how = match end.signal {
        Some(signal) => format!("exit code {}, signal {signal}", end.exit_code),
        None => format!("exit code {}", end.exit_code),
    };
    match end.reason.as_deref() {
        Some("OOMKilled") => format!("OOMKilled with {how}: it needed more memory than its limit"),
        // They say what the code says.
        Some("Error" | "Completed") | None => how,
        Some(reason) => format!("{reason} with {how}"),
    }
}

/// What is known of a worker's process: `row` is what the worker of this name wrote last, `dead` knows who has ended.
pub(crate) fn facts(pod: &Pod, row: Option<&ProcessRow>, dead: impl Fn(&Incarnation) -> bool) -> PodFacts {
    let running =
        consumer(pod).is_some_and(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    // A row of another pod of this name, or of a process before the last restart, says nothing of the one that runs.
    let row = row.filter(|row| Some(&row.pod_uid) == pod.metadata.uid.as_ref() && !dead(&row.incarnation));
    PodFacts {
        worker: WorkerId::from(pod.name_any()),
        incarnation: row.map(|row| row.incarnation.clone()).filter(|_| running),
        frozen: None,
        running,
        ready: running && condition(pod, "Ready"),
    }
}

/// Why some pod does not come up, in words that stay the same while it does not.
pub(crate) fn problem<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<String> {
    let mut problems: Vec<String> = pods.into_iter().filter_map(stall).collect();
    problems.sort();
    problems.into_iter().next()
}

fn stall(pod: &Pod) -> Option<String> {
    let name = pod.name_any();
    let waiting = |container: &ContainerStatus| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let said = match reason {
            // The two alternate while the kubelet tries again and again.
            "ErrImagePull" | "ImagePullBackOff" => {
                return Some(format!(
                    "ImagePullBackOff on {name}: the image {} cannot be pulled; check its name, and the operator's --image",
                    container.image
                ));
            }
            "CrashLoopBackOff" => match ended(container) {
                Some(end) => format!("ended with {}; its log says why", exit(end)),
                None => "see its log".to_owned(),
            },
            "ContainerCreating" | "PodInitializing" => return None,
            _ => waiting.message.clone().unwrap_or_default(),
        };
        Some(format!("{reason} on {name}: {said}"))
    };
    statuses(pod).iter().find_map(waiting).or_else(|| unscheduled(pod))
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    (scheduled.status == "False").then(|| {
        format!(
            "{} on {}: {}",
            scheduled.reason.as_deref().unwrap_or("Unscheduled"),
            pod.name_any(),
            scheduled.message.as_deref().unwrap_or_default()
        )
    })
}

fn ended(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    container.last_state.as_ref()?.terminated.as_ref()
}

fn incarnation(end: &ContainerStateTerminated) -> Option<Incarnation> {
    let said = end.message.as_deref()?.trim();
    uuid::Uuid::parse_str(said).ok()?;
    Some(Incarnation::from(said))
}

fn condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

/// The consumer's container; something may have put others beside it.
fn consumer(pod: &Pod) -> Option<&ContainerStatus> {
    let all = statuses(pod);
    all.iter()
        .find(|container| container.name == "consumer")
        .or(all.first())
}

fn statuses(pod: &Pod) -> &[ContainerStatus] {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
