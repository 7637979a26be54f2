//! What the loss of a worker costs: counted from the kill, restarted or not.

use super::*;
use crate::experiment::{KillMode, PodSelect, Restart, StepResult, Verdict, unwitnessed};

fn killing(restart: Restart, witness: bool) -> Spec {
    let kill = Action::KillPod {
        count: 1,
        select: PodSelect::MostLeases,
        mode: KillMode::Force,
        witness,
        restart,
    };
    let pause = Action::Pause {
        lasting: Duration::from_secs(7),
    };
    let steps = vec![
        step("w", wait()),
        step("kill", kill),
        step("p", pause),
        step("after", wait()),
    ];
    spec(12, 4, steps)
}

fn named<'a>(status: &'a Status, name: &str) -> &'a StepResult {
    status.steps.iter().find(|step| step.name == name).unwrap()
}

#[test]
fn convergence_after_a_kill_counts_from_the_kill() {
    let (status, model) = run(killing(Restart::Immediately, true));
    assert_eq!(status.verdict, Verdict::Pass, "{:?}", status.message);
    let (kill, after) = (named(&status, "kill"), named(&status, "after"));
    let acted = kill.acted_at.expect("a kill acts");
    assert!(acted >= kill.started_at.unwrap());
    // The leases are dealt out again while the pause lasts; the wait itself sees balance at once.
    let took = after.convergence_seconds.unwrap();
    let begun = after.started_at.unwrap().seconds_after(acted);
    assert!(
        (begun - 0.3..begun + 0.3).contains(&took),
        "{took} s, and the wait began after {begun} s"
    );
    assert_eq!(model.killed.len(), 1);
}

#[test]
fn worker_killed_for_good_is_waited_for_no_more() {
    let (status, model) = run(killing(Restart::Never, true));
    assert_eq!(status.verdict, Verdict::Pass, "{:?}", status.message);
    let leases: Vec<u32> = named(&status, "after").leases_per_worker.values().copied().collect();
    assert_eq!(leases, [4, 4, 4]);
    assert_eq!(model.world.replicas.wanted, 4);
}

#[test]
fn end_that_no_step_asked_for_makes_the_run_inconclusive() {
    let mut spec = killing(Restart::Immediately, true);
    let mut lost = false;
    let status = drive(&mut spec, &mut Model::new(), Status::default(), |_, model, status| {
        if status.steps.len() == 3 && !lost {
            model.lose("fleet-0", "EvictionByEvictionAPI: Eviction API: evicting");
            lost = true;
        }
    });
    assert_eq!(status.verdict, Verdict::Inconclusive, "{:?}", status.message);
    let said = "worker fleet-0 ended, which no step asked for: EvictionByEvictionAPI: Eviction API: evicting";
    assert_eq!(named(&status, "p").interference.as_deref(), Some(said));
    assert_eq!(named(&status, "kill").interference, None);
    let told = status.timeline.iter().filter(|entry| entry.what == said);
    assert_eq!(told.count(), 1, "it is told once");
}

#[test]
fn end_during_setup_is_no_interference() {
    let mut spec = killing(Restart::Immediately, true);
    let status = drive(&mut spec, &mut Model::new(), Status::default(), |_, model, status| {
        if status.steps.is_empty() && status.ends_seen.is_none() {
            model.lose("fleet-1", "OOMKilled with exit code 137");
        }
    });
    assert!(status.ends_seen.is_some());
    assert_eq!(status.verdict, Verdict::Pass, "{:?}", status.message);
}

#[test]
fn worker_that_was_scaled_away_may_end_in_a_later_step() {
    let scale = |replicas| Action::Scale { replicas };
    let steps = vec![step("down", scale(2)), step("up", scale(4)), step("after", wait())];
    let mut spec = spec(12, 4, steps);
    let mut late = Vec::new();
    let status = drive(&mut spec, &mut Model::new(), Status::default(), |_, model, status| {
        // Its last container ends only now.
        if status.steps.len() < 3 {
            late.append(&mut model.world.ends);
        } else if !late.is_empty() {
            let now = model.now;
            model.world.ends.extend(
                late.drain(..)
                    .map(|end| crate::experiment::ProcessEnd { at: now, ..end }),
            );
        }
    });
    assert!(status.ends_seen.is_some());
    assert_eq!(status.verdict, Verdict::Pass, "{:?}", status.message);
}

#[test]
fn kill_without_a_witness_names_whose_end_is_not_told() {
    for (witness, expected) in [(true, 0), (false, 1)] {
        let spec = killing(Restart::Immediately, witness);
        let (status, model) = run(spec.clone());
        let silent: Vec<_> = unwitnessed(&spec, &status).cloned().collect();
        assert_eq!(silent.len(), expected);
        assert!(silent.iter().all(|pod| model.killed.contains(pod)));
    }
}
