//! What is read of the workload: who scaled, which generation, which process.

use super::*;

/// A StatefulSet; `managers` own the number of workers, each with the minute of its last write.
fn set(replicas: u32, generation: i64, made: &str, managers: &[(&str, u32)]) -> StatefulSet {
    let owners: Vec<_> = managers
        .iter()
        .map(|(manager, minute)| {
            serde_json::json!({
                "manager": manager,
                "operation": "Update",
                "apiVersion": "apps/v1",
                "time": format!("2026-11-23T10:{minute:02}:00Z"),
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            })
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": "x-consumer", "generation": generation, "creationTimestamp": made, "managedFields": owners},
        "spec": {"replicas": replicas, "selector": {}, "template": {}},
    }))
    .unwrap()
}

fn replicas(set: Option<StatefulSet>) -> Replicas {
    let cluster = Cluster {
        set: set.map(Arc::new),
        pods: Vec::new(),
        producer: None,
    };
    cluster.replicas()
}

const MADE: &str = "2026-11-23T10:00:00Z";

#[test]
fn the_number_of_workers_is_the_statefulsets() {
    assert_eq!(replicas(None), Replicas::default());
    assert_eq!(replicas(Some(set(3, 1, MADE, &[]))).wanted, 3);
}

#[test]
fn every_change_has_a_greater_generation_also_of_a_set_that_was_made_anew() {
    let of = |generation, made| replicas(Some(set(3, generation, made, &[]))).generation;
    assert!(of(2, MADE) > of(1, MADE));
    assert!(of(1, "2026-11-23T10:00:01Z") > of(900, MADE));
    assert!(
        of(i64::MAX, "2126-11-23T10:00:00Z") < 1 << 53,
        "the definition takes 53 bits"
    );
}

#[test]
fn who_scaled_last_is_told_unless_it_was_the_operator() {
    let by = |managers: &[(&str, u32)]| replicas(Some(set(5, 2, MADE, managers))).by;
    assert_eq!(by(&[]), None);
    assert_eq!(by(&[("kinex/scale", 1)]), None);
    assert_eq!(by(&[("kinex/scale", 1), ("kubectl", 2)]).as_deref(), Some("kubectl"));
    assert_eq!(by(&[("kubectl", 1), ("kinex/scale", 2)]), None);
}

#[test]
fn a_producer_runs_once_the_present_one_is_ready() {
    let check = |generation: i64, observed: i64, updated: i32, ready: i32, expected: bool| {
        let producer = serde_json::from_value(serde_json::json!({
            "metadata": {"generation": generation},
            "status": {"observedGeneration": observed, "updatedReplicas": updated, "readyReplicas": ready},
        }));
        let cluster = Cluster {
            set: None,
            pods: Vec::new(),
            producer: Some(Arc::new(producer.unwrap())),
        };
        assert_eq!(cluster.producer_runs(), expected);
    };
    check(1, 1, 1, 1, true);
    check(2, 1, 1, 1, false);
    check(1, 1, 0, 1, false);
    check(1, 1, 1, 0, false);
}

#[test]
fn a_row_of_somebody_else_is_no_process() {
    let row = |body: &str| process(&("w".to_owned(), body.to_owned()));
    assert!(row(r#"{"incarnation":"i","podUid":"u","startedAt":"t"}"#).is_some());
    assert!(row(r#"{"incarnation":"i"}"#).is_none());
    assert!(row("").is_none());
}
