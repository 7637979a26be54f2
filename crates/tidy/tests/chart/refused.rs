//! Values that the schema refuses, with words that name the value; and the schema knows every value.

use kinex_tidy::read;
use serde_json::Value;

use crate::helm::refusal;

#[test]
fn wrong_values_are_refused_by_name() {
    for (values, words) in [
        (&["bakend=aws"][..], &["bakend"][..]),
        (&["operator.replica=2"], &["operator", "replica"]),
        (&["networkPolicy.metricFrom=[]"], &["networkPolicy", "metricFrom"]),
        (&["backend=moto"], &["backend", "embedded", "localstack", "aws"]),
        (&["backend=aws"], &["aws", "region"]),
        (
            &["backend=aws", "aws.region=eu-west-1"],
            &["limits", "streamPrefixes", "minItems"],
        ),
        (
            &[
                "backend=aws",
                "aws.region=eu-west-1",
                "limits.streamPrefixes={a-}",
                "aws.tablePrefix=",
            ],
            &["aws", "tablePrefix"],
        ),
        (&["aws.region=Frankfurt"], &["aws", "region"]),
        (&["aws.irsa.operatorRoleArn=kinex"], &["operatorRoleArn"]),
        (
            &["localstack.externalUrl=ftp://localstack"],
            &["externalUrl", "ftp://localstack"],
        ),
        (
            &["limits.endpoints={http://user:secret@host}"],
            &["limits", "endpoints"],
        ),
        (&["limits.shards=0"], &["limits", "shards"]),
        (&["limits.shards=20000"], &["limits", "shards"]),
        (&["limits.replicas=many"], &["limits", "replicas"]),
        (
            &["operator.replicas=2", "operator.leaderElection=false"],
            &["leaderElection"],
        ),
        (
            &["watchAllNamespaces=true", "watchNamespaces={a}"],
            &["watchNamespaces"],
        ),
        (&["image.pullPolicy=Sometimes"], &["pullPolicy"]),
        (&["image.digest=sha256:abc"], &["digest"]),
        (&["cleanupTimeout=soon"], &["cleanupTimeout"]),
        (&["imagePullSecrets={registry}"], &["imagePullSecrets"]),
        (&["operator.logFormat=xml"], &["logFormat"]),
        (
            &["commonLabels.app\\.kubernetes\\.io/instance=mine"],
            &["commonLabels", "app.kubernetes.io/instance", "choose another label"],
        ),
        (
            &["operator.podLabels.app\\.kubernetes\\.io/component=mine"],
            &["operator.podLabels", "app.kubernetes.io/component"],
        ),
    ] {
        let said = refusal(values);
        for word in words {
            assert!(said.contains(word), "{values:?}: `{word}` is not in: {said}");
        }
    }
}

#[test]
fn the_schema_and_the_values_know_the_same_keys() {
    let schema: Value = serde_json::from_str(&read("charts/kinex/values.schema.json".as_ref())).unwrap();
    let values: Value = serde_saphyr::from_str(&read("charts/kinex/values.yaml".as_ref())).unwrap();
    let mut differences = Vec::new();
    compare(&schema, &schema, &values, "", &mut differences);
    // Helm and parent charts add these to the values of a chart that another chart brings along.
    let of_parents = ["enabled", "global", "tags"].map(|key| format!(".{key} is in the schema alone"));
    assert_eq!(differences, of_parents);
}

fn compare(root: &Value, schema: &Value, values: &Value, path: &str, differences: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &root["$defs"][name.trim_start_matches("#/$defs/")],
        None => schema,
    };
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let optional = path.ends_with(".resources");
    for (key, below) in properties {
        match values.get(key) {
            Some(value) => compare(root, below, value, &format!("{path}.{key}"), differences),
            None if optional => {}
            None => differences.push(format!("{path}.{key} is in the schema alone")),
        }
    }
    for key in values.as_object().unwrap().keys() {
        if !properties.contains_key(key) {
            differences.push(format!("{path}.{key} is in the values alone"));
        }
    }
    assert_eq!(schema["additionalProperties"], false, "{path} takes any key");
}
