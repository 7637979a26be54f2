//! Endpoints, credentials and proxies, seen from the other end of the connection.
//!
//! What depends on the environment runs in a process of its own: this test program again, with one test that is ignored
//! otherwise.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use kinex_aws::{Access, AddressRule, Clients, Entry, FaultKind, Outcome, SdkConfig, StreamIdentity, stream_name};
use kinex_kcl::ports::{ReadFrom, StreamReader};

use crate::bench::Bench;

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Seen {
    /// `POST http://host/ HTTP/1.1`.
    line: String,
    /// The access key that signed it.
    key: String,
    target: String,
}

/// Something that takes connections on loopback and writes down what is asked.
struct Listener {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Listener {
    /// `answer` gives status and body. Its thread ends with the test.
    fn start(answer: impl Fn(&Seen) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some((mut stream, request)) = stream.ok().and_then(read) else {
                    continue;
                };
                kept.lock().expect("not poisoned").push(request.clone());
                let (status, body) = answer(&request);
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.1\r\n");
                let _ = write!(stream, "{head}content-length: {length}\r\n\r\n{body}");
            }
        });
        Self { address, seen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    fn keys(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.key).collect()
    }
}

fn read(mut stream: TcpStream) -> Option<(TcpStream, Seen)> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    let end = loop {
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        line.unwrap_or_default()
    };
    let length: usize = header("content-length").parse().unwrap_or(0);
    let mut missing = (end + 4 + length).saturating_sub(bytes.len());
    while missing > 0 {
        missing -= stream.read(&mut part).ok().filter(|count| *count > 0)?.min(missing);
    }
    let signed = header("authorization");
    let key = signed
        .split("Credential=")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let seen = Seen {
        line: head.lines().next().unwrap_or_default().to_owned(),
        key: key.unwrap_or_default().to_owned(),
        target: header("x-amz-target"),
    };
    Some((stream, seen))
}

/// What Kinesis says of an active stream.
fn summary() -> (u16, String) {
    let body = r#"{"StreamDescriptionSummary":{"StreamName":"orders","StreamARN":"arn:aws:kinesis:eu-west-1:111122223333:stream/orders",
        "StreamStatus":"ACTIVE","StreamCreationTimestamp":1700000000,"RetentionPeriodHours":24,"EnhancedMonitoring":[],"OpenShardCount":1}}"#;
    (200, body.to_owned())
}

fn refusal(code: &str) -> (u16, String) {
    (400, format!(r#"{{"__type":"{code}","message":"no"}}"#))
}

/// Asks for the stream `orders` in a process of its own, and returns what it prints.
fn asked_elsewhere(environment: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "access::the_stream_is_asked_for", "--ignored", "--nocapture"]);
    child.env_clear();
    child.env("AWS_EC2_METADATA_DISABLED", "true");
    child.env("AWS_CONFIG_FILE", "/nonexistent");
    child.env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    child.envs(environment.iter().copied());
    let output = child.output().expect("this program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.split_once("said: "));
    line.map_or(said.clone(), |(_, line)| line.to_owned())
}

#[tokio::test]
#[ignore = "only in a process with the environment for it"]
async fn the_stream_is_asked_for() {
    let given = |name: &str| std::env::var(name).ok();
    let access = Access {
        endpoint: given("TEST_ENDPOINT"),
        region: Some("eu-west-1".to_owned()),
        send_credentials: given("TEST_SEND").is_some(),
        ..Access::default()
    };
    let said = match Clients::connect(&access).await {
        Ok(clients) => match clients.streams().describe("orders").await {
            Ok(summary) => summary.name,
            Err(fault) => format!("{:?} {fault}", fault.kind),
        },
        Err(fault) => format!("{:?} {fault}", fault.kind),
    };
    println!("said: {said}");
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDREAL"), ("AWS_SECRET_ACCESS_KEY", "secret")];

#[test]
fn real_credentials_go_to_a_custom_endpoint_only_when_told_so() {
    let endpoint = Listener::start(|_| summary());
    let url = endpoint.url();
    let mut environment = KEYS.to_vec();
    environment.push(("TEST_ENDPOINT", &url));
    assert_eq!(asked_elsewhere(&environment), "orders");
    environment.push(("TEST_SEND", "yes"));
    assert_eq!(asked_elsewhere(&environment), "orders");
    assert_eq!(endpoint.keys(), ["kinex", "AKIDREAL"]);
}

#[test]
fn session_credentials_of_a_profile_that_expire_are_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    let profile = |key: &str| {
        format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\naws_session_token = token\n")
    };
    std::fs::write(&file, profile("AKIDOLD")).unwrap();
    let rotated = file.clone();
    // Somebody writes new ones at the moment in which the old ones are refused; they are a second old by then.
    let endpoint = Listener::start(move |seen| {
        if seen.key == "AKIDOLD" {
            std::fs::write(&rotated, profile("AKIDNEW")).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1_100));
            refusal("ExpiredTokenException")
        } else {
            summary()
        }
    });
    let (url, path) = (endpoint.url(), file.display().to_string());
    let said = asked_elsewhere(&[
        ("AWS_SHARED_CREDENTIALS_FILE", &path),
        ("TEST_ENDPOINT", &url),
        ("TEST_SEND", "yes"),
    ]);
    assert_eq!(said, "orders");
    assert_eq!(endpoint.keys(), ["AKIDOLD", "AKIDNEW"]);
}

