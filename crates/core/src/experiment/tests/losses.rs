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
fn kill_without_a_witness_names_whose_end_is_not_told() {
    for (witness, expected) in [(true, 0), (false, 1)] {
        let spec = killing(Restart::Immediately, witness);
        let (status, model) = run(spec.clone());
        let silent: Vec<_> = unwitnessed(&spec, &status).cloned().collect();
        assert_eq!(silent.len(), expected);
        assert!(silent.iter().all(|pod| model.killed.contains(pod)));
    }
}
