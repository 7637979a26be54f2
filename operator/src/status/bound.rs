//! A bound on the size of a status, whatever the experiment: etcd takes 1.5 MiB for the whole object, and every write of
//! the status and every watch of the experiment carries all of it. No client.

use kinex_core::experiment::Status;

/// The most bytes that a status has as JSON.
pub(crate) const BYTES_MAX: usize = 512 * 1024;
/// What texts are cut to when nothing else is left to leave out.
const TEXT_BYTES: usize = 160;
/// What the timeline is cut to then.
const ENTRIES: usize = 10;

/// Leaves out what a run goes on without, until the status fits. What is large comes first, of old steps before newer
/// ones: leases of each worker at the end of a step, then what a step did, then long texts. The step at work keeps all.
pub(super) fn fit(status: &mut Status) {
    let mut over = bytes(status).saturating_sub(BYTES_MAX);
    if over == 0 {
        return;
    }
    let ended = status.steps.iter().filter(|step| step.finished_at.is_some()).count();
    for at in 0..ended {
        if over > 0 {
            over = over.saturating_sub(take(&mut status.steps[at].leases_per_worker));
        }
    }
    // Shards that a step split or merged are known by the listing; the last step that ended is kept for old listings.
    for at in 0..ended.saturating_sub(1) {
        if let Some(plan) = status.steps[at].plan.as_mut().filter(|_| over > 0) {
            over = over.saturating_sub(take(&mut plan.splits) + take(&mut plan.merges));
        }
    }
    for at in 0..ended.saturating_sub(1) {
        if let Some(plan) = status.steps[at].plan.as_mut().filter(|_| over > 0) {
            over = over.saturating_sub(take(plan));
        }
    }
    if bytes(status) > BYTES_MAX {
        shorten(status);
    }
}

/// Empties a value, and says how many bytes it had.
fn take<T: serde::Serialize + Default>(value: &mut T) -> usize {
    let before = bytes(value);
    *value = T::default();
    before - bytes(value)
}

/// Cuts every text, and the timeline to its newest entries.
fn shorten(status: &mut Status) {
    let above = status.timeline.len().saturating_sub(ENTRIES);
    status.timeline.drain(..above);
    for entry in &mut status.timeline {
        cut(&mut entry.what);
    }
    for step in &mut status.steps {
        for text in [&mut step.message, &mut step.interference].into_iter().flatten() {
            cut(text);
        }
    }
    for run in &mut status.history {
        run.message.iter_mut().for_each(cut);
    }
    for condition in &mut status.conditions {
        cut(&mut condition.message);
    }
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_BYTES - 4));
        text.push_str(" ...");
    }
}

