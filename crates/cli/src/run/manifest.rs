//! The manifest of a run, with what the command line changes in it.

use std::path::Path;

use kinex_core::experiment::Spec;
use serde_json::Value;

use super::Args;
use crate::exit::Stop;

/// Reads and validates a manifest.
///
/// # Errors
/// Every problem with its place.
pub(crate) fn load(path: &Path) -> anyhow::Result<Spec> {
    validated(&path.display().to_string(), &read(path)?)
}

/// The experiment that the command line asks for.
///
/// # Errors
/// Every problem with its place.
pub(crate) fn spec(args: &Args) -> anyhow::Result<Spec> {
    let name = args.manifest.display().to_string();
    let text = read(&args.manifest)?;
    let mut changes = args.set.clone();
    changes.extend(args.deadline.iter().map(|deadline| format!("run.deadline={deadline}")));
    // Without changes the text itself is validated, so that problems come with their lines.
    let spec = validated(&name, &text)?;
    if changes.is_empty() {
        return Ok(spec);
    }
    let mut document: Value =
        serde_saphyr::from_str(&text).map_err(|error| Stop::usage(format!("{name} cannot be read")).source(error))?;
    for change in &changes {
        apply(&mut document, change)?;
    }
    validated(
        &format!("{name} with --set {}", changes.join(" --set ")),
        &document.to_string(),
    )
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|source| {
        let advice = "give the path of a KinesisExperiment manifest, such as deploy/experiments/rebalance.yaml";
        Stop::usage(format!("cannot read {}", path.display()))
            .next(advice)
            .source(source)
            .into()
    })
}

fn validated(name: &str, text: &str) -> anyhow::Result<Spec> {
    let manifest = kinex_api::load(text, name).map_err(|error| Stop::usage(error.to_string()))?;
    kinex_api::convert(&manifest).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Stop::usage(format!("{name}: {}", lines.join("\n       "))).into()
    })
}

/// Applies one `FIELD=VALUE`.
fn apply(document: &mut Value, change: &str) -> anyhow::Result<()> {
    let advice =
        "write FIELD=VALUE, FIELD being a path below spec or a field of spec.consumers: --set strategy=Stealing";
    let refused = || Stop::usage(format!("`{change}` is no change of a manifest")).next(advice);
    let (field, value) = change.split_once('=').ok_or_else(refused)?;
    let value: Value = serde_saphyr::from_str(value).map_err(|_| refused())?;
    let path = match field {
        "replicas" | "preset" => vec!["spec", field],
        _ if field.contains('.') => {
            let path = field.strip_prefix("spec.").unwrap_or(field);
            std::iter::once("spec").chain(path.split('.')).collect()
        }
        _ => vec!["spec", "consumers", field],
    };
    let mut place = document;
    for key in path {
        let object = match place {
            Value::Null => {
                *place = Value::Object(serde_json::Map::new());
                place
            }
            place => place,
        };
        place = object
            .as_object_mut()
            .ok_or_else(refused)?
            .entry(key)
            .or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: &str, expected: &str) {
        let mut document = serde_json::json!({ "spec": { "replicas": 3 } });
        apply(&mut document, change).unwrap();
        assert_eq!(document.to_string(), expected, "{change}");
    }

    #[test]
    fn a_change_finds_its_field() {
        check(
            "strategy=Stealing",
            r#"{"spec":{"consumers":{"strategy":"Stealing"},"replicas":3}}"#,
        );
        check("replicas=5", r#"{"spec":{"replicas":5}}"#);
        check(
            "producer.recordsPerSecond=100",
            r#"{"spec":{"producer":{"recordsPerSecond":100},"replicas":3}}"#,
        );
        check(
            "spec.run.deadline=5m",
            r#"{"spec":{"replicas":3,"run":{"deadline":"5m"}}}"#,
        );
    }

    #[test]
    fn a_change_without_a_value_is_refused() {
        assert!(apply(&mut Value::Null, "strategy").is_err());
    }
}
