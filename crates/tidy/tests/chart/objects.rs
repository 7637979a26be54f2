//! What holds for every object: names, namespaces, labels, selectors; the definition; the experiment of `helm test`.

use std::collections::BTreeSet;

use kinex_tidy::{read, root};
use serde_json::{Value, json};

use crate::helm::{
    NAMESPACE, VARIANTS, chart, has_labels, helm, object, of_kind, pod, refusal, render, render_release, texts, title,
};

const CLUSTER_WIDE: &[&str] = &["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];

#[test]
fn helm_finds_nothing_to_complain_about() {
    for (name, values) in VARIANTS {
        let chart = chart();
        let mut arguments = vec!["lint", "--strict", chart.to_str().unwrap()];
        arguments.extend(values.iter().flat_map(|value| ["--set", *value]));
        let out = helm(&arguments);
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stdout));
    }
}

#[test]
fn every_object_has_its_name_its_namespace_and_its_labels() {
    for (name, values) in VARIANTS {
        let mut seen = BTreeSet::new();
        for object in render(values) {
            let title = format!("{name}: {}", title(&object));
            assert!(object["apiVersion"].is_string(), "{title}: no apiVersion");
            assert!(seen.insert(title.clone()), "{title}: twice");
            let meta = &object["metadata"];
            let cluster_wide = CLUSTER_WIDE.contains(&object["kind"].as_str().unwrap());
            assert_eq!(meta["namespace"].is_string(), !cluster_wide, "{title}: namespace");
            let labels = json!({"app.kubernetes.io/name": "kinex", "app.kubernetes.io/instance": "lab",
                "app.kubernetes.io/managed-by": "Helm"});
            assert!(has_labels(&meta["labels"], &labels), "{title}: {}", meta["labels"]);
            if *name == "everything" {
                assert_eq!(meta["labels"]["team"], "streams", "{title}");
            }
        }
    }
}

#[test]
fn selectors_find_pods_and_ports_of_the_same_chart() {
    for (name, values) in VARIANTS {
        let objects = render(values);
        for deployment in of_kind(&objects, "Deployment") {
            let (labels, _) = pod(deployment).unwrap();
            let selector = &deployment["spec"]["selector"]["matchLabels"];
            assert!(has_labels(labels, selector), "{name}: {}", title(deployment));
            assert!(
                labels["helm.sh/chart"].is_null(),
                "a new chart alone would restart {}",
                title(deployment)
            );
        }
        for service in of_kind(&objects, "Service") {
            let found: Vec<&Value> = of_kind(&objects, "Deployment")
                .filter(|d| has_labels(pod(d).unwrap().0, &service["spec"]["selector"]))
                .collect();
            assert_eq!(found.len(), 1, "{name}: {}", title(service));
            let ports = &pod(found[0]).unwrap().1["containers"][0]["ports"];
            for port in service["spec"]["ports"].as_array().unwrap() {
                let known = ports
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|p| p["name"] == port["targetPort"]);
                assert!(known, "{name}: {}: {port}", title(service));
            }
            assert_eq!(service["spec"]["type"], "ClusterIP", "{name}: {}", title(service));
        }
        for budget in of_kind(&objects, "PodDisruptionBudget") {
            let selector = &budget["spec"]["selector"]["matchLabels"];
            let found = of_kind(&objects, "Deployment").any(|d| has_labels(pod(d).unwrap().0, selector));
            assert!(found, "{name}: {}", title(budget));
        }
    }
}

#[test]
fn names_follow_the_release_and_stay_short() {
    let long = "a-release-with-a-name-of-fifty-three-characters-in-it";
    let objects = render_release(long, NAMESPACE, &[]);
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name.len() <= 63, "{name}");
    }
    let experiment = of_kind(&objects, "KinesisExperiment").next().unwrap();
    is_valid(&serde_json::to_string(experiment).unwrap());
    let objects = render(&["fullnameOverride=other"]);
    object(&objects, "Deployment", "other-operator");
    assert!(refusal(&["fullnameOverride=Not_A_Name"]).contains("fullnameOverride"));
}

#[test]
fn a_budget_is_made_for_more_than_one_operator() {
    assert_eq!(of_kind(&render(&[]), "PodDisruptionBudget").count(), 0);
    let two = render(&["operator.replicas=2"]);
    assert_eq!(
        object(&two, "PodDisruptionBudget", "lab-kinex-operator")["spec"]["maxUnavailable"],
        1
    );
}

