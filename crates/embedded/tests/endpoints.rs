//! The endpoints as a client meets them: ports, credentials, counters, and every kind of fault.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise; its helpers too")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use kinex_embedded::{Clock, Endpoints, Fault, Options, Requests, Rule, Service, StartError, VirtualClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const UPDATE: &str = "UpdateItem";
const TABLE: &str = "counters";

async fn start(options: Options) -> Endpoints {
    Endpoints::start(options).await.unwrap()
}

fn dynamodb_as(url: &str, access_key: &str) -> aws_sdk_dynamodb::Client {
    dynamodb_in("us-east-1", url, access_key)
}

fn dynamodb_in(region: &'static str, url: &str, access_key: &str) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_dynamodb::config::Region::new(region))
        .credentials_provider(Credentials::new(access_key, "secret", None, None, "test"))
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_timeout(Duration::from_secs(1))
                .build(),
        )
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

fn kinesis(url: &str) -> aws_sdk_kinesis::Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "secret", None, None, "test"))
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_kinesis::Client::from_conf(config)
}

/// A client and the table with a counter in the item `a`.
async fn counting(endpoints: &Endpoints) -> aws_sdk_dynamodb::Client {
    let client = dynamodb_as(&endpoints.dynamodb_url(), "local");
    let key = KeySchemaElement::builder()
        .attribute_name("id")
        .key_type(KeyType::Hash)
        .build()
        .unwrap();
    let id = AttributeDefinition::builder()
        .attribute_name("id")
        .attribute_type(ScalarAttributeType::S)
        .build()
        .unwrap();
    let create = client
        .create_table()
        .table_name(TABLE)
        .key_schema(key)
        .attribute_definitions(id);
    create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
    client
}

/// Adds one; gives the error's name, or `ok`, or how the call was lost.
async fn add_one(client: &aws_sdk_dynamodb::Client) -> String {
    let update = client
        .update_item()
        .table_name(TABLE)
        .key("id", AttributeValue::S("a".to_owned()));
    let update = update
        .update_expression("ADD n :one")
        .expression_attribute_values(":one", AttributeValue::N("1".into()));
    match update.send().await {
        Ok(_) => "ok".to_owned(),
        Err(SdkError::ServiceError(error)) => error.err().code().unwrap_or_default().to_owned(),
        Err(SdkError::TimeoutError(_)) => "timeout".to_owned(),
        Err(SdkError::DispatchFailure(_)) => "lost".to_owned(),
        Err(other) => format!("{}", DisplayErrorContext(other)),
    }
}

async fn counter(client: &aws_sdk_dynamodb::Client, consistent: bool) -> u32 {
    let get = client
        .get_item()
        .table_name(TABLE)
        .key("id", AttributeValue::S("a".to_owned()))
        .consistent_read(consistent);
    let item = get.send().await.unwrap().item.unwrap_or_default();
    item.get("n").map_or(0, |n| n.as_n().unwrap().parse().unwrap())
}

#[tokio::test]
async fn each_fault_shows_as_it_should_and_commits_or_not() {
    let endpoints = start(Options::default()).await;
    let client = counting(&endpoints).await;
    let check = async |fault: Fault, shown: &str, committed: u32| {
        let before = counter(&client, true).await;
        endpoints
            .faults()
            .set([Rule::new(Service::DynamoDb, UPDATE, fault.clone())]);
        let found = add_one(&client).await;
        endpoints.faults().clear();
        assert_eq!(
            (found.as_str(), counter(&client, true).await - before),
            (shown, committed),
            "{fault:?}"
        );
    };
    check(Fault::Throttle, "ProvisionedThroughputExceededException", 0).await;
    check(Fault::ServerError, "InternalServerError", 0).await;
    check(Fault::ServerErrorAfterCommit, "InternalServerError", 1).await;
    check(Fault::DropBeforeCommit, "lost", 0).await;
    check(Fault::Reset, "lost", 0).await;
    check(Fault::ReplyLost, "lost", 1).await;
    check(Fault::BlackHole, "timeout", 0).await;
    check(Fault::BlackHoleAfterCommit, "timeout", 1).await;
    check(Fault::DelayReply { millis: 60_000 }, "timeout", 1).await;
    check(Fault::Delay { millis: 60_000 }, "timeout", 0).await;
    check(Fault::StaleRead, "ok", 1).await;
    endpoints.stop().await;
}

#[tokio::test]
async fn a_delay_lasts_as_long_as_it_says() {
    let endpoints = start(Options::default()).await;
    let client = counting(&endpoints).await;
    endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, UPDATE, Fault::Delay { millis: 150 }));
    let since = Instant::now();
    assert_eq!(add_one(&client).await, "ok");
    assert!(since.elapsed() >= Duration::from_millis(150));
    endpoints.stop().await;
}

