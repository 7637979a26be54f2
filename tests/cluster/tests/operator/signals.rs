//! Prometheus on the cluster, as `deploy/kind/prometheus.yaml` has it: it finds operator, consumers and producer by
//! their labels, and counts the leases as the table does.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use kinex_cluster_tests::{Endpoint, Namespace, Release, root, until};
use serde_json::{Value, json};

const WATCHED: &str = "
apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: watched}
spec:
  stream: {name: watched, initialShards: 6, deletionPolicy: Delete}
  replicas: 3
  producer: {recordsPerSecond: 20}
  balance: {stableFor: 1s, timeout: 3m}
  steps:
  - {name: steady, waitUntilBalanced: {}}
  - {name: hold, pause: {for: 10m}}
";

/// The manifest as it is shipped, and the image that it names.
fn shipped() -> (String, String) {
    let text = fs::read_to_string(root().join("deploy/kind/prometheus.yaml")).unwrap();
    let image = text.lines().find_map(|line| line.trim().strip_prefix("image: "));
    let image = image.unwrap().to_owned();
    (text, image)
}

/// The manifest, with everything in one namespace, without a port on the nodes, and with the image that the cluster has.
fn manifest(namespace: &str) -> String {
    let (text, shipped) = shipped();
    let mut changes = vec![
        ("namespace: monitoring".to_owned(), format!("namespace: {namespace}")),
        ("namespace: kinex".to_owned(), format!("namespace: {namespace}")),
        ("names: [kinex]".to_owned(), format!("names: [{namespace}]")),
        (", nodePort: 30090".to_owned(), String::new()),
    ];
    if let Ok(image) = std::env::var("KINEX_PROMETHEUS_IMAGE") {
        changes.push((shipped, image));
    }
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the manifest");
        text.replace(from, to)
    })
}

struct Prometheus<'a>(&'a Namespace);

impl<'a> Prometheus<'a> {
    /// Has the cluster run it, with the chart's alerts as `make kind-up` gives them.
    fn start(namespace: &'a Namespace) -> Self {
        let alerts = [
            "create",
            "configmap",
            "kinex-alerts",
            "--from-file=charts/kinex/alerts/",
        ];
        namespace.kubectl(alerts).ok().unwrap();
        namespace
            .kubectl_with(&manifest(namespace.name()), ["apply", "-f", "-"])
            .ok()
            .unwrap();
        let rollout = ["rollout", "status", "deployment/prometheus", "--timeout=3m"];
        namespace.kubectl(rollout).ok().unwrap();
        Self(namespace)
    }

    /// What its API says, asked through the API server.
    fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let at = format!(
            "/api/v1/namespaces/{}/services/prometheus:http/proxy/api/v1/{path}",
            self.0.name()
        );
        Ok(self.0.kubectl(["get", "--raw", &at]).json()?["data"].take())
    }

    /// The sum of a metric that counts, by one of its labels.
    fn by(&self, label: &str, metric: &str) -> anyhow::Result<BTreeMap<String, u64>> {
        let answer = self.ask(&format!("query?query=sum%20by%20({label})%20({metric})"))?;
        let series = answer["result"].as_array().into_iter().flatten();
        series
            .map(|one| {
                let name = one["metric"][label].as_str().unwrap_or_default();
                let value = one["value"][1].as_str().unwrap_or_default();
                let count = value.parse().with_context(|| format!("{metric}: {one}"))?;
                Ok((name.to_owned(), count))
            })
            .collect()
    }
}

#[test]
#[ignore = "needs a cluster: make cluster-test"]
fn prometheus_scrapes_every_program_and_counts_leases_as_the_table_does() {
    let release = Release::install("signals", &[]);
    release.apply(WATCHED);
    let prometheus = Prometheus::start(release.namespace());
    let _ = release.begun("watched", "hold", Duration::from_secs(180));
    let version = prometheus.ask("status/buildinfo").unwrap()["version"].take();
    let tag = format!(":v{}", version.as_str().unwrap());
    assert!(
        shipped().1.ends_with(&tag),
        "another version is tested than is shipped: {tag}"
    );

    let programs = BTreeMap::from([
        ("consumer".to_owned(), 3),
        ("operator".to_owned(), 1),
        ("producer".to_owned(), 1),
    ]);
    until("every program is scraped", Duration::from_secs(90), || {
        let up = prometheus.by("component", "up")?;
        if up == programs {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{up:?}"))
        }
    });

    let endpoint = Endpoint::open(release.namespace()).unwrap();
    let counted = until("its lease counts are the table's", Duration::from_secs(60), || {
        let table = endpoint.leases("watched", "watched")?;
        let (by_consumers, by_operator) = (
            prometheus.by("worker", "kinex_leases_owned")?,
            prometheus.by("worker", "kinex_worker_leases")?,
        );
        let even = table.len() == 3 && table.values().all(|leases| *leases == 2);
        if even && by_consumers == table && by_operator == table {
            Ok(table)
        } else {
            Err(anyhow::anyhow!("{table:?} {by_consumers:?} {by_operator:?}"))
        }
    });
    println!("table and both counts: {:?}", counted.value);

    until(
        "every alert is evaluated and none fires",
        Duration::from_secs(60),
        || {
            let groups = prometheus.ask("rules")?["groups"].take();
            let rules: Vec<&Value> = groups
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|group| group["rules"].as_array().into_iter().flatten())
                .collect();
            let quiet = |rule: &&Value| rule["health"] == "ok" && rule["state"] != "firing";
            if !rules.is_empty() && rules.iter().all(quiet) {
                println!("{} alerts, none fires", rules.len());
                Ok(())
            } else {
                Err(anyhow::anyhow!("{:#}", json!(rules)))
            }
        },
    );
}
