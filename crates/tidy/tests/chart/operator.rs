//! The operator's command line follows from the values.

use serde_json::Value;

use crate::helm::{object, pod, render, texts};

fn container(values: &[&str]) -> Value {
    let objects = render(values);
    pod(object(&objects, "Deployment", "lab-kinex-operator")).unwrap().1["containers"][0].clone()
}

fn arguments(values: &[&str]) -> Vec<String> {
    texts(&container(values)["args"])
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn check(values: &[&str], wanted: &[&str], unwanted: &[&str]) {
    let found = arguments(values);
    for argument in wanted {
        assert!(
            found.iter().any(|f| f == argument),
            "{values:?}: no {argument} in {found:?}"
        );
    }
    for beginning in unwanted {
        assert!(
            !found.iter().any(|f| f.starts_with(beginning)),
            "{values:?}: {beginning} in {found:?}"
        );
    }
}

#[test]
fn without_any_value_it_is_this() {
    let wanted = r#"
        operator
        --endpoint-url=http://lab-kinex-endpoint.streams.svc:4566
        --image=kinex:0.1.0
        --image-pull-policy=IfNotPresent
        --consumer-service-account=lab-kinex-consumer
        --producer-service-account=lab-kinex-producer
        --consumer-resources={"limits":{"cpu":"1","memory":"256Mi"},"requests":{"cpu":"50m","memory":"64Mi"}}
        --producer-resources={"limits":{"cpu":"1","memory":"128Mi"},"requests":{"cpu":"50m","memory":"32Mi"}}
        --max-shards=200
        --max-replicas=100
        --max-running=10
        --max-records-per-second=10000
        --cleanup-timeout=2m
        --leader-election
        --lease=lab-kinex-operator
        --metrics-addr=0.0.0.0:9090"#;
    let wanted: Vec<&str> = wanted.trim().lines().map(str::trim).collect();
    assert_eq!(arguments(&[]), wanted);
}

#[test]
fn each_value_becomes_its_flag() {
    check(
        &["backend=aws", "aws.region=eu-west-1", "limits.streamPrefixes={a-,b-}"],
        &[
            "--aws",
            "--region=eu-west-1",
            "--table-prefix=kinex-",
            "--stream-prefix=a-",
        ],
        &["--endpoint-url"],
    );
    check(
        &[
            "backend=localstack",
            "localstack.externalUrl=http://localstack.other.svc:4566/",
        ],
        &["--endpoint-url=http://localstack.other.svc:4566"],
        &["--aws", "--table-prefix"],
    );
    check(
        &["watchNamespaces={team-a,team-b}"],
        &["--namespace=team-a", "--namespace=team-b"],
        &["--all-namespaces"],
    );
    check(
        &["watchAllNamespaces=true"],
        &["--all-namespaces"],
        &[
            "--namespace",
            "--consumer-service-account",
            "--producer-service-account",
        ],
    );
    check(
        &["watchAllNamespaces=true", "consumer.serviceAccount.name=workers"],
        &["--consumer-service-account=workers"],
        &["--producer-service-account"],
    );
    check(
        &[
            "limits.endpoints={http://a:4566,https://b}",
            "limits.streamPrefixes={a-,b-}",
            "limits.shards=5000",
            "limits.replicas=7",
            "limits.running=3",
            "limits.recordsPerSecond=1000000",
        ],
        &[
            "--allow-endpoint=http://a:4566",
            "--allow-endpoint=https://b",
            "--stream-prefix=a-",
            "--stream-prefix=b-",
            "--max-shards=5000",
            "--max-replicas=7",
            "--max-running=3",
            "--max-records-per-second=1000000",
        ],
        &[],
    );
    check(
        &[
            "allowChaos=true",
            "imagePullSecrets[0].name=registry",
            "workerPriorityClassName=batch",
        ],
        &[
            "--allow-chaos",
            "--image-pull-secret=registry",
            "--worker-priority-class=batch",
        ],
        &[],
    );
    check(
        &["operator.leaderElection=false", "cleanupTimeout=30s"],
        &["--cleanup-timeout=30s"],
        &["--leader-election"],
    );
    check(&["image.pullPolicy=Never"], &["--image-pull-policy=Never"], &[]);
}

#[test]
fn logs_are_json_unless_text_is_wanted() {
    let variable = |values: &[&str], name: &str| {
        let container = container(values);
        let env = container["env"].as_array().unwrap();
        let found = env
            .iter()
            .find(|v| v["name"] == name)
            .unwrap_or_else(|| panic!("no {name}"));
        found["value"].as_str().map(str::to_owned)
    };
    assert_eq!(variable(&[], "KINEX_LOG_JSON").as_deref(), Some("true"));
    assert_eq!(
        variable(&["operator.logFormat=text"], "KINEX_LOG_JSON").as_deref(),
        Some("false")
    );
    assert_eq!(
        variable(&["operator.logFilter=debug"], "RUST_LOG").as_deref(),
        Some("debug")
    );
}
