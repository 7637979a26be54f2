//! Experiments that ask for more than the operator allows.

use kinex_api::KinesisExperiment;
use kinex_core::experiment::{Condition, Phase, Status, Timestamp};
use kinex_operator::limits::{AT_CAPACITY, at_capacity, comes_first, refuse};

use crate::common::{EXPERIMENTS, experiment, parse, settings, spec};

const CHAOS: &str = "--allow-chaos";

fn with(stream: &str, steps: &str) -> String {
    format!(
        "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {{name: team-a}}\n\
         spec:\n  stream: {{name: team-a-orders, {stream}}}\n  steps:\n{steps}"
    )
}

fn refused(manifest: &str, flags: &[&str]) -> Option<(&'static str, String)> {
    let experiment = parse(manifest);
    refuse(&experiment, &spec(&experiment), &settings(flags)).map(|refusal| (refusal.reason, refusal.message))
}

const WAIT: &str = "  - {name: wait, waitUntilBalanced: {}}\n";

#[test]
fn the_guides_experiments_are_within_the_limits() {
    for file in EXPERIMENTS {
        let experiment = experiment(file);
        assert_eq!(
            refuse(&experiment, &spec(&experiment), &settings(&[CHAOS])),
            None,
            "{file}"
        );
    }
}

/// An experiment whose consumers and producer run where this says.
fn scheduled(consumers: &str, producer: &str) -> String {
    let steps =
        format!("{WAIT}  consumers: {{scheduling: {{{consumers}}}}}\n  producer: {{scheduling: {{{producer}}}}}\n");
    with("initialShards: 2", &steps)
}

#[test]
fn experiments_name_only_nodes_and_priority_classes_that_are_allowed() {
    let (disk, spot) = (
        "nodeSelector: {disktype: ssd}",
        "tolerations: [{key: spot, operator: Exists}]",
    );
    let (all, class) = ("tolerations: [{operator: Exists}]", "priorityClassName: batch");
    let allowed = ["--allow-node-key=disktype,spot", "--allow-priority-class=batch"];
    let refused = |consumers: &str, producer: &str, flags: &[&str]| refused(&scheduled(consumers, producer), flags);
    let message = |part: &str, what: &str, known: &str, flag: &str| {
        let text = format!(
            "spec.{part}.scheduling{what}, and the operator allows {known} ({flag}): leave it out, or have it allowed"
        );
        Some(("SchedulingNotAllowed", text))
    };
    assert_eq!(refused(disk, spot, &allowed), None);
    assert_eq!(refused(class, class, &allowed), None);
    assert_eq!(refused(all, disk, &["--allow-node-key=*"]), None);
    assert_eq!(
        refused(disk, "", &[]),
        message(
            "consumers",
            " names the node key `disktype`",
            "none",
            "--allow-node-key"
        )
    );
    assert_eq!(
        refused("", all, &allowed),
        message(
            "producer",
            " names every taint",
            "`disktype`, `spot`",
            "--allow-node-key"
        )
    );
    assert_eq!(
        refused("", class, &["--allow-priority-class=low"]),
        message(
            "producer",
            ".priorityClassName is `batch`",
            "`low`",
            "--allow-priority-class"
        )
    );
}

