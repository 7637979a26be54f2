//! Objects of the same names that are somebody else's: nothing of theirs is written, scaled or deleted.

use std::sync::Arc;

use clap::Parser;
use kinex_api::{KinesisExperiment, convert, load};
use kinex_aws::{Access, Clients};
use kinex_core::experiment::{Effect, Spec};
use kinex_stage::{Ledger, Subject};
use serde_json::{Value, json};

use super::api_server::ApiServer;
use crate::active_run::{ActiveRun, Key};
use crate::apply::{Error, Live};
use crate::args::Args;
use crate::build;
use crate::cleanup;
use crate::effects::EffectExecutor;
use crate::memory::RunStore;
use crate::metrics::Meters;
use crate::observe::Cluster;
use crate::settings::Settings;

const UID: &str = "3b1a2c4d-0000-4000-8000-000000000001";
const SET: &str = "/apis/apps/v1/namespaces/lab/statefulsets/orders-consumer";
const CONFIG: &str = "/api/v1/namespaces/lab/configmaps/orders-consumer";
const PRODUCER: &str = "/apis/apps/v1/namespaces/lab/deployments/orders-producer";
const MAPS: &str = "/api/v1/namespaces/lab/configmaps";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn settings() -> Settings {
    let flags = [
        "operator",
        "--image=kinex:dev",
        "--endpoint-url=http://kinex-emulator:4566",
    ];
    let args = Command::try_parse_from(flags).unwrap().args;
    Settings::resolve(args, |name| (name == "POD_NAMESPACE").then(|| "lab".to_owned())).unwrap()
}

fn orders() -> (KinesisExperiment, Spec) {
    let manifest = "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {name: orders}\n\
                    spec: {preset: split-only, stream: {name: orders-test, initialShards: 4}, replicas: 2}\n";
    let mut experiment = load(manifest, "manifest").unwrap();
    experiment.metadata.namespace = Some("lab".to_owned());
    experiment.metadata.uid = Some(UID.to_owned());
    let spec = convert(&experiment).unwrap();
    (experiment, spec)
}

fn object(kind: &str, api: &str, name: &str, owner: Option<&str>, spec: Value) -> Value {
    let owners: Vec<Value> = owner
        .map(|uid| json!({ "apiVersion": "kinex.dev/v1alpha1", "kind": "KinesisExperiment", "name": "orders", "uid": uid, "controller": true }))
        .into_iter()
        .collect();
    json!({
        "kind": kind, "apiVersion": api,
        "metadata": { "name": name, "namespace": "lab", "ownerReferences": owners },
        "spec": spec,
    })
}

fn set(owner: Option<&str>) -> Value {
    let labels = json!({ "app": "orders" });
    let spec = json!({ "replicas": 7, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels } } });
    object("StatefulSet", "apps/v1", "orders-consumer", owner, spec)
}

fn deployment(owner: Option<&str>) -> Value {
    object(
        "Deployment",
        "apps/v1",
        "orders-producer",
        owner,
        set(None)["spec"].clone(),
    )
}

fn map(name: &str, run: &str, owner: Option<&str>) -> Value {
    let mut map = object("ConfigMap", "v1", name, owner, Value::Null);
    map["data"] = json!({ "theirs": "kept" });
    map["metadata"]["annotations"] = json!({ "kinex.dev/run": run });
    map
}

/// Reads and applies the workload, as a reconcile does.
async fn apply(server: &ApiServer) -> Result<(), Error> {
    let (experiment, spec) = orders();
    let wanted = build::workload(&experiment, &spec, &settings(), "run-1");
    let live = Box::pin(Live::read(&server.client(), &wanted)).await?;
    Box::pin(wanted.apply(&server.client(), live, false)).await.map(drop)
}

#[tokio::test]
async fn apply_name_held_by_stranger_writes_nothing_until_it_is_gone() {
    for (path, theirs) in [
        (SET, set(None)),
        (SET, set(Some("uid-of-an-earlier-orders"))),
        (PRODUCER, deployment(None)),
        (CONFIG, map("orders-consumer", "", None)),
    ] {
        let server = ApiServer::default();
        let before = server.put(path, theirs);
        let error = Box::pin(apply(&server)).await.unwrap_err();
        assert_eq!(error.reason(), "NameTaken", "{error}");
        assert_eq!(server.writes(), [""; 0], "{path}");
        assert_eq!(server.get(path), Some(before));

        server.remove(path);
        Box::pin(apply(&server)).await.unwrap();
        assert_eq!(server.writes().len(), 5);
        Box::pin(apply(&server)).await.unwrap();
        assert_eq!(server.writes(), [""; 0], "nothing is written twice");
    }
}

#[tokio::test]
async fn apply_object_created_or_replaced_since_the_read_is_refused() {
    let (experiment, spec) = orders();
    let wanted = build::workload(&experiment, &spec, &settings(), "run-1");
    let server = ApiServer::default();
    let live = Live::read(&server.client(), &wanted).await.unwrap();
    let before = server.put(CONFIG, map("orders-consumer", "", None));
    let refused = Box::pin(wanted.clone().apply(&server.client(), live, false)).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    assert_eq!(server.get(CONFIG), Some(before));

    server.put(CONFIG, map("orders-consumer", "", Some(UID)));
    let live = Live::read(&server.client(), &wanted).await.unwrap();
    server.remove(CONFIG);
    let before = server.put(CONFIG, map("orders-consumer", "", None));
    let refused = Box::pin(wanted.apply(&server.client(), live, false)).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    assert_eq!(server.get(CONFIG), Some(before));
}