fn bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use kinex_core::experiment::{
        Agreed, Condition, LeaseSummary, Outcome, Plan, PlannedMerge, PlannedPod, PlannedSplit, RunSummary, StepResult,
        StreamSummary, TimelineEntry, Timestamp, Verdict,
    };
    use kinex_core::id::WorkerId;

    use super::*;

    const NOW: Timestamp = Timestamp(1_795_425_403_007);

    /// Everything as many and as long as the definition and the core allow: 64 steps, 500 workers, 500 shards, names of
    /// 63 and shard ids of 128 characters, texts of four bytes a character.
    fn largest() -> Status {
        let text = || "\u{1f4a5}".repeat(2_000);
        let name = || "n".repeat(63);
        let worker = |nth: usize| WorkerId::from(format!("{nth:063}"));
        let shard = |nth: usize| format!("{nth:0128}").as_str().into();
        let leases = || (0..500).map(|nth| (worker(nth), 500)).collect();
        let step = |nth: usize| StepResult {
            name: name(),
            kind: "updateShardCount".to_owned(),
            outcome: Outcome::Inconclusive,
            started_at: Some(NOW),
            finished_at: (nth < 63).then_some(NOW),
            leases_per_worker: leases(),
            stream: Some(StreamSummary {
                newest_shard: Some(shard(1)),
                ..StreamSummary::default()
            }),
            plan: Some(match nth % 3 {
                0 => Plan {
                    splits: (0..500)
                        .map(|nth| PlannedSplit {
                            shard: shard(nth),
                            at: u128::MAX.to_string(),
                            done: true,
                        })
                        .collect(),
                    ..Plan::default()
                },
                1 => Plan {
                    merges: (0..250)
                        .map(|nth| PlannedMerge {
                            shard: shard(nth),
                            adjacent: shard(nth + 1),
                            done: true,
                        })
                        .collect(),
                    ..Plan::default()
                },
                _ => Plan {
                    pods: (0..100)
                        .map(|nth| PlannedPod {
                            worker: worker(nth),
                            incarnation: "5f0c1f0e-0f5c-4c52-a4a5-4d4b0a8e2a10".into(),
                        })
                        .collect(),
                    ..Plan::default()
                },
            }),
            interference: Some(text()),
            message: Some(text()),
            ..StepResult::default()
        };
        let entry = || TimelineEntry {
            at: NOW,
            what: text(),
            interference: true,
            open_shards: 1_000,
            workers: 500,
            imbalance: 500,
        };
        let condition = |nth: usize| Condition {
            kind: format!("Kind{nth}"),
            status: "False".to_owned(),
            reason: "r".repeat(64),
            message: text(),
            last_transition_time: NOW,
            observed_generation: Some(1),
        };
        let run = || RunSummary {
            nonce: 1,
            verdict: Verdict::Inconclusive,
            started_at: Some(NOW),
            finished_at: Some(NOW),
            steps_passed: 64,
            steps_total: 64,
            message: Some(text()),
            report: Some(name()),
        };
        Status {
            message: Some(text()),
            agreed: Some(Agreed {
                spec_hash: "0".repeat(32),
                replicas: 500,
                steps: vec![format!("{} waitUntilBalanced", name()); 64],
            }),
            leases: Some(LeaseSummary {
                by_worker: leases(),
                ..LeaseSummary::default()
            }),
            setup: Some(Plan::default()),
            steps: (0..64).map(step).collect(),
            timeline: (0..50).map(|_| entry()).collect(),
            conditions: (0..11).map(condition).collect(),
            history: (0..20).map(|_| run()).collect(),
            reshard_times: vec![NOW; 10],
            ..Status::default()
        }
    }

    #[test]
    fn largest_status_fits() {
        let mut status = largest();
        let before = bytes(&status);
        fit(&mut status);
        let after = bytes(&status);
        println!("the largest status: {before} bytes as decided, {after} as written");
        assert!(before > 4 * BYTES_MAX, "{before}");
        assert!(after <= BYTES_MAX, "{after}");
        let (at_work, decided) = (&status.steps[63], &largest().steps[63]);
        assert_eq!(at_work.plan, decided.plan);
        assert_eq!(at_work.leases_per_worker, decided.leases_per_worker);
        let again = status.clone();
        fit(&mut status);
        assert_eq!(status, again, "a status that fits is left as it is");
    }

    #[test]
    fn old_steps_lose_their_details_first() {
        let mut status = largest();
        status.steps.iter_mut().for_each(|step| {
            step.message = None;
            step.interference = None;
        });
        status.timeline.clear();
        status.history.clear();
        status.conditions.clear();
        status.steps.drain(..52);
        fit(&mut status);
        assert!(bytes(&status) <= BYTES_MAX);
        let kept: Vec<bool> = status
            .steps
            .iter()
            .map(|step| !step.leases_per_worker.is_empty())
            .collect();
        assert!(!kept[0] && kept[11], "{kept:?}");
        assert!(kept.is_sorted(), "{kept:?}");
    }

    #[test]
    fn usual_status_is_left_as_it_is() {
        let mut status = largest();
        status.steps.truncate(2);
        status.timeline.truncate(2);
        status.conditions.truncate(1);
        status.history.truncate(1);
        let before = status.clone();
        fit(&mut status);
        assert_eq!(status, before);
    }
}