#[test]
fn each_limit_says_what_was_asked_and_what_to_do() {
    let cases: &[(&str, &str, &[&str], &str, &str)] = &[
        (
            "initialShards: 201",
            WAIT,
            &[],
            "TooManyShards",
            "spec.stream.initialShards comes to 201 open shards, and the operator allows 200 (--max-shards): ask for fewer, or have the limit raised",
        ),
        (
            "initialShards: 6",
            "  - {name: more, split: {count: 4}}\n  - {name: again, split: {count: 4}}\n",
            &["--max-shards=12"],
            "TooManyShards",
            "step `again` comes to 14 open shards, and the operator allows 12 (--max-shards): ask for fewer, or have the limit raised",
        ),
        (
            "initialShards: 6",
            "  - {name: many, updateShardCount: {target: 13}}\n",
            &["--max-shards=12"],
            "TooManyShards",
            "step `many` comes to 13 open shards, and the operator allows 12 (--max-shards): ask for fewer, or have the limit raised",
        ),
        (
            "initialShards: 6",
            WAIT,
            &["--max-replicas=2"],
            "TooManyReplicas",
            "spec.replicas asks for 3 workers, and the operator allows 2 (--max-replicas): ask for fewer, or have the limit raised",
        ),
        (
            "initialShards: 6",
            "  - {name: grow, scale: {replicas: 101}}\n",
            &[],
            "TooManyReplicas",
            "step `grow` asks for 101 workers, and the operator allows 100 (--max-replicas): ask for fewer, or have the limit raised",
        ),
        (
            "initialShards: 6",
            "  - {name: flood, producer: {recordsPerSecond: 10001}}\n",
            &[],
            "TooManyRecords",
            "step `flood` asks for 10001 records per second, and the operator allows 10000 (--max-records-per-second): ask for fewer, or have the limit raised",
        ),
        (
            "initialShards: 6",
            WAIT,
            &["--stream-prefix=team-b-", "--stream-prefix=shared-"],
            "StreamNotAllowed",
            "spec.stream.name is `team-a-orders`, and the operator allows names that begin with `team-b-`, `shared-` (--stream-prefix): choose such a name",
        ),
        (
            "initialShards: 6",
            WAIT,
            &["--stream-prefix=team-a-o"],
            "StreamNotAllowed",
            "metadata.name, which names the lease table, is `team-a`, and the operator allows names that begin with `team-a-o` (--stream-prefix): choose such a name",
        ),
        (
            "initialShards: 6",
            "  - {name: crash, killPod: {mode: Crash}}\n",
            &[],
            "ChaosNotAllowed",
            "step `crash` (killPod) acts on a consumer from within, and the operator was started without --allow-chaos: have it started with it, or end pods with killPod mode Delete or Force",
        ),
        (
            "initialShards: 6",
            "  - {name: ice, freezePod: {for: 5s}}\n",
            &[],
            "ChaosNotAllowed",
            "step `ice` (freezePod) acts on a consumer from within, and the operator was started without --allow-chaos: have it started with it, or end pods with killPod mode Delete or Force",
        ),
    ];
    for (stream, steps, flags, reason, message) in cases {
        let refusal = refused(&with(stream, steps), flags);
        assert_eq!(
            refusal,
            Some((*reason, (*message).to_owned())),
            "{stream} {steps} {flags:?}"
        );
    }
    for (stream, steps, flags) in [
        ("initialShards: 200", WAIT, &[] as &[&str]),
        (
            "initialShards: 6",
            "  - {name: one, split: {count: 6}}\n  - {name: less, merge: {count: 6}}\n  - {name: two, split: {count: 6}}\n",
            &["--max-shards=12"],
        ),
        ("initialShards: 6", "  - {name: kill, killPod: {mode: Force}}\n", &[]),
        (
            "initialShards: 6",
            "  - {name: crash, killPod: {mode: Crash}}\n",
            &[CHAOS],
        ),
        (
            "initialShards: 6",
            WAIT,
            &["--stream-prefix=team-a", "--max-replicas=3"],
        ),
        (
            "initialShards: 6",
            WAIT,
            &["--stream-prefix=team-a-o", "--table-prefix=kinex-"],
        ),
    ] {
        assert_eq!(refused(&with(stream, steps), flags), None, "{stream} {steps} {flags:?}");
    }
}

