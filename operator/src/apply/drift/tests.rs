//! What counts as drift.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use serde_json::json;

use super::{as_wanted, covers, quantity};
use crate::build::APPLIED_HASH;

fn config(hash: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            annotations: Some([(APPLIED_HASH.to_owned(), hash.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([("a".to_owned(), value.to_owned())].into()),
        ..ConfigMap::default()
    }
}

#[test]
fn an_object_is_as_wanted_when_written_and_not_edited_since() {
    let wanted = config("1", "x");
    let mut live = config("1", "x");
    live.data
        .as_mut()
        .unwrap()
        .insert("b".to_owned(), "of others".to_owned());
    live.metadata.resource_version = Some("7".to_owned());
    assert!(as_wanted(&wanted, &live));
    assert!(!as_wanted(&wanted, &config("1", "edited")));
    assert!(
        !as_wanted(&wanted, &config("2", "x")),
        "a field that is no longer wanted is taken away"
    );
}

#[test]
fn defaults_and_normal_forms_of_the_server_are_no_drift() {
    let wanted = json!({"ports": [{"port": 1}], "cpu": "0.5", "memory": "1024Mi", "n": 3});
    let live = json!({"ports": [{"port": 1, "protocol": "TCP"}], "cpu": "500m", "memory": "1Gi", "n": 3, "more": {}});
    assert!(covers(&live, &wanted));
    for (key, other) in [("cpu", json!("501m")), ("n", json!(4)), ("ports", json!([]))] {
        let mut edited = live.clone();
        edited[key] = other;
        assert!(!covers(&edited, &wanted), "{key}");
    }
}

#[test]
fn quantities_are_read_in_thousandths() {
    let cases = [
        ("1", Some(1_000)),
        ("250m", Some(250)),
        ("0.25", Some(250)),
        ("1Ki", Some(1_024_000)),
        ("1.5k", Some(1_500_000)),
        ("0.5Gi", Some(536_870_912_000)),
        ("x", None),
        ("", None),
        ("-1", None),
        ("1e3", None),
    ];
    for (text, expected) in cases {
        assert_eq!(quantity(text), expected, "{text}");
    }
}