#[test]
fn a_plain_endpoint_is_asked_through_the_http_proxy() {
    let proxy = Listener::start(|_| summary());
    let url = proxy.url();
    let environment = [
        ("HTTP_PROXY", url.as_str()),
        ("TEST_ENDPOINT", "http://emulator.test:4566"),
    ];
    assert_eq!(asked_elsewhere(&environment), "orders");
    let seen = proxy.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].line.starts_with("POST http://emulator.test:4566/"), "{seen:?}");
}

#[test]
fn an_endpoint_on_this_machine_is_asked_without_the_proxy() {
    let proxy = Listener::start(|_| (502, String::new()));
    let endpoint = Listener::start(|_| summary());
    let (through, url) = (proxy.url(), endpoint.url());
    let environment = [("HTTP_PROXY", through.as_str()), ("TEST_ENDPOINT", url.as_str())];
    assert_eq!(asked_elsewhere(&environment), "orders");
    assert!(proxy.seen().is_empty());
}

#[test]
fn real_aws_is_asked_through_the_https_proxy_and_a_refusal_is_one_clear_error() {
    let proxy = Listener::start(|_| (403, "not from here".to_owned()));
    let url = format!("http://me:hidden@{}", proxy.address);
    let mut environment = KEYS.to_vec();
    environment.push(("HTTPS_PROXY", &url));
    let said = asked_elsewhere(&environment);
    let shown = format!(
        "cannot reach AWS in eu-west-1 through the proxy {} (HTTPS_PROXY): ",
        proxy.url()
    );
    for part in ["Unreachable", &shown, "NO_PROXY"] {
        assert!(said.contains(part), "{said:?} lacks {part:?}");
    }
    assert!(!said.contains("hidden"), "{said}");
    let lines: Vec<_> = proxy.seen().into_iter().map(|seen| seen.line).collect();
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("CONNECT kinesis.eu-west-1.amazonaws.com:443 "))
            && !lines.is_empty(),
        "{lines:?}"
    );
}

#[test]
fn what_an_http_proxy_says_itself_is_not_taken_for_the_service() {
    for status in [403, 407, 502] {
        let proxy = Listener::start(move |_| (status, "<html>".to_owned()));
        let url = proxy.url();
        let said = asked_elsewhere(&[("HTTP_PROXY", &url), ("TEST_ENDPOINT", "http://emulator.test:4566")]);
        assert!(
            said.contains("through the proxy") && said.contains(&format!("HTTP {status}")),
            "{said}"
        );
        assert!(!said.contains("credentials"), "{said}");
    }
}

#[test]
fn a_proxy_that_is_none_is_named_before_anything_is_sent() {
    let said = asked_elsewhere(&[("HTTPS_PROXY", "socks5://127.0.0.1:1")]);
    assert!(said.starts_with("Invalid") && said.contains("HTTPS_PROXY"), "{said}");
}

#[test]
fn certificates_that_are_none_are_named_before_anything_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let (empty, damaged) = (directory.path().join("empty"), directory.path().join("damaged"));
    std::fs::write(&empty, "no certificate\n").unwrap();
    std::fs::write(&damaged, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    for path in [Path::new("/nonexistent"), &empty, &damaged] {
        let path = path.display().to_string();
        let said = asked_elsewhere(&[("AWS_CA_BUNDLE", &path), ("TEST_ENDPOINT", "https://emulator.test")]);
        assert!(
            said.starts_with("Invalid") && said.contains("AWS_CA_BUNDLE") && said.contains(&path),
            "{said}"
        );
    }
    let plain = Listener::start(|_| summary());
    let said = asked_elsewhere(&[("AWS_CA_BUNDLE", "/nonexistent"), ("TEST_ENDPOINT", &plain.url())]);
    assert_eq!(said, "orders", "without TLS they do not matter");
}

