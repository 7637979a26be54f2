//! What a pod tells of its process: deaths, and problems in words.

use super::*;

const FIRST: &str = "5f0c1f0e-0f5c-4c52-a4a5-4d4b0a8e2a10";
const SECOND: &str = "9a54f9a2-6c69-4a9e-b3a4-1f7f2c8d3b21";

/// A pod of this name with one consumer container of this status, in YAML.
fn pod(container: &str) -> Pod {
    let indented = container.replace('\n', "\n    ");
    serde_saphyr::from_str(&format!(
        "metadata: {{name: x-consumer-1, uid: u1}}
status:
  conditions:
  - {{type: Ready, status: 'True'}}
  containerStatuses:
  - name: consumer
    image: kinex:dev
    imageID: ''
    ready: true
    restartCount: 0
    {}
",
        indented.trim_start()
    ))
    .unwrap()
}

fn row(incarnation: &str, uid: &str) -> ProcessRow {
    let body = format!(r#"{{"incarnation":"{incarnation}","podUid":"{uid}","startedAt":"2026-11-23T10:00:00Z"}}"#);
    serde_json::from_str(&body).unwrap()
}

#[test]
fn only_the_kubelets_word_about_an_incarnation_proves_a_death() {
    let check = |container: &str, expected: &[&str]| {
        let found = deaths(&pod(container));
        let ended: Vec<_> = found.iter().map(|death| death.process.incarnation.as_str()).collect();
        assert_eq!(ended, expected, "{container}");
        assert!(
            found
                .iter()
                .all(|death| death.process.worker.as_str() == "x-consumer-1")
        );
    };
    check("state: {running: {startedAt: '2026-11-23T10:00:00Z'}}", &[]);
    check("state: {terminated: {exitCode: 137}}", &[]);
    check("state: {terminated: {exitCode: 1, message: 'cannot connect'}}", &[]);
    let killed = format!("state: {{terminated: {{exitCode: 137, message: \"{FIRST}\\n\"}}}}");
    check(&killed, &[FIRST]);
    let twice = format!(
        "lastState: {{terminated: {{exitCode: 137, message: '{FIRST}'}}}}\nstate: {{terminated: {{exitCode: 0, message: '{SECOND}'}}}}"
    );
    check(&twice, &[FIRST, SECOND]);
}

#[test]
fn a_death_has_the_kubelets_time() {
    let container =
        format!("state: {{terminated: {{exitCode: 0, message: {FIRST}, finishedAt: '2026-11-23T10:00:05Z'}}}}");
    let found = deaths(&pod(&container));
    assert_eq!(found[0].at, "2026-11-23T10:00:05Z".parse().ok());
}

#[test]
fn a_process_belongs_to_the_pod_that_it_names() {
    let running = pod("state: {running: {startedAt: '2026-11-23T10:00:00Z'}}");
    let check = |pod: &Pod, row: Option<ProcessRow>, expected: (Option<&str>, bool, bool)| {
        let found = facts(pod, row.as_ref(), |incarnation| incarnation.as_str() == SECOND);
        let known = found.incarnation.as_ref().map(Incarnation::as_str);
        assert_eq!((known, found.running, found.ready), expected, "{row:?}");
    };
    check(&running, None, (None, true, true));
    check(&running, Some(row(FIRST, "u1")), (Some(FIRST), true, true));
    // The row of the pod before this one, and of the process before the restart.
    check(&running, Some(row(FIRST, "u0")), (None, true, true));
    check(&running, Some(row(SECOND, "u1")), (None, true, true));
    let waiting = pod("state: {waiting: {reason: CrashLoopBackOff}}");
    check(&waiting, Some(row(FIRST, "u1")), (None, false, false));
}

#[test]
fn a_problem_is_told_in_words_that_stay() {
    let check = |container: &str, expected: Option<&str>| {
        assert_eq!(problem([&pod(container)]).as_deref(), expected, "{container}");
    };
    check("state: {running: {}}", None);
    check("state: {waiting: {reason: ContainerCreating}}", None);
    let pull = "ImagePullBackOff on x-consumer-1: the image kinex:dev cannot be pulled; check its name, and the \
                operator's --image";
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        check(
            &format!("state: {{waiting: {{reason: {reason}, message: 'Back-off 10s'}}}}"),
            Some(pull),
        );
    }
    check(
        "state: {waiting: {reason: CrashLoopBackOff, message: 'back-off 40s'}}\nlastState: {terminated: {exitCode: 75}}",
        Some("CrashLoopBackOff on x-consumer-1: ended with exit code 75; its log says why"),
    );
    check(
        "state: {waiting: {reason: CreateContainerConfigError, message: 'configmap \"x\" not found'}}",
        Some("CreateContainerConfigError on x-consumer-1: configmap \"x\" not found"),
    );
}

#[test]
fn a_pod_without_a_node_is_a_problem() {
    let pending: Pod = serde_saphyr::from_str(
        "metadata: {name: x-consumer-0}
status:
  phase: Pending
  conditions:
  - {type: PodScheduled, status: 'False', reason: Unschedulable, message: '0/1 nodes are available'}",
    )
    .unwrap();
    let expected = "Unschedulable on x-consumer-0: 0/1 nodes are available";
    assert_eq!(problem([&pending]).as_deref(), Some(expected));
}
