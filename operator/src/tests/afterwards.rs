//! What becomes of an experiment whose run has ended, or never was to begin.

use kinex_embedded::Endpoints;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::lab::{LIMIT, Lab, endpoints};

const SET: &str = "/apis/apps/v1/namespaces/lab/statefulsets/NAME-consumer";
const PRODUCER: &str = "/apis/apps/v1/namespaces/lab/deployments/NAME-producer";

/// A run that ends at once, with one more line in its spec, alone with its operator.
async fn start(endpoints: &Endpoints, name: &str, line: &str) -> Lab {
    let spec = format!(
        "  stream: {{name: {name}, initialShards: 1}}\n  replicas: 1\n  {line}\n  steps: [{{name: p, pause: {{for: 1ms}}}}]\n"
    );
    Lab::start(endpoints, &ApiServer::default(), name, &spec).await
}

fn there(lab: &Lab, path: &str) -> bool {
    lab.server.get(&path.replace("NAME", &lab.name)).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_stays_or_is_stopped_as_the_run_says() {
    let endpoints = endpoints().await;
    let kept = start(&endpoints, "kept", "run: {afterwards: Keep}").await;
    let stopped = start(&endpoints, "stopped", "run: {afterwards: StopPods}").await;
    kept.complete(LIMIT).await.unwrap();
    stopped.complete(LIMIT).await.unwrap();
    let gone = |lab: &Lab| !there(lab, SET) && !there(lab, PRODUCER);
    stopped.until("end of the fleet", LIMIT, gone).await.unwrap();
    // The next run has a fleet again.
    stopped.edit(|object| object["spec"]["run"]["nonce"] = json!(1));
    let second = |lab: &Lab| lab.status()["runNonce"] == 1 && lab.condition("Complete").0 == "True";
    stopped.until("end of the next run", LIMIT, second).await.unwrap();
    assert_eq!(stopped.status()["verdict"], "Pass", "{}", stopped.status());
    assert!(there(&kept, SET) && there(&kept, PRODUCER));
    kept.stop().await;
    stopped.stop().await;
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn experiment_whose_time_to_live_is_over_is_deleted() {
    let endpoints = endpoints().await;
    let brief = start(&endpoints, "brief", "ttlSecondsAfterFinished: 1").await;
    let long = start(&endpoints, "long", "ttlSecondsAfterFinished: 3600").await;
    long.complete(LIMIT).await.unwrap();
    brief
        .until("end of the experiment", LIMIT, |lab| lab.object().is_none())
        .await
        .unwrap();
    assert!(long.object().is_some());
    brief.stop().await;
    long.stop().await;
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_that_is_aborted_from_the_start_has_no_fleet() {
    let endpoints = endpoints().await;
    let lab = start(&endpoints, "never", "run: {state: Aborted}").await;
    lab.complete(LIMIT).await.unwrap();
    assert_eq!(lab.status()["verdict"], "Aborted");
    let writes = lab.server.writes();
    let of_the_run = |write: &&String| !write.contains("kinesisexperiments") && !write.contains("/events");
    let others: Vec<_> = writes
        .iter()
        .filter(of_the_run)
        .filter(|write| !write.contains("configmaps"))
        .collect();
    assert_eq!(others, Vec::<&String>::new(), "{writes:?}");
    let stream = lab.clients.streams().describe("never").await;
    assert!(stream.is_err(), "{stream:?}");
    assert_ne!(lab.status(), Value::Null);
    lab.stop().await;
    endpoints.stop().await;
}