#[tokio::test]
async fn name_that_resolves_to_a_forbidden_address_is_not_connected_to() {
    let endpoint = Listener::start(|_| summary());
    let port = endpoint.address.rsplit(':').next().expect("a port");
    let url = format!("http://localhost:{port}");
    let asked = async |rule: AddressRule| {
        let access = Access {
            addresses: Some(rule),
            ..Access::endpoint(&url)
        };
        Clients::connect(&access)
            .await
            .unwrap()
            .streams()
            .describe("orders")
            .await
    };
    let loopback = |address: IpAddr| address.is_loopback().then_some("the pod itself (loopback)");
    let fault = asked(AddressRule::new(loopback)).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    let said = fault.to_string();
    assert!(
        said.contains("`localhost` resolves to ") && said.contains("the pod itself"),
        "{said}"
    );
    assert!(endpoint.seen().is_empty());
    assert_eq!(asked(AddressRule::new(|_| None)).await.unwrap().name, "orders");
}

#[test]
fn a_profile_of_single_sign_on_asks_its_portal_with_the_cached_token() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    // The file of a token is named by the SHA-1 of the start URL.
    let token = cache.join("0c54b6c27e90660baa89eaad85ac1d5dae26cb7d.json");
    std::fs::write(token, r#"{"accessToken":"token","expiresAt":"2099-01-01T00:00:00Z"}"#).unwrap();
    let file = home.path().join("config");
    let profile = "[default]\nsso_start_url = https://d-1.awsapps.com/start\nsso_region = eu-west-1\nsso_account_id = 111122223333\n\
                   sso_role_name = reader\n";
    std::fs::write(&file, profile).unwrap();
    let proxy = Listener::start(|_| (403, String::new()));
    let (url, home, file) = (
        proxy.url(),
        home.path().display().to_string(),
        file.display().to_string(),
    );
    let said = asked_elsewhere(&[("HOME", &home), ("AWS_CONFIG_FILE", &file), ("HTTPS_PROXY", &url)]);
    assert!(
        said.starts_with("Denied") && said.contains("no AWS credentials"),
        "{said}"
    );
    let lines: Vec<_> = proxy.seen().into_iter().map(|seen| seen.line).collect();
    let portal = "CONNECT portal.sso.eu-west-1.amazonaws.com:443 ";
    assert!(lines.iter().any(|line| line.starts_with(portal)), "{lines:?} {said}");
}

#[test]
fn a_profile_of_aws_login_that_is_not_logged_in_says_so() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config");
    std::fs::write(
        &file,
        "[default]\nlogin_session = arn:aws:sts::111122223333:assumed-role/reader/me\n",
    )
    .unwrap();
    let (home, file) = (home.path().display().to_string(), file.display().to_string());
    let said = asked_elsewhere(&[("HOME", &home), ("AWS_CONFIG_FILE", &file)]);
    assert!(said.starts_with("Denied") && said.contains("aws login"), "{said}");
}

fn config(url: &str, provider: impl ProvideCredentials + 'static) -> SdkConfig {
    SdkConfig::builder()
        .region(aws_config::Region::new("eu-west-1"))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .build()
}

fn fixed(key: &str) -> Credentials {
    Credentials::new(key, "secret", None, None, "test")
}

#[tokio::test]
async fn each_service_is_asked_with_the_configuration_that_its_user_gave() {
    let (kinesis, dynamodb) = (
        Listener::start(|_| summary()),
        Listener::start(|_| refusal("ResourceNotFoundException")),
    );
    let clients = Clients::with_config(
        &config(&kinesis.url(), fixed("AKIDKINESIS")),
        &config(&dynamodb.url(), fixed("AKIDDYNAMODB")),
    )
    .expect("all is given");
    assert_eq!(clients.streams().describe("orders").await.unwrap().name, "orders");
    clients.tables("orders").check().await.expect_err("no table");
    assert_eq!(kinesis.keys(), ["AKIDKINESIS"]);
    assert!(!dynamodb.keys().is_empty());
    assert!(
        dynamodb.keys().iter().all(|key| key == "AKIDDYNAMODB"),
        "{:?}",
        dynamodb.seen()
    );
}

