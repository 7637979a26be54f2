//! What an experiment with `deletionPolicy: Delete` takes with it: what it created, and nothing else.

use kinex_embedded::Endpoints;
use serde_json::Value;

use super::api_server::ApiServer;
use super::lab::{LIMIT, Lab, endpoints};

/// A run that stands in its only step for long enough.
const STANDING: &str = "  stream: {name: NAME, initialShards: 1, deletionPolicy: Delete}
  replicas: 1
  steps:
    - {name: stand, pause: {for: 1h}}
";

async fn standing(endpoints: &Endpoints, server: &ApiServer, name: &str) -> Lab {
    Lab::standing(endpoints, server, name, &STANDING.replace("NAME", name)).await
}

/// Deletes the experiment, waits until it is gone, and gives what was told about things that stay.
async fn deleted(lab: Lab) -> Vec<String> {
    lab.server.delete(&lab.path());
    lab.until("end of the experiment", LIMIT, |lab| lab.object().is_none())
        .await
        .unwrap();
    let told = lab.told("Kept");
    lab.stop().await;
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_and_table_that_were_there_stay() {
    let endpoints = endpoints().await;
    let server = ApiServer::default();
    let by_hand = Lab::clients(&endpoints).await;
    by_hand.streams().create("found", 1).await.unwrap();
    by_hand.tables("found").ensure().await.unwrap();
    let lab = standing(&endpoints, &server, "found").await;
    assert_eq!(lab.status()["created"], Value::Null);
    let told = deleted(lab).await;
    assert_eq!(
        told,
        [
            "stream found was not created by this experiment, table found was not created by this experiment, table \
             found-workers was not created by this experiment: left as it is. Delete it yourself if nobody needs it"
        ]
    );
    by_hand.streams().describe("found").await.unwrap();
    by_hand.tables("found").check().await.unwrap();
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_somebody_created_again_stays_and_the_tables_go() {
    let endpoints = endpoints().await;
    let server = ApiServer::default();
    let lab = standing(&endpoints, &server, "again").await;
    let by_hand = lab.clients.clone();
    by_hand.streams().delete("again").await.unwrap();
    by_hand.streams().create("again", 3).await.unwrap();
    let told = deleted(lab).await;
    assert!(
        told.len() == 1 && told[0].starts_with("stream again was created again by somebody else:"),
        "{told:?}"
    );
    assert_eq!(by_hand.streams().describe("again").await.unwrap().open_shards, 3);
    by_hand.tables("again").check().await.unwrap_err();
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_created_and_not_noted_stays() {
    let endpoints = endpoints().await;
    let server = ApiServer::default();
    let mut lab = standing(&endpoints, &server, "crash").await;
    // As if the operator had ended between the creation and the note of it.
    lab.restart(&endpoints, |lab| {
        lab.edit(|object| object["status"]["created"]["stream"] = Value::Null);
    })
    .await;
    let by_hand = lab.clients.clone();
    let told = deleted(lab).await;
    assert!(
        told.len() == 1 && told[0].starts_with("stream crash was not created by this experiment:"),
        "{told:?}"
    );
    by_hand.streams().describe("crash").await.unwrap();
    by_hand.tables("crash").check().await.unwrap_err();
    endpoints.stop().await;
}