#[test]
fn an_endpoint_must_be_on_the_list_and_never_where_no_stream_is() {
    let list: &[&str] = &[
        "--allow-endpoint=https://*.example.com",
        "--allow-endpoint=http://localstack:4566",
    ];
    let any: &[&str] = &["--allow-endpoint=http://*"];
    let metadata: &[&str] = &["--allow-endpoint=http://169.254.169.254"];
    let cases: &[(&str, &[&str], Option<&str>)] = &[
        // The operator's own, and what is on the list.
        ("http://kinex-emulator:4566", &[], None),
        ("http://KINEX-emulator.:4566/", &[], None),
        ("http://localstack:4566", list, None),
        ("https://kinesis.example.com", list, None),
        ("https://a.b.example.com:443", list, None),
        ("http://anything", any, None),
        ("http://10.1.2.3", any, None),
        // Another host, port or scheme.
        ("http://localstack:4567", list, Some("EndpointNotAllowed")),
        ("https://localstack:4566", list, Some("EndpointNotAllowed")),
        ("http://kinesis.example.com", list, Some("EndpointNotAllowed")),
        ("https://example.com", list, Some("EndpointNotAllowed")),
        ("https://example.com.evil.org", list, Some("EndpointNotAllowed")),
        ("https://evilexample.com", list, Some("EndpointNotAllowed")),
        ("http://elsewhere:4566", &[], Some("EndpointNotAllowed")),
        ("https://anything", any, Some("EndpointNotAllowed")),
        // Where no stream is, however it is written.
        ("http://169.254.169.254", any, Some("EndpointForbidden")),
        ("http://2852039166", any, Some("EndpointForbidden")),
        ("http://0xa9fea9fe", any, Some("EndpointForbidden")),
        ("http://0251.0376.0251.0376", any, Some("EndpointForbidden")),
        ("http://[::ffff:169.254.169.254]", any, Some("EndpointForbidden")),
        ("http://[64:ff9b::a9fe:a9fe]", any, Some("EndpointForbidden")),
        ("http://[fd00:ec2::254]", any, Some("EndpointForbidden")),
        ("http://[fe80::1]", any, Some("EndpointForbidden")),
        ("http://127.0.0.1:4566", any, Some("EndpointForbidden")),
        ("http://127.1", any, Some("EndpointForbidden")),
        ("http://0.0.0.0", any, Some("EndpointForbidden")),
        ("http://[::1]", any, Some("EndpointForbidden")),
        ("http://localhost", any, Some("EndpointForbidden")),
        ("http://a.localhost.", any, Some("EndpointForbidden")),
        ("http://metadata.google.internal", any, Some("EndpointForbidden")),
        ("http://10.96.0.1", any, Some("EndpointForbidden")),
        ("http://kubernetes.default.svc", any, Some("EndpointForbidden")),
        // Somebody who may has listed exactly this one.
        ("http://169.254.169.254", metadata, None),
        // Nothing that a URL can be.
        ("http://:80", any, Some("EndpointInvalid")),
        ("http://[::1", any, Some("EndpointInvalid")),
        ("http://a:99999", any, Some("EndpointInvalid")),
    ];
    for (url, flags, reason) in cases {
        let refusal = refused(&with(&format!("initialShards: 6, endpointUrl: \"{url}\""), WAIT), flags);
        assert_eq!(
            refusal.as_ref().map(|(reason, _)| *reason),
            *reason,
            "{url}: {refusal:?}"
        );
    }
    let (_, message) = refused(&with("endpointUrl: \"http://10.96.0.1:443\"", WAIT), any).unwrap();
    assert_eq!(
        message,
        "spec.stream.endpointUrl is `http://10.96.0.1:443`, which is the cluster's API server: experiments have no business there; name the endpoint of a stream"
    );
}

#[test]
fn an_experiment_without_any_endpoint_is_told_so() {
    let experiment = parse(&with("initialShards: 6", WAIT));
    let nowhere = crate::common::resolve(&["--image=kinex:dev"]).unwrap();
    assert_eq!(
        refuse(&experiment, &spec(&experiment), &nowhere).unwrap().reason,
        "NoEndpoint"
    );
    let aws = crate::common::resolve(&["--image=kinex:dev", "--aws"]).unwrap();
    assert_eq!(refuse(&experiment, &spec(&experiment), &aws), None);
}

#[test]
fn one_too_many_waits() {
    let limits = settings(&["--max-running=2"]).limits;
    assert_eq!(at_capacity(1, &limits), None);
    let refusal = at_capacity(2, &limits).unwrap();
    assert_eq!(refusal.reason, AT_CAPACITY);
    assert_eq!(
        refusal.message,
        "the operator runs 2 experiments of a namespace at a time (--max-running), the oldest first: this one begins when those before it have ended"
    );
}

#[test]
fn who_runs_or_waits_for_longer_comes_first() {
    let made = |second: u8, phase: Phase, reason: &str| {
        let mut one = parse(&with("initialShards: 6", WAIT));
        let time = format!("2026-01-01T00:00:{second:02}Z");
        one.metadata.creation_timestamp = Some(serde_json::from_value(time.into()).unwrap());
        let stalled = Condition {
            kind: "Stalled".to_owned(),
            status: if reason.is_empty() { "False" } else { "True" }.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: Timestamp(0),
            observed_generation: None,
        };
        one.status = Some(Status {
            phase,
            conditions: vec![stalled],
            ..Status::default()
        });
        one
    };
    let one = made(30, Phase::Pending, "");
    let first = |other: &KinesisExperiment| comes_first(other, &one);
    assert!(first(&made(59, Phase::Running, "")), "it runs");
    assert!(
        first(&made(20, Phase::Pending, AT_CAPACITY)),
        "it has waited for longer"
    );
    assert!(!first(&made(40, Phase::Pending, AT_CAPACITY)), "it came later");
    assert!(!first(&made(20, Phase::Pending, "InvalidSpec")), "it waits for no turn");
    assert!(!first(&made(20, Phase::Succeeded, "")), "it has ended");
    let mut leaving = made(20, Phase::Pending, AT_CAPACITY);
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    assert!(!first(&leaving), "it is being deleted");
}