#[test]
fn a_configuration_that_lacks_something_says_which_and_what() {
    let whole = config("http://127.0.0.1:1", fixed("AKID"));
    let bare = SdkConfig::builder().build();
    let regional = SdkConfig::builder()
        .region(aws_config::Region::new("eu-west-1"))
        .build();
    for (kinesis, dynamodb, expected) in [
        (&bare, &whole, "the configuration for Kinesis has no region"),
        (
            &whole,
            &regional,
            "the configuration for DynamoDB has no credentials provider",
        ),
    ] {
        let fault = Clients::with_config(kinesis, dynamodb).expect_err("something is missing");
        assert_eq!(fault.kind, FaultKind::Invalid);
        assert!(fault.to_string().contains(expected), "{fault}");
    }
}

/// Gives one key after the other, each without an end.
#[derive(Debug)]
struct Rotating(Mutex<Vec<&'static str>>);

impl ProvideCredentials for Rotating {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let mut keys = self.0.lock().expect("not poisoned");
        let key = if keys.len() > 1 { keys.remove(0) } else { keys[0] };
        let credentials: provider::Result = Ok(fixed(key));
        future::ProvideCredentials::ready(credentials)
    }
}

#[tokio::test]
async fn credentials_that_expire_in_the_middle_are_asked_for_again() {
    let endpoint = Listener::start(|seen| {
        if seen.key == "AKIDOLD" {
            std::thread::sleep(std::time::Duration::from_millis(1_100));
            refusal("ExpiredTokenException")
        } else {
            summary()
        }
    });
    let provider = Rotating(Mutex::new(vec!["AKIDOLD", "AKIDNEW"]));
    let config = config(&endpoint.url(), provider);
    let clients = Clients::with_config(&config, &config).expect("all is given");
    clients
        .streams()
        .describe("orders")
        .await
        .expect("the new ones are good");
    clients.streams().describe("orders").await.expect("they are kept");
    assert_eq!(endpoint.keys(), ["AKIDOLD", "AKIDNEW", "AKIDNEW"]);
}

#[tokio::test]
async fn credentials_that_stay_refused_are_one_clear_error() {
    let endpoint = Listener::start(|_| refusal("ExpiredTokenException"));
    let config = config(&endpoint.url(), fixed("AKIDOLD"));
    let clients = Clients::with_config(&config, &config).expect("all is given");
    let fault = clients.streams().describe("orders").await.expect_err("refused");
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(fault.to_string().contains("ExpiredTokenException"), "{fault}");
    let targets: Vec<_> = endpoint.seen().into_iter().map(|seen| seen.target).collect();
    assert!(targets.len() <= 2, "{targets:?}");
}

#[tokio::test]
async fn a_stream_is_used_by_its_arn_in_every_call() {
    let bench = Bench::start().await;
    let streams = bench.clients.streams();
    let StreamIdentity { arn, .. } = streams.create("by-arn", 2).await.unwrap().identity;
    assert_eq!(stream_name(&arn), "by-arn");
    assert_eq!(streams.create(&arn, 2).await.unwrap().name, "by-arn");
    let reader = bench.clients.reader(&arn);
    assert_eq!(reader.identity().await.unwrap().arn, arn);
    let shards = reader.shards().await.unwrap();
    let entry = Entry {
        key: "key".to_owned(),
        explicit_hash_key: None,
        data: "payload".into(),
    };
    let put = bench.clients.sender(&arn).put_records(&[entry]).await.unwrap();
    let Outcome::Taken { shard, .. } = &put[0] else {
        panic!("{put:?}")
    };
    let iterator = reader.iterator(shard, &ReadFrom::TrimHorizon).await.unwrap();
    assert_eq!(reader.read(&iterator, 10).await.unwrap().records.len(), 1);
    let middle = shards[0].hash_range.start + (shards[0].hash_range.end - shards[0].hash_range.start) / 2;
    let children = streams.split(&arn, &shards[0].id, middle).await.unwrap();
    streams.merge(&arn, &children[0].id, &children[1].id).await.unwrap();
    streams.update_shard_count(&arn, 4).await.unwrap();
    streams.delete(&arn).await.unwrap();
    assert_eq!(
        streams.describe("by-arn").await.expect_err("gone").kind,
        FaultKind::Missing
    );
}

#[tokio::test]
async fn a_stream_of_another_region_is_told_before_anything_is_sent() {
    let config = SdkConfig::builder()
        .region(aws_config::Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(fixed("AKID")))
        .build();
    let clients = Clients::with_config(&config, &config).expect("all is given");
    let arn = "arn:aws:kinesis:us-east-2:111122223333:stream/orders";
    let fault = clients.streams().describe(arn).await.expect_err("elsewhere");
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert!(
        fault.to_string().contains("us-east-2") && fault.to_string().contains("eu-west-1"),
        "{fault}"
    );
}
