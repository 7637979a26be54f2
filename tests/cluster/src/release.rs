//! Kinex installed by its chart in a namespace of a test's own.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::{Namespace, helm, install_definition, until};

/// The image that the cluster was given: see the folder's README.
const IMAGE: &str = "image.tag=dev";

/// How Helm waits: it asks again and again. The watch that Helm 4.3 waits with otherwise works out an object's states side by
/// side and may hear an older one last; then it gives up at once on what has just become ready.
const WAIT: &str = "--wait=legacy";

/// A release of the chart. At its end its experiments are deleted while their operator still runs, then the release.
#[derive(Debug)]
pub struct Release {
    namespace: Namespace,
    installed: bool,
}

impl Release {
    /// Installs the chart as `kinex` into the namespace `NAME-PROCESS`, with more values, and waits until it is ready.
    ///
    /// # Panics
    /// When Helm or the API server refuses it, or it does not become ready.
    #[must_use]
    pub fn install(name: &str, values: &[&str]) -> Self {
        install_definition().expect("the API server takes the definition");
        let release = Self {
            namespace: Namespace::create(name),
            installed: true,
        };
        let mut arguments = vec![
            "install",
            "kinex",
            "charts/kinex",
            WAIT,
            "--timeout",
            "3m",
            "--take-ownership",
        ];
        arguments.extend(["--namespace", release.namespace.name()]);
        // One definition serves the releases of all tests; a test that wants the chart's own says so.
        for value in [IMAGE, "crd.install=false"].iter().chain(values) {
            arguments.extend(["--set", value]);
        }
        helm(arguments).ok().expect("the chart can be installed");
        release
    }

    /// Upgrades the release with more values, and waits until it is ready again.
    ///
    /// # Panics
    /// When Helm refuses it, or it does not become ready.
    pub fn upgrade(&self, values: &[&str]) {
        let namespace = self.namespace.name();
        let mut arguments = vec!["upgrade", "kinex", "charts/kinex", "--reuse-values", WAIT];
        arguments.extend(["--timeout", "3m", "--namespace", namespace]);
        for value in values {
            arguments.extend(["--set", value]);
        }
        helm(arguments).ok().expect("the release can be upgraded");
    }

