//! The status' conditions: facts for machines, each with a reason.

use super::facts;
use super::round::{Round, cut};
use super::status::{Condition, Phase, Verdict};

/// Sets every condition; the time of one changes only with its truth.
pub(super) fn update(round: &mut Round<'_>) {
    let stream = facts::stream_summary(round.world);
    let wanted = round.status.replicas_wanted.unwrap_or(round.spec.replicas);
    let workers = round.all_workers_stand(wanted);
    let census = &round.census;
    let even = census.active > 0 && census.unassigned() == 0 && census.imbalance() <= round.spec.balance.max_imbalance;
    let ready = facts::active(round.world);
    let found = [
        (
            "StreamReady",
            ready,
            if ready { "Active" } else { "NotActive" },
            format!("the stream is {}", stream.status),
        ),
        (
            "WorkersReady",
            workers.is_ok(),
            if workers.is_ok() { "AllReady" } else { "Waiting" },
            workers.err().unwrap_or_else(|| format!("{wanted} workers are ready")),
        ),
        (
            "Balanced",
            even,
            if even { "Even" } else { "Uneven" },
            format!(
                "{} of {} leases are owned, the imbalance is {}",
                census.assigned(),
                census.active,
                census.imbalance()
            ),
        ),
    ];
    for (kind, truth, reason, message) in found {
        set(round, kind, truth, reason, message);
    }
    update_run(round);
}

/// Sets the conditions of the run itself, which need no look at the world. Those of a run that begins say nothing of the
/// run before: whoever waits for `Complete` waits for the new one.
pub(super) fn update_run(round: &mut Round<'_>) {
    let interfered = round.status.steps.iter().find_map(|step| step.interference.clone());
    let ended = round.status.phase.ended();
    let failed = ended && round.status.verdict != Verdict::Pass;
    let reason = reason(round.status.phase, round.status.verdict);
    let said = |holds: bool, otherwise: &str| {
        let message = round.status.message.clone().filter(|_| holds);
        message.unwrap_or_else(|| otherwise.to_owned())
    };
    let found = [
        (
            "Interference",
            interfered.is_some(),
            if interfered.is_some() { "OutsideChange" } else { "None" },
            interfered.unwrap_or_else(|| "nobody else changed the stream or the workers".to_owned()),
        ),
        ("Complete", ended, reason, said(ended, "the run goes on")),
        (
            "Failed",
            failed,
            if failed { reason } else { "NotFailed" },
            said(failed, "no run has failed"),
        ),
    ];
    for (kind, truth, reason, message) in found {
        set(round, kind, truth, reason, message);
    }
}

fn reason(phase: Phase, verdict: Verdict) -> &'static str {
    match (phase.ended(), verdict) {
        (false, _) => "Running",
        (true, Verdict::Pass) => "Pass",
        (true, Verdict::Fail) => "Fail",
        (true, Verdict::Aborted) => "Aborted",
        (true, Verdict::Inconclusive | Verdict::Awaited) => "Inconclusive",
    }
}

fn set(round: &mut Round<'_>, kind: &str, truth: bool, reason: &str, message: String) {
    let status = if truth { "True" } else { "False" };
    let observed_generation = round.status.observed_generation;
    let now = round.now;
    let conditions = &mut round.status.conditions;
    let at = conditions.iter().position(|condition| condition.kind == kind);
    let since = at
        .map(|at| &conditions[at])
        .filter(|old| old.status == status)
        .map(|old| old.last_transition_time);
    let condition = Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: cut(message),
        last_transition_time: since.unwrap_or(now),
        observed_generation,
    };
    match at {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}
