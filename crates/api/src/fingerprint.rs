//! Whether two manifests agree on what a verdict rests on.

use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::KinesisExperimentSpec;
use crate::types::{Balance, Consumers, Producer, Report};

/// The fingerprint of everything but `run`, `replicas` and `ttlSecondsAfterFinished`, which may change during a run.
///
/// What equals its default is left out: a later version, which knows more fields, comes to the same.
pub(crate) fn of(spec: &KinesisExperimentSpec) -> String {
    let mut agreed = object(spec);
    for field in ["run", "replicas", "ttlSecondsAfterFinished", "operatorClass"] {
        agreed.remove(field);
    }
    let defaults = [
        ("consumers", object(&Consumers::default())),
        ("producer", object(&Producer::default())),
        ("balance", object(&Balance::default())),
        ("report", object(&Report::default())),
    ];
    for (part, default) in defaults {
        if let Some(Value::Object(part)) = agreed.get_mut(part) {
            part.retain(|key, value| default.get(key) != Some(value));
        }
    }
    let mut agreed = Value::Object(agreed);
    // So that the order of fields in the types does not matter.
    agreed.sort_all_objects();
    let digest = Md5::digest(agreed.to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn object(part: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(part) {
        Ok(Value::Object(map)) => map,
        // The wire types are structs with text keys.
        other => unreachable!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::load;

    fn of(spec: &str) -> String {
        let text =
            format!("apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {{name: one}}\nspec:\n{spec}");
        super::of(&load(&text, "one").unwrap_or_else(|error| panic!("{error}")).spec)
    }

    const PLAIN: &str = "  stream: {name: s}\n  steps: [{name: w, waitUntilBalanced: {}}]\n";

    #[test]
    fn run_and_replicas_do_not_count() {
        assert_eq!(
            of(PLAIN),
            of(&format!(
                "{PLAIN}  replicas: 7\n  run: {{state: Paused, deadline: 5m}}\n"
            ))
        );
    }

    #[test]
    fn value_that_is_the_default_does_not_count() {
        assert_eq!(
            of(PLAIN),
            of(&format!(
                "{PLAIN}  consumers: {{maxLeasesPerWorker: 10}}\n  balance: {{maxImbalance: 1}}\n"
            ))
        );
    }

    #[test]
    fn everything_else_counts() {
        let others = [
            "  stream: {name: t}\n  steps: [{name: w, waitUntilBalanced: {}}]\n",
            "  stream: {name: s}\n  steps: [{name: w, waitUntilBalanced: {maxImbalance: 2}}]\n",
            "  stream: {name: s}\n  preset: scale-only\n",
        ];
        let more = [
            "consumers: {failoverAfter: 9s}",
            "producer: {recordsPerSecond: 1}",
            "balance: {maxImbalance: 0}",
            "report: {history: 1}",
        ];
        let more = more.map(|line| format!("{PLAIN}  {line}\n"));
        for other in others.into_iter().map(str::to_owned).chain(more) {
            assert_ne!(of(PLAIN), of(&other), "{other}");
        }
    }
}
