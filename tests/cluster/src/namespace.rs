//! A namespace of a test's own.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;

use serde_json::Value;

use crate::{Answer, kubectl, kubectl_with, logs};

/// What a release and its experiments are made of. `all` leaves out half of it.
const KINDS: &str = "kinesisexperiments,statefulsets,deployments,replicasets,controllerrevisions,jobs,pods,services,\
                     endpointslices,configmaps,secrets,serviceaccounts,roles,rolebindings,poddisruptionbudgets,\
                     networkpolicies,leases";

/// A namespace that is deleted at the end of its test. When the test fails, its objects, events and logs are written to
/// [`logs`] first.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace `NAME-PROCESS`, which admits only pods that keep the `restricted` standard.
    ///
    /// # Panics
    /// When the API server refuses it.
    #[must_use]
    pub fn create(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        kubectl(["create", "namespace", &name])
            .ok()
            .expect("a namespace can be made");
        let standard = "pod-security.kubernetes.io/enforce=restricted";
        kubectl(["label", "namespace", &name, standard])
            .ok()
            .expect("a namespace can be labelled");
        Self { name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs kubectl in this namespace.
    pub fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        kubectl(self.with_flag(arguments))
    }

    /// Runs kubectl in this namespace with a text on its input.
    pub fn kubectl_with<A: AsRef<OsStr>>(&self, input: &str, arguments: impl IntoIterator<Item = A>) -> Answer {
        kubectl_with(input, self.with_flag(arguments))
    }

    /// An object, as JSON.
    ///
    /// # Errors
    /// What kubectl says when it cannot be had.
    pub fn get(&self, object: &str) -> anyhow::Result<Value> {
        self.kubectl(["get", object, "-o", "json"]).json()
    }

    /// Everything in it that a release or an experiment could leave behind, as `KIND/NAME`.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn objects(&self) -> anyhow::Result<BTreeSet<String>> {
        let names = self.kubectl(["get", KINDS, "-o", "name", "--ignore-not-found"]).ok()?;
        let short = |line: &str| {
            let (kind, name) = line.split_once('/').unwrap_or((line, ""));
            format!("{}/{name}", kind.split('.').next().unwrap_or(kind))
        };
        let own = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
        Ok(names
            .lines()
            .map(short)
            .filter(|object| !own.contains(&object.as_str()))
            .collect())
    }

    fn with_flag<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Vec<std::ffi::OsString> {
        let flags = ["--namespace", &self.name].map(std::ffi::OsString::from);
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        flags.into_iter().chain(arguments).collect()
    }

    /// Writes its objects, events and the logs of its pods to [`logs`].
    pub(crate) fn write_diagnosis(&self) {
        let folder = logs().join(&self.name);
        if let Err(error) = fs::create_dir_all(&folder) {
            eprintln!("{}: {error}", folder.display());
            return;
        }
        let of = "all,kinesisexperiments,configmaps,poddisruptionbudgets,networkpolicies,leases";
        let keep = |file: &str, answer: Answer| {
            let _ = fs::write(folder.join(file), format!("{}{}", answer.stdout, answer.stderr));
        };
        keep("objects.txt", self.kubectl(["get", of, "-o", "wide"]));
        keep("objects.yaml", self.kubectl(["get", of, "-o", "yaml"]));
        keep(
            "events.txt",
            self.kubectl(["get", "events", "--sort-by=.lastTimestamp"]),
        );
        keep("described.txt", self.kubectl(["describe", "pods"]));
        let pods = self.kubectl(["get", "pods", "-o", "name"]).stdout;
        for pod in pods.lines() {
            let file = pod.replace('/', "-");
            let flags = ["--all-containers", "--prefix", "--timestamps"];
            keep(
                &format!("{file}.log"),
                self.kubectl(["logs", pod].into_iter().chain(flags)),
            );
            let before = self.kubectl(["logs", "--previous", pod].into_iter().chain(flags));
            if before.success {
                keep(&format!("{file}-before.log"), before);
            }
        }
        eprintln!("what the cluster looked like is in {}", folder.display());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.write_diagnosis();
        }
        if let Err(error) = kubectl(["delete", "namespace", &self.name, "--wait=false"]).ok() {
            eprintln!("{error:#}");
        }
    }
}
