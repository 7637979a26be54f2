//! CBOR over HTTP, as the AWS SDK for Java speaks it to Kinesis.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise; its helpers too")]

use std::time::Duration;

use kinex_embedded::{Endpoints, Fault, InjectedError, Options, Rule, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CBOR: &str = "application/x-amz-cbor-1.1";

/// A map of indefinite length, as Java writes every one. Its names and texts have fewer than 24 bytes.
fn map(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = vec![0xbf];
    for (name, value) in fields {
        body.extend(text(name));
        body.extend(*value);
    }
    body.push(0xff);
    body
}

fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let head: &[u8] = if length < 24 { &[0x60 + length] } else { &[0x78, length] };
    [head, text.as_bytes()].concat()
}

/// Status, content type and body of the answer to a request in CBOR.
async fn call(url: &str, target: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Content-Type: {CBOR}\r\nX-Amz-Target: {target}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.split("content-type: ").nth(1).unwrap().lines().next().unwrap();
    (status, kind.to_owned(), answer[end + 4..].to_vec())
}

async fn kinesis(endpoints: &Endpoints, api: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let target = format!("Kinesis_20131202.{api}");
    let (status, kind, body) = call(&endpoints.kinesis_url(), &target, body).await;
    assert_eq!(kind, CBOR);
    (status, body)
}

/// Where a field's value begins.
fn after<'a>(body: &'a [u8], field: &str) -> &'a [u8] {
    let name = text(field);
    let at = body.windows(name.len()).position(|window| window == name);
    &body[at.unwrap_or_else(|| panic!("{field} in {body:x?}")) + name.len()..]
}

async fn start() -> Endpoints {
    let options = Options {
        create_delay: Duration::ZERO,
        ..Options::default()
    };
    Endpoints::start(options).await.unwrap()
}

#[tokio::test]
async fn records_are_put_and_read_in_cbor() {
    let endpoints = start().await;
    let (status, body) = kinesis(&endpoints, "ListStreams", &[0xbf, 0xff]).await;
    assert_eq!((status, after(&body, "HasMoreStreams")[0]), (200, 0xf4));

    let create = map(&[("StreamName", &text("s")), ("ShardCount", &[1])]);
    assert_eq!(kinesis(&endpoints, "CreateStream", &create).await, (200, Vec::new()));
    let name = map(&[("StreamName", &text("s"))]);
    let (_, summary) = kinesis(&endpoints, "DescribeStreamSummary", &name).await;
    assert_eq!(after(&summary, "StreamCreationTimestamp")[..2], [0xc1, 0x1b]);

    let data = [0x44, 0, 1, 0xfe, 0xff];
    let put = map(&[
        ("StreamName", &text("s")),
        ("Data", &data),
        ("PartitionKey", &text("k")),
    ]);
    let (status, put) = kinesis(&endpoints, "PutRecord", &put).await;
    assert_eq!((status, after(&put, "ShardId")[0]), (200, 0x74));

    // A time before the record, in tagged milliseconds.
    let at = map(&[
        ("StreamName", &text("s")),
        ("ShardId", &text("shardId-000000000000")),
        ("ShardIteratorType", &text("AT_TIMESTAMP")),
        ("Timestamp", &[0xc1, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0]),
    ]);
    let (status, iterator) = kinesis(&endpoints, "GetShardIterator", &at).await;
    assert_eq!(status, 200);
    let iterator = after(&iterator, "ShardIterator");
    // The iterator is a text of one length byte, and the only field.
    let get = map(&[("ShardIterator", iterator)]);
    let (status, records) = kinesis(&endpoints, "GetRecords", &get).await;
    assert_eq!(status, 200);
    assert_eq!(after(&records, "Data")[..5], data);
    let arrived = after(&records, "ApproximateArrivalTimestamp");
    assert_eq!(arrived[..2], [0xc1, 0x1b]);
    let millis = u64::from_be_bytes(arrived[2..10].try_into().unwrap());
    assert!(millis > 1_700_000_000_000, "{millis}");
    endpoints.stop().await;
}

#[tokio::test]
async fn errors_are_cbor_too() {
    let endpoints = start().await;
    let name = map(&[("StreamName", &text("missing"))]);
    let check = async |api: &str, body: &[u8], status: u16, error: &str| {
        let (found, answer) = kinesis(&endpoints, api, body).await;
        assert_eq!(found, status);
        let kind = text(error);
        assert_eq!(after(&answer, "__type")[..kind.len()], kind);
        after(&answer, "message");
    };
    check("DescribeStream", &name, 400, "ResourceNotFoundException").await;
    check("PutRecord", &[0xbf, 0xff], 400, "ValidationException").await;
    for malformed in [&[0xbf][..], b"{}", &[0xff], &[0xa1, 0x7b, 0xff, 0xff, 0xff]] {
        check("PutRecord", malformed, 400, "SerializationException").await;
    }
    let error = InjectedError::named("KMSDisabledException");
    endpoints
        .faults()
        .set([Rule::new(Service::Kinesis, "GetRecords", Fault::Error(error))]);
    check("GetRecords", &[0xbf, 0xff], 400, "KMSDisabledException").await;
    endpoints
        .faults()
        .set([Rule::new(Service::Kinesis, "GetRecords", Fault::ServerError)]);
    check("GetRecords", &[0xbf, 0xff], 500, "InternalFailure").await;

    let (status, kind, body) = call(&endpoints.dynamodb_url(), "DynamoDB_20120810.ListTables", &[0xbf, 0xff]).await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!((status, kind.as_str()), (400, "application/x-amz-json-1.0"));
    assert!(body.contains("DynamoDB speaks JSON"), "{body}");
    endpoints.stop().await;
}

#[tokio::test]
async fn what_is_not_served_names_the_way_out() {
    let endpoints = start().await;
    let (status, body) = kinesis(&endpoints, "RegisterStreamConsumer", &[0xbf, 0xff]).await;
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(status == 400 && body.contains("UnknownOperationException"), "{body}");
    assert!(body.contains("PollingConfig"), "{body}");
    endpoints.stop().await;
}