#[test]
fn the_definition_is_the_printed_one_and_stays() {
    let printed = read("deploy/crd/kinesisexperiments.yaml".as_ref());
    let copy = root().join("charts/kinex/files/crd.yaml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&copy, &printed).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&copy).unwrap(),
        printed,
        "charts/kinex/files/crd.yaml is stale: UPDATE=1 cargo test -p kinex-tidy --test chart"
    );
    let mut wanted: Value = serde_saphyr::from_str(&printed).unwrap();
    let objects = render(&[]);
    let rendered = object(&objects, "CustomResourceDefinition", "kinesisexperiments.kinex.dev");
    wanted["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
    wanted["metadata"]["labels"] = rendered["metadata"]["labels"].clone();
    // Helm reads all numbers as floating point; what they are worth stays.
    assert!(same(rendered, &wanted), "the rendered definition differs");
    assert_eq!(
        of_kind(&render(&["crd.install=false"]), "CustomResourceDefinition").count(),
        0
    );
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

#[test]
fn helm_test_plays_a_valid_experiment_on_four_shards_at_the_endpoint() {
    for (name, values) in VARIANTS {
        let objects = render(values);
        let text = object(&objects, "ConfigMap", "lab-kinex-test")["data"]["experiment.yaml"].clone();
        is_valid(text.as_str().unwrap());

        let test = object(&objects, "Pod", "lab-kinex-test");
        assert_eq!(test["metadata"]["namespace"], NAMESPACE);
        assert_eq!(test["metadata"]["annotations"]["helm.sh/hook"], "test");
        let arguments = texts(&test["spec"]["containers"][0]["args"]);
        assert_eq!(arguments[0], "run");
        let url = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix("--endpoint-url="));
        let wanted = match *name {
            "aws" => None,
            "localstack elsewhere" => Some("http://localstack.other.svc:4566"),
            _ => Some("http://lab-kinex-endpoint.streams.svc:4566"),
        };
        assert_eq!(url, wanted, "{name}");
    }
}

#[test]
fn helm_test_has_the_operator_play_it_too_and_reads_its_report() {
    for (name, values) in VARIANTS {
        let objects = render(values);
        let found = of_kind(&objects, "KinesisExperiment").next();
        // Not on AWS, where it would cost money, and not in a namespace that nobody watches.
        assert_eq!(found.is_some(), !["aws", "two namespaces"].contains(name), "{name}");
        let Some(experiment) = found else { continue };
        is_valid(&serde_json::to_string(experiment).unwrap());
        assert_eq!(
            experiment["spec"]["report"]["retention"], "Delete",
            "{name}: a report is left behind"
        );
        let reader = object(&objects, "Pod", "lab-kinex-test-operator");
        let report = &reader["spec"]["volumes"][0]["configMap"];
        // Without the summary the pod waits: the operator writes it when the run has ended.
        assert_eq!(
            report["items"],
            json!([{"key": "summary.json", "path": "summary.json"}])
        );
        assert!(report["optional"].is_null());
        let nonce = &experiment["spec"]["run"]["nonce"];
        let wanted = format!("{}-report-{nonce}", experiment["metadata"]["name"].as_str().unwrap());
        assert_eq!(report["name"], wanted);
        assert_eq!(texts(&reader["spec"]["containers"][0]["args"]), ["report", "/report"]);
        let weight = |object: &Value| {
            let weight = object["metadata"]["annotations"]["helm.sh/hook-weight"].as_str();
            weight.unwrap().parse::<i32>().unwrap()
        };
        // What an earlier test left behind has gone while the other pod was at work.
        assert!(weight(experiment) < weight(object(&objects, "Pod", "lab-kinex-test")));
        assert!(weight(object(&objects, "Pod", "lab-kinex-test")) < weight(reader));
    }
    let objects = render(&["limits.streamPrefixes={team-a-}"]);
    let stream = &of_kind(&objects, "KinesisExperiment").next().unwrap()["spec"]["stream"]["name"];
    assert_eq!(stream, "team-a-lab-kinex-test-operator");
}

/// Loads an experiment as the program does: YAML, or JSON, which is YAML too.
#[track_caller]
fn is_valid(text: &str) {
    let experiment = kinex_api::load(text, "experiment.yaml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    kinex_api::convert(&experiment).unwrap_or_else(|problems| panic!("{problems:?}"));
    let spec = serde_json::to_value(&experiment.spec).unwrap();
    assert_eq!(spec["stream"]["initialShards"], 4);
    assert_eq!(spec["stream"]["deletionPolicy"], "Delete");
}
