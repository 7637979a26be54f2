//! Slow links, errors of one's own, responses cut in the middle, ports that never answer: that each of them really bites a
//! client.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise; its helpers too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use kinex_embedded::{DeadPort, Endpoints, Fault, InjectedError, Link, Options, Rule, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for whatever is to succeed, on any machine.
const PATIENT: Duration = Duration::from_secs(60);

fn kinesis(url: &str, within: Duration) -> aws_sdk_kinesis::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(within)
        .operation_timeout(within)
        .build();
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "secret", None, None, "test"))
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    aws_sdk_kinesis::Client::from_conf(config)
}

/// Endpoints with an ACTIVE stream `s` of one shard, and a client.
async fn with_stream() -> (Endpoints, aws_sdk_kinesis::Client) {
    let endpoints = Endpoints::start(Options {
        limits: false,
        create_delay: Duration::ZERO,
        ..Options::default()
    })
    .await
    .unwrap();
    let client = kinesis(&endpoints.kinesis_url(), PATIENT);
    let create = client.create_stream().stream_name("s").shard_count(1);
    create.send().await.unwrap();
    (endpoints, client)
}

async fn put(client: &aws_sdk_kinesis::Client, size: usize) -> Result<(), String> {
    let put = client.put_record().stream_name("s").partition_key("k");
    let result = put.data(Blob::new(vec![b'x'; size])).send().await;
    result.map(|_| ()).map_err(shown)
}

async fn iterator(client: &aws_sdk_kinesis::Client) -> String {
    let get = client
        .get_shard_iterator()
        .stream_name("s")
        .shard_id("shardId-000000000000")
        .shard_iterator_type(ShardIteratorType::TrimHorizon);
    get.send().await.unwrap().shard_iterator.unwrap()
}

/// The number of records, or the error.
async fn get(client: &aws_sdk_kinesis::Client, iterator: &str) -> Result<usize, String> {
    let result = client.get_records().shard_iterator(iterator).send().await;
    result.map(|output| output.records.len()).map_err(shown)
}

/// The error's name, or how the call was lost.
fn shown<E, R>(error: SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match error {
        SdkError::ServiceError(error) => error.err().code().unwrap_or("nameless").to_owned(),
        SdkError::TimeoutError(_) => "timeout".to_owned(),
        SdkError::DispatchFailure(_) => "lost".to_owned(),
        SdkError::ResponseError(_) => "broken response".to_owned(),
        other => format!("{}", DisplayErrorContext(other)),
    }
}

fn over(api: &str, bps: u64) -> Rule {
    let link = Link {
        bps: NonZeroU64::new(bps),
        ..Link::default()
    };
    Rule::over(Service::Kinesis, api, link)
}

#[tokio::test]
async fn a_slow_link_takes_the_time_of_its_bytes_both_ways() {
    let (endpoints, client) = with_stream().await;
    // 100,000 bytes are 133,336 in base64: 0.33 s each way.
    endpoints
        .faults()
        .set([over("PutRecord", 400_000), over("GetRecords", 400_000)]);
    let since = Instant::now();
    put(&client, 100_000).await.unwrap();
    let up = since.elapsed();
    let iterator = iterator(&client).await;
    let since = Instant::now();
    assert_eq!(get(&client, &iterator).await, Ok(1));
    let down = since.elapsed();
    let least = Duration::from_millis(333);
    assert!(up >= least && down >= least, "{up:?} {down:?}");
    endpoints.stop().await;
}

#[tokio::test]
async fn a_read_that_is_slower_than_the_client_waits_times_out() {
    let (endpoints, client) = with_stream().await;
    put(&client, 100_000).await.unwrap();
    let iterator = iterator(&client).await;
    // Two minutes, for a client that waits for a second.
    endpoints.faults().set([over("GetRecords", 1_000)]);
    let hasty = kinesis(&endpoints.kinesis_url(), Duration::from_secs(1));
    assert_eq!(get(&hasty, &iterator).await, Err("timeout".to_owned()));
    endpoints.faults().clear();
    assert_eq!(get(&client, &iterator).await, Ok(1));
    endpoints.stop().await;
}

#[tokio::test]
async fn a_slow_body_comes_as_a_steady_trickle() {
    let (endpoints, client) = with_stream().await;
    put(&client, 9_000).await.unwrap();
    let iterator = iterator(&client).await;
    endpoints.faults().set([over("GetRecords", 20_000)]);
    let mut stream = raw_get(&endpoints, &iterator).await;
    let since = Instant::now();
    let mut arrivals = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        arrivals.push((since.elapsed(), read));
    }
    // 12,000 bytes of base64 in pieces of 1,000: the first one long before the last one.
    let last = arrivals.last().unwrap().0;
    assert!(arrivals.len() >= 5, "{arrivals:?}");
    assert!(arrivals[0].0 < last / 2, "{arrivals:?}");
    endpoints.stop().await;
}

#[tokio::test]
async fn shared_connections_take_turns_on_the_line() {
    let (endpoints, client) = with_stream().await;
    put(&client, 30_000).await.unwrap();
    let iterator = iterator(&client).await;
    let timed = async |shared: bool| {
        let mut rule = over("GetRecords", 200_000);
        rule.link.as_mut().unwrap().shared = shared;
        endpoints.faults().set([rule]);
        let since = Instant::now();
        let reads = (0..4).map(|_| async {
            // A client of its own has a connection of its own.
            let client = kinesis(&endpoints.kinesis_url(), PATIENT);
            assert_eq!(get(&client, &iterator).await, Ok(1));
        });
        futures::future::join_all(reads).await;
        since.elapsed()
    };
    // 40,000 bytes of base64 take 0.2 s; four of them one after the other 0.8 s.
    assert!(timed(false).await >= Duration::from_millis(200));
    assert!(timed(true).await >= Duration::from_millis(800));
    endpoints.stop().await;
}

