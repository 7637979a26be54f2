//! What a run was begun with: nobody changes it unseen, and an operator of another version leaves it alone.

use kinex_embedded::Endpoints;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::lab::{LIMIT, Lab, endpoints};

/// A run that stands in its only step for long enough.
const STANDING: &str = "  stream: {name: NAME, initialShards: 2}
  replicas: 2
  steps:
    - {name: stand, pause: {for: 1h}}
";
const PODS: &str = "/api/v1/namespaces/lab/pods";
const SETS: &str = "/apis/apps/v1/namespaces/lab/statefulsets";

async fn standing(endpoints: &Endpoints, server: &ApiServer, name: &str) -> Lab {
    Lab::standing(endpoints, server, name, &STANDING.replace("NAME", name)).await
}

fn interference(lab: &Lab) -> Value {
    lab.status()["steps"][0]["interference"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_that_is_evicted_or_deleted_is_interference() {
    let endpoints = endpoints().await;
    let server = ApiServer::default();
    let evicted = |pod: &mut Value| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        });
        pod["status"]["conditions"].as_array_mut().unwrap().push(condition);
    };
    let killed = |pod: &mut Value| {
        let end = json!({ "exitCode": 137, "reason": "OOMKilled", "message": INCARNATION });
        pod["status"]["containerStatuses"][0]["lastState"] = json!({ "terminated": end });
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Option<Change<'_>>, &str); 3] = [
        (
            "evicted",
            Some(&evicted),
            "EvictionByEvictionAPI: Eviction API: evicting",
        ),
        (
            "killed",
            Some(&killed),
            "OOMKilled with exit code 137: it needed more memory than its limit",
        ),
        ("deleted", None, "its pod is gone"),
    ];
    for (name, change, why) in cases {
        let lab = standing(&endpoints, &server, name).await;
        assert_eq!(
            interference(&lab),
            Value::Null,
            "two pods came, and nobody touched them"
        );
        let path = format!("{PODS}/{name}-consumer-1");
        match change {
            Some(change) => {
                let mut pod = server.get(&path).unwrap();
                change(&mut pod);
                server.put(&path, pod);
            }
            None => server.remove(&path),
        }
        let told = |lab: &Lab| interference(lab) != Value::Null;
        lab.until("interference", LIMIT, told).await.unwrap();
        let said = format!("worker {name}-consumer-1 ended, which no step asked for: {why}");
        assert_eq!(interference(&lab), json!(said));
        assert_eq!(lab.condition("Interference").0, "True");
        lab.stop().await;
    }
    endpoints.stop().await;
}

/// Of a process that nobody else knows.
const INCARNATION: &str = "5f0c1f0e-0f5c-4c52-a4a5-4d4b0a8e2a10";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spec_that_was_changed_in_spite_of_the_rules_ends_the_run() {
    let endpoints = endpoints().await;
    let server = ApiServer::default();
    let lab = standing(&endpoints, &server, "edited").await;
    // This server knows no rules; a definition of an older version may have fewer.
    lab.edit(|object| object["spec"]["consumers"]["maxLeasesPerWorker"] = json!(3));
    lab.complete(LIMIT).await.unwrap();
    let status = lab.status();
    assert_eq!(status["verdict"], "Inconclusive", "{status}");
    assert_eq!(
        status["message"],
        "step stand: the spec was changed while the run was in progress; raise run.nonce to run what it says now"
    );
    lab.stop().await;
    endpoints.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_with_another_image_leaves_a_running_fleet_alone() {
    let endpoints = endpoints().await;
    let server = ApiServer::default();
    let mut lab = standing(&endpoints, &server, "pinned").await;
    let set = format!("{SETS}/pinned-consumer");
    let before = server.get(&set).unwrap();
    assert_eq!(image(&before), "kinex:dev");
    let reads = count(&server);
    lab.image = "kinex:next".to_owned();
    lab.restart(&endpoints, |_| {}).await;
    // It reads the objects of the workload before it writes what is not as wanted.
    let again = |lab: &Lab| count(&lab.server) > reads && lab.condition("Ready").0 == "True";
    lab.until("reconcile of the new operator", LIMIT, again).await.unwrap();
    lab.edit(|object| object["spec"]["run"]["state"] = json!("Aborted"));
    lab.complete(LIMIT).await.unwrap();
    assert_eq!(
        server.get(&set).unwrap()["spec"]["template"],
        before["spec"]["template"]
    );
    // The next run is begun with what the operator has now.
    lab.edit(|object| object["spec"]["run"] = json!({ "nonce": 1, "state": "Running" }));
    let renewed = |lab: &Lab| image(&lab.server.get(&set).unwrap()) == "kinex:next";
    lab.until("fleet of the next run", LIMIT, renewed).await.unwrap();
    lab.stop().await;
    endpoints.stop().await;
}

fn image(set: &Value) -> String {
    let image = &set["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap_or_default().to_owned()
}

/// How often a StatefulSet was read.
fn count(server: &ApiServer) -> u32 {
    server.calls().get("get statefulsets").copied().unwrap_or(0)
}
