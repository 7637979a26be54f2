//! Flags: what is taken, and the one clear error for what is not.

use std::time::Duration;

use kinex_operator::settings::{Endpoint, Place, Scope};

use crate::common::{resolve, settings};

#[test]
fn nothing_but_the_image_need_be_said() {
    let settings = resolve(&["--image=kinex:dev"]).unwrap();
    assert_eq!(settings.scope, Scope::Namespaces(vec!["lab".to_owned()]));
    assert_eq!(settings.place, None);
    assert_eq!(settings.limits.shards_max, 200);
    assert_eq!(settings.cleanup_timeout, Duration::from_secs(120));
    assert_eq!(settings.metrics_addr.port(), 9090);
    assert!(!settings.pods.allow_chaos && settings.lease.is_none());
}

#[test]
fn what_is_given_is_kept() {
    let settings = settings(&[
        "--namespace=b,a",
        "--namespace=b",
        "--max-shards=7",
        "--allow-endpoint=https://*.example.com",
    ]);
    assert_eq!(settings.scope, Scope::Namespaces(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(settings.limits.shards_max, 7);
    assert_eq!(
        settings.place,
        Some(Place::Custom(Endpoint::parse("http://kinex-emulator:4566/").unwrap()))
    );
    assert_eq!(settings.allowed.len(), 1);
}

#[test]
fn each_wrong_flag_gives_one_clear_error() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["--image="],
            "--image is missing: name the image of consumers and producers, normally the operator's own",
        ),
        (
            &["--all-namespaces", "--namespace=a"],
            "--all-namespaces and --namespace a contradict each other: give one of them",
        ),
        (
            &["--namespace=A b"],
            "--namespace is `A b`: expected a name of lower-case letters, digits, `-` and `.`",
        ),
        (
            &["--aws", "--endpoint-url=http://a"],
            "--aws and --endpoint-url http://a contradict each other: give one of them",
        ),
        (
            &["--endpoint-url=a:80"],
            "--endpoint-url is `a:80`: expected http:// or https://",
        ),
        (
            &["--endpoint-url=http://me:secret@a"],
            "--endpoint-url is a URL with a user name or a password: endpoints get no credentials, take them out",
        ),
        (
            &["--endpoint-url=http://a/b"],
            "--endpoint-url is `http://a/b`: expected scheme, host and port alone, as http://localstack:4566",
        ),
        (
            &["--allow-endpoint=https://a.*"],
            "--allow-endpoint is `https://a.*`: a `*` stands in front only, as https://*.example.com",
        ),
        (
            &["--image-pull-policy=always"],
            "--image-pull-policy is `always`: expected Always, IfNotPresent or Never",
        ),
        (
            &["--consumer-service-account=A"],
            "--consumer-service-account is `A`: expected a name of lower-case letters, digits, `-` and `.`",
        ),
        (
            &["--max-shards=0"],
            "--max-shards is 0, which no experiment keeps: give 1 or more",
        ),
        (&["--cleanup-timeout=soon"], "--cleanup-timeout is `soon`"),
        (
            &["--metrics-addr=9090"],
            "--metrics-addr is `9090`: expected IP:PORT, as 0.0.0.0:9090",
        ),
        (
            &["--consumer-resources={"],
            "--consumer-resources is no JSON of resources",
        ),
        (
            &[r#"--producer-resources={"requests":{"cpu":"1"}}"#],
            "--producer-resources must give cpu and memory under both requests and limits",
        ),
        (
            &[r#"--consumer-pod={"nodeSelectors":{}}"#],
            "--consumer-pod is no JSON of a pod's labels, scheduling and env: unknown field `nodeSelectors`",
        ),
        (
            &["--ca-bundle=trust"],
            "--ca-bundle is `trust`: give a ConfigMap and its key, as trust/ca.crt",
        ),
        (&["--ca-bundle=trust/../token"], "--ca-bundle is `trust/../token`"),
        (
            &[r#"--producer-pod={"labels":{"app.kubernetes.io/name":"mine"}}"#],
            "--producer-pod sets the label app.kubernetes.io/name, which the operator sets itself: choose another",
        ),
    ];
    for (flags, expected) in cases {
        let usual: &[&str] = if flags[0].starts_with("--image=") {
            &[]
        } else {
            &["--image=kinex:dev"]
        };
        let error = resolve(&[usual, flags].concat()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{flags:?}: {error}");
    }
}
