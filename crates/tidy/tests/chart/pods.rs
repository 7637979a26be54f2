//! Pods: the rules of the restricted pod security standard, and ours on top of it.

use kinex_tidy::{files, read};
use serde_json::{Value, json};

use crate::helm::{VARIANTS, pod, render, texts, title};

/// What a pod does that it should not.
pub(crate) fn faults(spec: &Value) -> Vec<String> {
    let mut faults = shared_faults(spec);
    let mut wants = |what: &str, found: &Value, wanted: Value| {
        if *found != wanted {
            faults.push(format!("{what} is {found}, not {wanted}"));
        }
    };
    let context = &spec["securityContext"];
    wants("runAsNonRoot", &context["runAsNonRoot"], json!(true));
    wants("runAsUser", &context["runAsUser"], json!(10001));
    wants(
        "seccompProfile",
        &context["seccompProfile"]["type"],
        json!("RuntimeDefault"),
    );
    for container in containers(spec) {
        let context = &container["securityContext"];
        wants(
            "allowPrivilegeEscalation",
            &context["allowPrivilegeEscalation"],
            json!(false),
        );
        wants(
            "readOnlyRootFilesystem",
            &context["readOnlyRootFilesystem"],
            json!(true),
        );
        wants("capabilities", &context["capabilities"], json!({"drop": ["ALL"]}));
    }
    faults
}

/// What not even a pod of somebody else's image may do.
pub(crate) fn shared_faults(spec: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for key in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
        if !spec[key].is_null() {
            faults.push(format!("{key} is set"));
        }
    }
    if spec["enableServiceLinks"] != false {
        faults.push("enableServiceLinks is not false".into());
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kind = volume.as_object().unwrap().keys().find(|key| *key != "name").unwrap();
        if !["configMap", "emptyDir", "projected"].contains(&kind.as_str()) {
            faults.push(format!("volume {} is a {kind}", volume["name"]));
        }
        if kind == "emptyDir" && volume["emptyDir"]["sizeLimit"].is_null() {
            faults.push(format!("volume {} has no sizeLimit", volume["name"]));
        }
    }
    for container in containers(spec) {
        let context = &container["securityContext"];
        if context["privileged"] == true || context["allowPrivilegeEscalation"] != false {
            faults.push("it may become privileged".into());
        }
        for part in ["requests", "limits"] {
            for resource in ["cpu", "memory"] {
                if container["resources"][part][resource].is_null() {
                    faults.push(format!("no {part} of {resource}"));
                }
            }
        }
        for port in container["ports"].as_array().into_iter().flatten() {
            if !port["hostPort"].is_null() {
                faults.push(format!("{port} is a port of the node"));
            }
        }
        let image = container["image"].as_str().unwrap_or_default();
        let pinned = image.contains('@') || image.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest");
        if !pinned {
            faults.push(format!("the image {image} is not pinned"));
        }
    }
    faults
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .flat_map(|key| spec[key].as_array().into_iter().flatten())
}

#[test]
fn every_pod_keeps_the_restricted_standard() {
    for (name, values) in VARIANTS {
        for object in render(values) {
            let Some((_, spec)) = pod(&object) else { continue };
            let is_ours = object["metadata"]["name"] != "lab-kinex-localstack";
            let faults = if is_ours { faults(spec) } else { shared_faults(spec) };
            assert!(faults.is_empty(), "{name}: {}: {faults:?}", title(&object));
        }
    }
}

#[test]
fn only_the_operator_has_a_token_for_the_api_server() {
    for (name, values) in VARIANTS {
        for object in render(values) {
            if object["kind"] == "ServiceAccount" {
                assert_eq!(
                    object["automountServiceAccountToken"],
                    false,
                    "{name}: {}",
                    title(&object)
                );
            }
            let Some((_, spec)) = pod(&object) else { continue };
            let wanted = object["metadata"]["name"] == "lab-kinex-operator";
            assert_eq!(
                spec["automountServiceAccountToken"],
                wanted,
                "{name}: {}",
                title(&object)
            );
        }
    }
}

#[test]
fn every_server_is_probed() {
    for (name, values) in VARIANTS {
        for object in render(values).iter().filter(|object| object["kind"] == "Deployment") {
            for container in containers(pod(object).unwrap().1) {
                let ports: Vec<&Value> = container["ports"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|p| &p["name"])
                    .collect();
                for probe in ["livenessProbe", "readinessProbe"] {
                    let port = &container[probe]["httpGet"]["port"];
                    assert!(ports.contains(&port), "{name}: {}: {probe}", title(object));
                }
            }
        }
    }
}

#[test]
fn the_token_of_localstack_comes_by_reference() {
    let objects = render(&["backend=localstack", "localstack.token.secretName=token"]);
    let localstack = crate::helm::object(&objects, "Deployment", "lab-kinex-localstack");
    let container = &pod(localstack).unwrap().1["containers"][0];
    assert_eq!(container["image"], "localstack/localstack:4.14.0");
    let env = container["env"].as_array().unwrap();
    let token = env.iter().find(|v| v["name"] == "LOCALSTACK_AUTH_TOKEN").unwrap();
    assert_eq!(
        token["valueFrom"]["secretKeyRef"],
        json!({"name": "token", "key": "auth-token"})
    );
    assert!(token["value"].is_null());
    let objects = render(&["backend=localstack"]);
    let localstack = crate::helm::object(&objects, "Deployment", "lab-kinex-localstack");
    let env = &pod(localstack).unwrap().1["containers"][0]["env"];
    assert!(
        env.as_array()
            .unwrap()
            .iter()
            .all(|v| v["name"] != "LOCALSTACK_AUTH_TOKEN")
    );
}

#[test]
fn an_image_is_named_by_tag_or_by_digest() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    for (values, wanted) in [
        (vec![], "kinex:0.1.0".to_owned()),
        (vec!["image.tag=dev".to_owned()], "kinex:dev".to_owned()),
        (
            vec![
                "image.repository=registry.example/kinex".to_owned(),
                format!("image.digest={digest}"),
            ],
            format!("registry.example/kinex@{digest}"),
        ),
    ] {
        let objects = render(&values.iter().map(String::as_str).collect::<Vec<_>>());
        for object in &objects {
            if let Some((_, spec)) = pod(object) {
                assert_eq!(spec["containers"][0]["image"], wanted, "{}", title(object));
            }
        }
        let operator = crate::helm::object(&objects, "Deployment", "lab-kinex-operator");
        let arguments = texts(&pod(operator).unwrap().1["containers"][0]["args"]);
        assert!(
            arguments.contains(&format!("--image={wanted}").as_str()),
            "{arguments:?}"
        );
    }
}

#[test]
fn the_charts_version_is_that_of_the_program() {
    let manifest = read("Cargo.toml".as_ref());
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = "))
        .unwrap();
    let chart: Value = serde_saphyr::from_str(&read("charts/kinex/Chart.yaml".as_ref())).unwrap();
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key].as_str().unwrap(), version.trim_matches('"'), "{key}");
    }
    assert!(files(&["Chart.yaml"]).len() == 1);
}