async fn active_run(spec: &Spec, experiment: &KinesisExperiment) -> ActiveRun {
    let clients = Clients::connect(&Access::endpoint("http://127.0.0.1:9")).await.unwrap();
    let subject = Subject {
        clients,
        stream: spec.stream.name.clone(),
        application: spec.name.clone(),
    };
    let key = Key::of(experiment, spec, "test".to_owned());
    ActiveRun::new(key, spec, subject, Ledger::default())
}

/// Asks for two workers when the watch shows this StatefulSet as the experiment's.
async fn scale(server: &ApiServer, seen: Option<Value>) {
    let (experiment, spec) = orders();
    let mut active_run = Box::new(active_run(&spec, &experiment).await);
    let cluster = Cluster {
        set: seen.map(|set| Arc::new(serde_json::from_value(set).unwrap())),
        pods: Vec::new(),
        producer: None,
    };
    let executor = EffectExecutor {
        client: &server.client(),
        experiment: &experiment,
        cluster: &cluster,
        meters: &Meters::default(),
    };
    executor
        .carry_out(&mut active_run, vec![Effect::Scale { replicas: 2 }])
        .await;
    assert!(active_run.failures.is_empty(), "{:?}", active_run.failures);
}

#[tokio::test]
async fn scale_without_own_statefulset_sends_nothing() {
    let server = ApiServer::default();
    server.put(SET, set(None));
    scale(&server, None).await;
    assert_eq!(server.writes(), [""; 0]);
}

#[tokio::test]
async fn scale_replaced_statefulset_changes_nothing() {
    let server = ApiServer::default();
    let seen = server.put(SET, set(Some(UID)));
    server.remove(SET);
    let before = server.put(SET, set(None));
    scale(&server, Some(seen)).await;
    assert_eq!(server.get(SET), Some(before));

    let seen = server.put(SET, set(Some(UID)));
    scale(&server, Some(seen)).await;
    assert_eq!(server.get(SET).unwrap()["spec"]["replicas"], 2);
}

#[tokio::test]
async fn delete_replaced_or_changed_object_stays() {
    let server = ApiServer::default();
    let seen = server.put(PRODUCER, deployment(Some(UID)));
    let seen: k8s_openapi::api::apps::v1::Deployment = serde_json::from_value(seen).unwrap();
    server.remove(PRODUCER);
    let before = server.put(PRODUCER, deployment(None));
    cleanup::delete_exactly(&server.client(), &seen).await.unwrap();
    assert_eq!(server.get(PRODUCER), Some(before.clone()));

    let now = serde_json::from_value::<k8s_openapi::api::apps::v1::Deployment>(before).unwrap();
    cleanup::delete_exactly(&server.client(), &now).await.unwrap();
    assert_eq!(server.get(PRODUCER), None);
    cleanup::delete_exactly(&server.client(), &now).await.unwrap();
}

/// Writes a report as at the end of a run, and gives the ConfigMap's name.
async fn publish(server: &ApiServer) -> Result<String, &'static str> {
    let publishing = async {
        let (experiment, spec) = orders();
        let mut active_run = Box::new(active_run(&spec, &experiment).await);
        let client = server.client();
        let run_store = RunStore::new(&client, &experiment, spec.run.nonce, spec.reports);
        run_store.recall(&mut active_run).await.map_err(|stall| stall.reason)?;
        run_store.keep(&mut active_run).await.unwrap();
        let files = [("summary.json", "{}".to_owned())];
        run_store.publish(&mut active_run, &files).await.unwrap();
        assert!(run_store.prune(&[spec.run.nonce]).await.unwrap());
        Ok(active_run.report.name)
    };
    Box::pin(publishing).await
}

#[tokio::test]
async fn report_name_held_by_stranger_takes_another_name() {
    let server = ApiServer::default();
    assert_eq!(publish(&server).await.unwrap(), "orders-report-0");
    let written = server.get(&format!("{MAPS}/orders-report-0")).unwrap();
    assert_eq!(
        written["data"],
        json!({ "summary.json": "{}" }),
        "what was kept has gone"
    );
    assert_eq!(publish(&server).await.unwrap(), "orders-report-0", "it is this run's");

    let server = ApiServer::default();
    let first = server.put(
        &format!("{MAPS}/orders-report-0"),
        map("orders-report-0", "orders-00000000-0", None),
    );
    assert_eq!(publish(&server).await.unwrap(), "orders-report-0-3b1a2c4d");
    assert_eq!(
        server.get(&format!("{MAPS}/orders-report-0")),
        Some(first),
        "it is kept"
    );

    server.remove(&format!("{MAPS}/orders-report-0-3b1a2c4d"));
    server.put(
        &format!("{MAPS}/orders-report-0-3b1a2c4d"),
        map("orders-report-0-3b1a2c4d", "", None),
    );
    server.writes();
    assert_eq!(publish(&server).await, Err("NameTaken"));
    assert_eq!(server.writes(), [""; 0]);
}

#[tokio::test]
async fn prune_reports_of_an_earlier_experiment_stay() {
    let server = ApiServer::default();
    let mut earlier = map("orders-report-5", "orders-00000000-5", None);
    earlier["metadata"]["labels"] = json!({
        "kinex.dev/experiment": "orders", "kinex.dev/experiment-uid": "00000000", "app.kubernetes.io/component": "report",
    });
    let earlier = server.put(&format!("{MAPS}/orders-report-5"), earlier);
    publish(&server).await.unwrap();
    assert_eq!(server.get(&format!("{MAPS}/orders-report-5")), Some(earlier));
}