#[tokio::test]
async fn a_stale_read_is_one_version_old_unless_it_is_consistent() {
    let endpoints = start(Options::default()).await;
    let client = counting(&endpoints).await;
    add_one(&client).await;
    endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, "GetItem", Fault::StaleRead));
    assert_eq!(counter(&client, false).await, 1);
    add_one(&client).await;
    assert_eq!(counter(&client, false).await, 1);
    assert_eq!(counter(&client, true).await, 2);
    assert_eq!(counter(&client, false).await, 2);
    endpoints.stop().await;
}

#[tokio::test]
async fn requests_are_counted_with_their_errors_and_faults() {
    let endpoints = start(Options::default()).await;
    let client = counting(&endpoints).await;
    endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, UPDATE, Fault::Throttle).nth(2));
    for _ in 0..3 {
        add_one(&client).await;
    }
    let requests = endpoints.requests();
    assert_eq!(requests.count(Service::DynamoDb, UPDATE), 3);
    assert_eq!(requests.sum(Service::DynamoDb), 4);
    let update = requests.total.iter().find(|(api, _)| api.name == UPDATE).unwrap().1;
    assert_eq!(update.faulted, 1);
    assert_eq!(update.errors["ProvisionedThroughputExceededException"], 1);
    let seconds: u64 = requests.seconds.iter().flat_map(|second| second.counts.values()).sum();
    assert_eq!(seconds, 4);
    endpoints.stop().await;
}

