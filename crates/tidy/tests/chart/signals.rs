//! Dashboards, alerts and monitors come through unchanged, and only where they are wanted.

use std::path::Path;

use kinex_tidy::{files, read};
use serde_json::Value;

use crate::helm::{of_kind, render};

fn below(folder: &str, ending: &str) -> Vec<(String, String)> {
    let folder = Path::new("charts/kinex").join(folder);
    let all = files(&[ending])
        .into_iter()
        .filter(|path| path.parent() == Some(&folder));
    all.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(&path)))
        .collect()
}

#[test]
fn every_dashboard_is_a_labelled_config_map() {
    let objects = render(&["dashboards.namespace=monitoring"]);
    let maps: Vec<&Value> = of_kind(&objects, "ConfigMap")
        .filter(|map| map["metadata"]["labels"]["grafana_dashboard"] == "1")
        .collect();
    let dashboards = below("dashboards", ".json");
    assert_eq!(maps.len(), dashboards.len());
    for (file, text) in dashboards {
        let map = maps
            .iter()
            .find(|map| map["data"][&file].is_string())
            .unwrap_or_else(|| panic!("no {file}"));
        assert_eq!(map["metadata"]["namespace"], "monitoring");
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(read(map["data"][&file].as_str().unwrap()), read(&text), "{file}");
    }
    let none = render(&["dashboards.enabled=false"]);
    assert!(of_kind(&none, "ConfigMap").all(|map| map["metadata"]["labels"]["grafana_dashboard"].is_null()));
}

#[test]
fn every_file_of_alerts_is_a_rule() {
    let objects = render(&[
        "metrics.prometheusRule.enabled=true",
        "metrics.prometheusRule.labels.release=monitoring",
    ]);
    let rules: Vec<&Value> = of_kind(&objects, "PrometheusRule").collect();
    let alerts = below("alerts", ".yaml");
    assert_eq!(rules.len(), alerts.len());
    let read = |file: &str, text: &str| -> Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    for (file, text) in &alerts {
        let rule = rules.iter().find(|rule| rule["spec"] == read(file, text));
        let rule = rule.unwrap_or_else(|| panic!("{file} is not there as it is"));
        assert_eq!(rule["metadata"]["labels"]["release"], "monitoring");
    }
    // With an address, the pages are found from anywhere.
    let objects = render(&[
        "metrics.prometheusRule.enabled=true",
        "metrics.prometheusRule.runbookUrl=https://wiki.example.com/kinex/",
    ]);
    let rules: Vec<&Value> = of_kind(&objects, "PrometheusRule").collect();
    for (file, text) in &alerts {
        let wanted = read(file, &text.replace("docs/runbooks/", "https://wiki.example.com/kinex/"));
        assert!(rules.iter().any(|rule| rule["spec"] == wanted), "{file}");
    }
}

#[test]
fn monitors_are_made_on_demand_and_find_what_they_scrape() {
    let kinds = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];
    assert!(
        render(&[])
            .iter()
            .all(|object| !kinds.contains(&object["kind"].as_str().unwrap()))
    );
    let objects = render(&[
        "metrics.serviceMonitor.enabled=true",
        "metrics.podMonitor.enabled=true",
        "watchNamespaces={team-a,team-b}",
    ]);
    let service = of_kind(&objects, "ServiceMonitor").next().unwrap();
    let operator = crate::helm::object(&objects, "Service", "lab-kinex-operator");
    let selector = &service["spec"]["selector"]["matchLabels"];
    assert!(crate::helm::has_labels(&operator["metadata"]["labels"], selector));
    assert_eq!(
        service["spec"]["endpoints"][0]["port"],
        operator["spec"]["ports"][0]["name"]
    );
    let pods = of_kind(&objects, "PodMonitor").next().unwrap();
    assert_eq!(
        pods["spec"]["namespaceSelector"]["matchNames"],
        serde_json::json!(["team-a", "team-b"])
    );
    assert_eq!(pods["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
}
