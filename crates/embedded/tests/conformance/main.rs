//! One conformance suite for every implementation of the Kinesis and DynamoDB protocols, through AWS's own SDK.
//!
//! The embedded endpoints must pass all of it. Two independent implementations show that the suite itself is right: where
//! they differ, the API's documentation decides, and `docs/conformance.md` says so (`UPDATE=1` writes it anew).

mod clients;
mod differences;
mod dynamodb;
mod kinesis;
mod peers;
mod stress;
mod suite;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use kinex_embedded::{Endpoints, Options};

use crate::clients::{DynamoDb, Kinesis};
use crate::differences::{DYNAMODB_LOCAL, Difference, KINESIS_LOCAL, page, surprises};
use crate::suite::{Checks, run};

async fn embedded() -> Endpoints {
    let options = Options {
        addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        // Rates are tested with the model, in virtual time; here they would only make the suite slow.
        limits: false,
        // Long enough that a check sees the states that pass.
        create_delay: Duration::from_millis(200),
        reshard_delay: Duration::from_millis(200),
        ..Options::default()
    };
    Endpoints::start(options).await.expect("port 0 is free")
}

async fn check(checks: Checks, known: &[Difference]) {
    let findings = run(checks).await;
    let surprises = surprises(&findings, known);
    assert!(
        surprises.is_empty(),
        "{} of {} checks:\n{}",
        surprises.len(),
        findings.len(),
        surprises.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_kinesis_passes_every_check() {
    let endpoints = embedded().await;
    check(kinesis::all(&Kinesis::at(&endpoints.kinesis_url())), &[]).await;
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_dynamodb_passes_every_check() {
    let endpoints = embedded().await;
    check(dynamodb::all(&DynamoDb::at(&endpoints.dynamodb_url())), &[]).await;
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kinesis_local_differs_only_where_it_is_known_to() {
    if peers::is_inside("kinesis_local_differs_only_where_it_is_known_to") {
        let (_peer, url) = peers::kinesis_local();
        check(kinesis::all(&Kinesis::at(&url)), KINESIS_LOCAL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dynamodb_local_differs_only_where_it_is_known_to() {
    if peers::is_inside("dynamodb_local_differs_only_where_it_is_known_to") {
        let (_peer, url) = peers::dynamodb_local();
        check(dynamodb::all(&DynamoDb::at(&url)), DYNAMODB_LOCAL).await;
    }
}

#[tokio::test]
async fn conformance_md_is_fresh() {
    // Checks that are not run need no endpoint.
    let nowhere = "http://127.0.0.1:9";
    let page = page(
        &kinesis::all(&Kinesis::at(nowhere)).names(),
        &dynamodb::all(&DynamoDb::at(nowhere)).names(),
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).expect("docs can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/conformance.md is out of date: run this test with UPDATE=1"
    );
}