    /// Its namespace, where its experiments are.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Applies a manifest.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub fn apply(&self, manifest: &str) {
        self.namespace
            .kubectl_with(manifest, ["apply", "-f", "-"])
            .ok()
            .expect("the manifest is accepted");
    }

    /// The experiment of this name.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn experiment(&self, name: &str) -> anyhow::Result<Value> {
        self.namespace.get(&format!("kex/{name}"))
    }

    /// Waits until the run has a verdict, and returns its status.
    ///
    /// # Panics
    /// When it has none within `limit`.
    #[must_use]
    pub fn verdict(&self, name: &str, limit: Duration) -> Value {
        until(&format!("{name} has ended"), limit, || {
            let status = self.experiment(name)?["status"].take();
            match status["phase"].as_str() {
                Some("Succeeded" | "Failed" | "Aborted") => Ok(status),
                _ => Err(anyhow::anyhow!("{status:#}")),
            }
        })
        .value
    }

    /// Waits until a step is at work or past, and returns the status then.
    ///
    /// # Panics
    /// When it has not begun within `limit`.
    #[must_use]
    pub fn begun(&self, name: &str, step: &str, limit: Duration) -> Value {
        until(&format!("{name}: {step} has begun"), limit, || {
            let status = self.experiment(name)?["status"].take();
            let there = step_of(&status, step).is_some();
            if there {
                Ok(status)
            } else {
                Err(anyhow::anyhow!("{status:#}"))
            }
        })
        .value
    }

    /// Waits for the condition that says what is in the way of an experiment.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn stalled(&self, name: &str, reason: &str, says: &str) {
        until(&format!("{name} is stalled: {reason}"), Duration::from_secs(60), || {
            let status = self.experiment(name)?["status"].take();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let found = conditions.iter().any(|condition| {
                let message = condition["message"].as_str().unwrap_or_default();
                condition["type"] == "Stalled"
                    && condition["status"] == "True"
                    && condition["reason"] == reason
                    && message.contains(says)
            });
            if found {
                Ok(())
            } else {
                Err(anyhow::anyhow!("{conditions:#?}"))
            }
        });
    }

    /// Ends the operator's process by SIGKILL, with the kubelet's means: no grace. Returns the pod that was killed.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_operator(&self) -> String {
        let pod = self.operator().expect("an operator runs");
        self.namespace
            .kubectl(["delete", &pod, "--grace-period=0", "--force", "--wait=false"])
            .ok()
            .expect("the pod can be killed");
        pod
    }

    /// The operator's pod, as `pod/NAME`.
    ///
    /// # Errors
    /// There is none.
    pub fn operator(&self) -> anyhow::Result<String> {
        let names = self
            .namespace
            .kubectl([
                "get",
                "pods",
                "-o",
                "name",
                "-l",
                "app.kubernetes.io/component=operator",
            ])
            .ok()?;
        Ok(names.lines().next().context("there is no operator")?.to_owned())
    }

    /// Scales the operator and waits until that many are there.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn scale_operator(&self, replicas: usize) {
        self.scale("deployment/kinex-operator", "operator", replicas);
    }

    /// Takes the pod of the embedded endpoints away, with all that it holds, and waits until it is gone.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn remove_endpoint(&self) {
        self.scale("deployment/kinex-embedded", "endpoint", 0);
    }

    fn scale(&self, deployment: &str, component: &str, replicas: usize) {
        let flag = format!("--replicas={replicas}");
        self.namespace
            .kubectl(["scale", deployment, &flag])
            .ok()
            .expect("a deployment scales");
        let label = format!("app.kubernetes.io/component={component}");
        until(&format!("{deployment} is scaled"), Duration::from_secs(60), || {
            let pods = ["get", "pods", "-o", "name", "-l", &label];
            let there = self.namespace.kubectl(pods).ok()?.lines().count();
            if there == replicas {
                Ok(())
            } else {
                Err(anyhow::anyhow!("{there} are there"))
            }
        });
    }

    /// Uninstalls the release.
    ///
    /// # Panics
    /// When Helm cannot.
    pub fn uninstall(&mut self) {
        helm([
            "uninstall",
            "kinex",
            WAIT,
            "--timeout",
            "2m",
            "--namespace",
            self.namespace.name(),
        ])
        .ok()
        .expect("the release can be uninstalled");
        self.installed = false;
    }

    /// Waits until nothing of an uninstalled release is left.
    ///
    /// # Panics
    /// When something stays.
    pub fn left_nothing(&self) {
        until("nothing of the release is left", Duration::from_secs(90), || {
            let left = self.namespace.objects()?;
            if left.is_empty() {
                Ok(())
            } else {
                Err(anyhow::anyhow!("{left:?}"))
            }
        });
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.namespace.write_diagnosis();
        }
        if self.installed {
            // Whatever state the operator is in: a finalizer that nobody answers would hold the namespace for ever.
            let deleted = self.namespace.kubectl(["delete", "kex", "--all", "--timeout=30s"]);
            if !deleted.success {
                let names = self.namespace.kubectl(["get", "kex", "-o", "name"]).stdout;
                for name in names.lines() {
                    let none = r#"{"metadata": {"finalizers": null}}"#;
                    self.namespace.kubectl(["patch", name, "--type=merge", "-p", none]);
                }
            }
            helm(["uninstall", "kinex", "--namespace", self.namespace.name()]);
        }
    }
}

/// The result of a step, when it has begun.
#[must_use]
pub fn step_of<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["steps"].as_array()?.iter().find(|step| step["name"] == name)
}
