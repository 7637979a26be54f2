//! Two operators that look after the same namespace, of two releases that know nothing of each other.

use kinex_embedded::Endpoints;
use serde_json::json;

use super::api_server::ApiServer;
use super::lab::{LIMIT, Lab, endpoints};

async fn standing(endpoints: &Endpoints, name: &str, line: &str) -> Lab {
    let spec = format!(
        "  stream: {{name: {name}, initialShards: 1}}\n  replicas: 1\n  {line}\n  steps: [{{name: stand, pause: {{for: 1h}}}}]\n"
    );
    Lab::start(endpoints, &ApiServer::default(), name, &spec).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_operator_says_so_and_leaves_the_run_alone() {
    let endpoints = endpoints().await;
    let mut lab = standing(&endpoints, "shared", "run: {nonce: 0}").await;
    lab.until("step", LIMIT, Lab::stands).await.unwrap();
    assert_eq!(lab.status()["operator"], "lab/kinex-operator");
    let writes = |lab: &Lab| lab.server.calls().get("patch kinesisexperiments/status").copied();
    let before = writes(&lab);
    lab.operator(&endpoints, &["--lease=another"]);
    let seen = |lab: &Lab| !lab.told("AnotherOperator").is_empty();
    lab.until("event of the second operator", LIMIT, seen).await.unwrap();
    let notes = lab.told("AnotherOperator");
    assert!(
        notes.len() == 1 && notes[0].starts_with("operator lab/kinex-operator carries out this run"),
        "{notes:?}"
    );
    // The run rests, and so do both operators.
    assert_eq!(writes(&lab), before, "{:?}", lab.server.writes());
    // The first carries on; what it decides is not undone.
    lab.edit(|object| object["spec"]["run"]["state"] = json!("Aborted"));
    lab.complete(LIMIT).await.unwrap();
    assert_eq!(lab.status()["operator"], "lab/kinex-operator");
    lab.stop().await;
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn experiment_of_another_class_is_none_of_the_operators_business() {
    let endpoints = endpoints().await;
    let mut lab = standing(&endpoints, "classy", "operatorClass: load-tests").await;
    lab.operator(&endpoints, &["--lease=another", "--operator-class=load-tests"]);
    lab.until("step", LIMIT, Lab::stands).await.unwrap();
    assert_eq!(lab.status()["operator"], "lab/another");
    assert_eq!(lab.told("AnotherOperator"), Vec::<String>::new());
    lab.stop().await;
    endpoints.stop().await;
}
