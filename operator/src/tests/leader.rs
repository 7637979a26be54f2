//! Elections against an API server in memory, two times as fast as real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tower::util::BoxCloneService;

use super::api_server::ApiServer;
use crate::leader::{Candidate, Tenure, Timing, gated};

const TIMING: Timing = Timing {
    lasting: Duration::from_secs(6),
    sure: Duration::from_millis(4_500),
    renew_every: Duration::from_secs(1),
    retry_every: Duration::from_millis(500),
    request: Duration::from_secs(1),
};

/// Nothing that is waited for takes longer.
const LIMIT: Duration = Duration::from_secs(60);

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/lab/leases/kinex";

/// One operator: its way to the API server, which can be cut, and whether it may act.
struct Operator {
    name: &'static str,
    cut: Arc<AtomicBool>,
    server: ApiServer,
    tenure: Tenure,
}

impl Operator {
    fn new(server: &ApiServer, name: &'static str) -> Self {
        Self {
            name,
            cut: Arc::default(),
            server: server.clone(),
            tenure: Tenure::none(),
        }
    }

    /// The way to the API server: requests are never answered while the network is cut.
    fn network(&self) -> BoxCloneService<http::Request<Body>, http::Response<Body>, kube::Error> {
        let (cut, client) = (Arc::clone(&self.cut), self.server.client());
        BoxCloneService::new(tower::service_fn(move |request| {
            let (cut, client) = (Arc::clone(&cut), client.clone());
            async move {
                if cut.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                client.send(request).await
            }
        }))
    }

    fn stand(&self) -> Candidate {
        let client = Client::new(self.network(), "lab");
        Candidate::stand(client, "lab", "kinex", self.name, self.tenure.clone(), TIMING)
    }

    /// Whether a write of it arrives.
    async fn acts(&self) -> bool {
        let client = gated(&Client::new(self.network(), "lab"), &self.tenure);
        let maps: Api<ConfigMap> = Api::namespaced(client, "lab");
        let map = serde_json::from_value(
            json!({ "metadata": { "name": format!("of-{}-{}", self.name, uuid::Uuid::new_v4()) } }),
        );
        let created = timeout(
            Duration::from_secs(2),
            maps.create(&PostParams::default(), &map.unwrap()),
        )
        .await;
        matches!(created, Ok(Ok(_)))
    }
}

fn holder(server: &ApiServer) -> Option<String> {
    server.get(PATH)?["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

async fn elected(candidate: &mut Candidate) {
    timeout(LIMIT, candidate.elected()).await.expect("it leads");
}

#[tokio::test]
async fn one_leads_and_the_next_follows_as_soon_as_it_resigns() {
    let server = ApiServer::default();
    let (first, second) = (Operator::new(&server, "first"), Operator::new(&server, "second"));
    let mut leader = first.stand();
    elected(&mut leader).await;
    let mut standby = second.stand();
    assert!(timeout(TIMING.lasting * 2, standby.elected()).await.is_err());
    assert!(first.acts().await && !second.acts().await);
    leader.resign().await;
    assert!(!first.acts().await);
    elected(&mut standby).await;
    assert_eq!(holder(&server).as_deref(), Some("second"));
    assert_eq!(server.get(PATH).unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_acting_before_the_next_begins() {
    let server = ApiServer::default();
    let (first, second) = (Operator::new(&server, "first"), Operator::new(&server, "second"));
    let mut leader = first.stand();
    elected(&mut leader).await;
    let mut standby = second.stand();
    first.cut.store(true, Ordering::Relaxed);
    let cut = Instant::now();
    while !second.tenure.holds() {
        assert!(cut.elapsed() < LIMIT, "nobody leads");
        tokio::time::sleep(Duration::from_millis(20)).await;
        // In this order: the first may end in between, and the second begin.
        let second_acts = second.tenure.holds();
        assert!(
            !(first.tenure.holds() && second_acts),
            "two may act {:?} after the cut",
            cut.elapsed()
        );
    }
    leader.lost().await;
    elected(&mut standby).await;
    // What it still had to send does not leave it when the network is back.
    first.cut.store(false, Ordering::Relaxed);
    assert!(!first.acts().await && second.acts().await);
    leader.resign().await;
    assert_eq!(
        holder(&server).as_deref(),
        Some("second"),
        "it does not give back what is another's"
    );
}

#[tokio::test]
async fn the_clock_of_another_machine_decides_nothing() {
    let server = ApiServer::default();
    let lease = |renewed: &str| -> Value {
        json!({
            "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": { "name": "kinex" },
            "spec": { "holderIdentity": "other", "leaseDurationSeconds": 6, "renewTime": renewed },
        })
    };
    let operator = Operator::new(&server, "first");
    server.put(PATH, lease("1970-01-01T00:00:00.000000Z"));
    let mut candidate = operator.stand();
    for second in 0..10 {
        // Its clock is decades behind, and it renews.
        server.put(PATH, lease(&format!("1970-01-01T00:00:{second:02}.000000Z")));
        assert!(timeout(Duration::from_secs(1), candidate.elected()).await.is_err());
    }
    server.put(PATH, lease("2999-01-01T00:00:00.000000Z"));
    elected(&mut candidate).await;
}

#[tokio::test]
async fn a_lease_without_a_holder_is_taken_and_one_that_was_deleted_is_made_again() {
    let server = ApiServer::default();
    // As the chart ships it.
    server.put(
        PATH,
        json!({ "kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": { "name": "kinex" } }),
    );
    let operator = Operator::new(&server, "first");
    let mut leader = operator.stand();
    elected(&mut leader).await;
    server.remove(PATH);
    assert!(timeout(TIMING.lasting * 2, leader.lost()).await.is_err());
    assert_eq!(holder(&server).as_deref(), Some("first"));
}