#[tokio::test]
async fn counters_and_faults_are_served_over_http() {
    let endpoints = start(Options {
        one_port: true,
        ..Options::default()
    })
    .await;
    let client = counting(&endpoints).await;
    let url = endpoints.kinesis_url();
    assert_eq!(url, endpoints.dynamodb_url());

    let rule = r#"{"service":"dynamodb","api":"UpdateItem","fault":"serverError","times":1}"#;
    assert_eq!(
        http(&url, "POST", "/_kinex/faults", rule).await,
        (200, r#"{"id":1}"#.to_owned())
    );
    assert_eq!(add_one(&client).await, "InternalServerError");
    assert_eq!(add_one(&client).await, "ok");
    let (_, plan) = http(&url, "GET", "/_kinex/faults", "").await;
    assert!(plan.contains(r#""seen":1,"struck":1"#), "{plan}");
    assert_eq!(http(&url, "DELETE", "/_kinex/faults/1", "").await.0, 204);
    assert_eq!(http(&url, "DELETE", "/_kinex/faults/1", "").await.0, 404);
    assert_eq!(
        http(&url, "PUT", "/_kinex/faults", &format!("[{rule},{rule}]")).await.0,
        200
    );
    assert_eq!(http(&url, "DELETE", "/_kinex/faults", "").await.0, 204);
    assert_eq!(http(&url, "GET", "/_kinex/faults", "").await, (200, "[]".to_owned()));
    assert_eq!(
        http(&url, "POST", "/_kinex/faults", r#"{"service":"dynamodb"}"#)
            .await
            .0,
        422
    );

    let (_, requests) = http(&url, "GET", "/_kinex/requests", "").await;
    let requests: Requests = serde_json::from_str(&requests).unwrap();
    assert_eq!(requests, endpoints.requests());
    assert_eq!(
        http(&url, "GET", "/_kinex/health", "").await,
        (200, r#"{"status":"ok"}"#.to_owned())
    );
    endpoints.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_next_step() {
    let endpoints = start(Options::default()).await;
    let addr: SocketAddr = endpoints
        .kinesis_url()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let error = Endpoints::start(Options {
        addr,
        ..Options::default()
    })
    .await
    .unwrap_err();
    assert!(matches!(error, StartError::PortInUse { .. }));
    assert!(
        error
            .to_string()
            .starts_with(&format!("port {} of 127.0.0.1 is in use: stop", addr.port())),
        "{error}"
    );
    endpoints.stop().await;
    // What was stopped leaves its port.
    start(Options {
        addr,
        ..Options::default()
    })
    .await
    .stop()
    .await;
}

#[tokio::test]
async fn real_credentials_are_refused_with_the_reason() {
    let endpoints = start(Options::default()).await;
    // Any other is taken, however short or long.
    for access_key in ["x", "foo", "test", "AKI", &"k".repeat(2_000)] {
        let client = dynamodb_as(&endpoints.dynamodb_url(), access_key);
        client.list_tables().send().await.unwrap();
    }
    for access_key in ["AKIA", "AKIAABCDEFGHIJKLMNOP", "ASIAABCDEFGHIJKLMNOP"] {
        let client = dynamodb_as(&endpoints.dynamodb_url(), access_key);
        let error = client.list_tables().send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("UnrecognizedClientException"));
        assert!(error.message().unwrap().contains("made-up credentials"), "{error:?}");
        assert!(access_key.len() == 4 || !format!("{error:?}").contains(access_key));
    }
    endpoints.stop().await;
}

#[tokio::test]
async fn each_region_has_tables_of_its_own() {
    let endpoints = start(Options::default()).await;
    let client = counting(&endpoints).await;
    let arn = async |client: &aws_sdk_dynamodb::Client| {
        let table = client.describe_table().table_name(TABLE).send().await;
        table.ok().and_then(|output| output.table?.table_arn)
    };
    let home = "arn:aws:dynamodb:us-east-1:000000000000:table/counters";
    assert_eq!(arn(&client).await.as_deref(), Some(home));
    let tag = aws_sdk_dynamodb::types::Tag::builder()
        .key("a")
        .value("b")
        .build()
        .unwrap();
    client.tag_resource().resource_arn(home).tags(tag).send().await.unwrap();
    let tags = client.list_tags_of_resource().resource_arn(home).send().await.unwrap();
    assert_eq!(tags.tags().len(), 1);
    let elsewhere = dynamodb_in("eu-central-1", &endpoints.dynamodb_url(), "local");
    assert_eq!(arn(&elsewhere).await, None);
    endpoints.stop().await;
}

#[tokio::test]
async fn each_of_two_ports_serves_its_own_service() {
    let endpoints = start(Options::default()).await;
    let error = kinesis(&endpoints.dynamodb_url())
        .list_streams()
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(error.code(), Some("UnknownOperationException"));
    assert!(error.message().unwrap().contains("does not serve kinesis"), "{error:?}");
    kinesis(&endpoints.kinesis_url()).list_streams().send().await.unwrap();
    endpoints.stop().await;
}

#[tokio::test]
async fn an_api_that_is_not_served_is_refused_by_name() {
    let endpoints = start(Options::default()).await;
    let client = kinesis(&endpoints.kinesis_url());
    let asked = client
        .register_stream_consumer()
        .stream_arn("arn")
        .consumer_name("c")
        .send()
        .await;
    let error = asked.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("UnknownOperationException"));
    assert!(error.message().unwrap().contains("RegisterStreamConsumer"), "{error:?}");
    let (status, body) = http(&endpoints.kinesis_url(), "GET", "/", "").await;
    assert!(status == 404 && body.contains("X-Amz-Target"), "{body}");
    endpoints.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_refused() {
    let endpoints = start(Options::default()).await;
    let url = endpoints.kinesis_url();
    assert_eq!(
        target(&url, "Kinesis_20131202.PutRecord", &"x".repeat((16 << 20) + 1))
            .await
            .0,
        413
    );
    let (status, body) = target(&url, "Kinesis_20131202.PutRecord", "{").await;
    assert!(status == 400 && body.contains("SerializationException"), "{body}");
    let (status, body) = target(&url, "Kinesis_20131202.PutRecord", "{}").await;
    assert!(status == 400 && body.contains("ValidationException"), "{body}");
    let (status, body) = target(&endpoints.dynamodb_url(), "DynamoDB_20120810.GetItem", "{").await;
    assert!(status == 400 && body.contains("SerializationException"), "{body}");
    endpoints.stop().await;
}

#[tokio::test]
async fn http_2_is_spoken_without_tls_to_whoever_begins_with_it() {
    let endpoints = start(Options::default()).await;
    let url = endpoints.kinesis_url();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    // The preface of a client that knows beforehand, and its empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "the server's SETTINGS come first: {frame:?}");
    endpoints.stop().await;
}

#[tokio::test]
async fn the_model_sees_only_the_virtual_clock() {
    let clock = VirtualClock::at_millis(1_790_000_000_000);
    let options = Options {
        clock: Clock::Virtual(clock.clone()),
        ..Options::default()
    };
    let endpoints = start(options).await;
    let client = kinesis(&endpoints.kinesis_url());
    client
        .create_stream()
        .stream_name("s")
        .shard_count(1)
        .send()
        .await
        .unwrap();
    let status = async || {
        let answer = client.describe_stream_summary().stream_name("s").send().await.unwrap();
        answer.stream_description_summary.unwrap().stream_status.to_string()
    };
    assert_eq!(status().await, "CREATING");
    clock.advance(Duration::from_millis(50));
    assert_eq!(status().await, "ACTIVE");
    endpoints.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_black_hole() {
    let endpoints = start(Options::default()).await;
    let client = counting(&endpoints).await;
    endpoints
        .faults()
        .add(Rule::new(Service::DynamoDb, UPDATE, Fault::BlackHole));
    let waiting = tokio::spawn(async move { add_one(&client).await });
    while endpoints.requests().count(Service::DynamoDb, UPDATE) == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_secs(5), endpoints.stop())
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap(), "lost");
}

async fn target(url: &str, target: &str, body: &str) -> (u16, String) {
    request(url, "POST", "/", &format!("X-Amz-Target: {target}\r\n"), body).await
}

async fn http(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    request(url, method, path, "Content-Type: application/json\r\n", body).await
}

/// One HTTP request on a connection of its own: status and body.
async fn request(url: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A body that is too large is refused before it has been sent as a whole.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