#[tokio::test]
async fn latency_adds_to_each_request() {
    let (endpoints, client) = with_stream().await;
    let link = Link {
        latency_millis: 200,
        jitter_millis: 50,
        ..Link::default()
    };
    endpoints.faults().set([Rule::over(Service::Kinesis, "*", link)]);
    let since = Instant::now();
    for _ in 0..3 {
        put(&client, 1).await.unwrap();
    }
    assert!(since.elapsed() >= Duration::from_millis(450));
    endpoints.stop().await;
}

#[tokio::test]
async fn any_error_reaches_the_client_by_its_name() {
    let (endpoints, client) = with_stream().await;
    let iterator = iterator(&client).await;
    for name in [
        "KMSDisabledException",
        "KMSAccessDeniedException",
        "RequestExpired",
        "ExpiredTokenException",
        "InternalFailure",
        "AccessDeniedException",
        "LimitExceededException",
    ] {
        let fault = Fault::Error(InjectedError::named(name));
        endpoints
            .faults()
            .set([Rule::new(Service::Kinesis, "GetRecords", fault)]);
        assert_eq!(get(&client, &iterator).await, Err(name.to_owned()));
    }
    let errors = &endpoints.requests().total;
    let get_records = errors.iter().find(|(api, _)| api.name == "GetRecords").unwrap().1;
    assert_eq!((get_records.count, get_records.errors["KMSDisabledException"]), (7, 1));

    // Status, message and body are as the rule has them.
    let raw = async |error: InjectedError| {
        let fault = Fault::Error(error);
        endpoints
            .faults()
            .set([Rule::new(Service::Kinesis, "GetRecords", fault)]);
        let mut answer = String::new();
        raw_get(&endpoints, &iterator)
            .await
            .read_to_string(&mut answer)
            .await
            .unwrap();
        answer.to_lowercase()
    };
    let named = InjectedError {
        message: Some("disabled".to_owned()),
        ..InjectedError::named("InternalFailure")
    };
    let answer = raw(named).await;
    assert!(
        answer.starts_with("http/1.1 500") && answer.contains("\"disabled\""),
        "{answer}"
    );
    let proxy = InjectedError {
        status: Some(407),
        body: Some("<html>who are you?</html>".to_owned()),
        content_type: Some("text/html".to_owned()),
        ..InjectedError::default()
    };
    let answer = raw(proxy).await;
    assert!(
        answer.starts_with("http/1.1 407")
            && answer.contains("content-type: text/html")
            && answer.ends_with("<html>who are you?</html>"),
        "{answer}"
    );
    endpoints.stop().await;
}

#[tokio::test]
async fn a_cut_body_arrives_up_to_the_cut() {
    let (endpoints, client) = with_stream().await;
    for _ in 0..3 {
        put(&client, 500_000).await.unwrap();
    }
    let iterator = iterator(&client).await;
    for (after_bytes, reset) in [(0, false), (10, false), (1_000_000, false), (1_000_000, true)] {
        let fault = Fault::CutBody { after_bytes, reset };
        endpoints
            .faults()
            .set([Rule::new(Service::Kinesis, "GetRecords", fault)]);
        let error = get(&client, &iterator).await.unwrap_err();
        assert!(matches!(error.as_str(), "lost" | "broken response"), "{error}");
        let mut answer = Vec::new();
        let ended = raw_get(&endpoints, &iterator).await.read_to_end(&mut answer).await;
        if !reset {
            // A reset may overtake what came before it.
            ended.unwrap();
            let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            assert_eq!((answer.len() - head) as u64, after_bytes);
        }
    }
    let longer = Fault::CutBody {
        after_bytes: u64::MAX,
        reset: false,
    };
    endpoints
        .faults()
        .set([Rule::new(Service::Kinesis, "GetRecords", longer)]);
    assert_eq!(get(&client, &iterator).await, Ok(3));
    endpoints.stop().await;
}

#[tokio::test]
async fn silence_strikes_new_connections_but_not_the_control_paths() {
    let (endpoints, client) = with_stream().await;
    let url = endpoints.kinesis_url();
    endpoints.faults().add(Rule::new(Service::Kinesis, "*", Fault::Silent));
    // The client's connection was there before.
    put(&client, 1).await.unwrap();
    let hasty = kinesis(&url, Duration::from_secs(1));
    assert_eq!(put(&hasty, 1).await, Err("timeout".to_owned()));
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let delete = b"DELETE /_kinex/faults HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(delete).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    put(&kinesis(&url, PATIENT), 1).await.unwrap();
    endpoints.stop().await;
}

#[tokio::test]
async fn a_dead_port_lets_connect_or_not_and_never_answers() {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let silent = DeadPort::silent(anywhere).await.unwrap();
    let mut stream = TcpStream::connect(silent.addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut byte = [0];
    let reading = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte));
    assert!(reading.await.is_err());

    let hanging = DeadPort::unconnectable(anywhere).await.unwrap();
    let connecting = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(hanging.addr()));
    assert!(connecting.await.is_err());
    let hasty = kinesis(&hanging.url(), Duration::from_millis(500));
    let error = put(&hasty, 1).await.unwrap_err();
    assert!(matches!(error.as_str(), "timeout" | "lost"), "{error}");
}

/// A GetRecords on a connection of its own, sent and not yet read.
async fn raw_get(endpoints: &Endpoints, iterator: &str) -> TcpStream {
    let url = endpoints.kinesis_url();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let body = format!(r#"{{"ShardIterator":"{iterator}"}}"#);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
         X-Amz-Target: Kinesis_20131202.GetRecords\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}
