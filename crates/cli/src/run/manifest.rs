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
    let mut document = kinex_api::document(&text, &name).map_err(|error| Stop::usage(error.to_string()))?;
    for change in &changes {
        apply(&mut document, change)?;
    }
    validated(
        &format!("{name} with --set {}", changes.join(" --set ")),
        &document.to_string(),
    )
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read(path).and_then(|bytes| decoded(&bytes)).map_err(|source| {
        let advice = "give the path of a KinesisExperiment manifest, such as deploy/experiments/rebalance.yaml";
        Stop::usage(format!("cannot read {}", path.display()))
            .next(advice)
            .source(source)
            .into()
    })
}

/// The text of a file. One that begins with a mark in UTF-16 is in UTF-16: PowerShell writes such files, and kubectl reads
/// them.
fn decoded(bytes: &[u8]) -> std::io::Result<String> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let text = std::str::from_utf8(bytes).map(str::to_owned);
            return text.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        }
    };
    let units = bytes[2..].chunks(2).map(|pair| match pair {
        [one, other] => unit([*one, *other]),
        // Half of a character is none.
        _ => 0xd800,
    });
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

fn validated(name: &str, text: &str) -> anyhow::Result<Spec> {
    let mut manifest = kinex_api::load(text, name).map_err(|error| Stop::usage(error.to_string()))?;
    if let (None, Some(prefix)) = (&manifest.metadata.name, &manifest.metadata.generate_name) {
        // As the API server does it, so that every run has tables of its own.
        let drawn = uuid::Uuid::new_v4().simple().to_string();
        manifest.metadata.name = Some(format!("{prefix}{}", &drawn[..5]));
    }
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
    fn file_in_utf_16_is_read_by_its_mark() {
        let units: Vec<u16> = "name: größe".encode_utf16().collect();
        let bytes = |mark: [u8; 2], unit: fn(u16) -> [u8; 2]| {
            let rest = units.iter().flat_map(|one| unit(*one));
            mark.into_iter().chain(rest).collect::<Vec<u8>>()
        };
        assert_eq!(decoded(&bytes([0xff, 0xfe], u16::to_le_bytes)).unwrap(), "name: größe");
        assert_eq!(decoded(&bytes([0xfe, 0xff], u16::to_be_bytes)).unwrap(), "name: größe");
        assert_eq!(decoded("name: größe".as_bytes()).unwrap(), "name: größe");
        assert!(decoded(&[0xff, 0xfe, b'a']).is_err());
        assert!(decoded(&[b'a', 0xff]).is_err());
    }

    #[test]
    fn a_change_without_a_value_is_refused() {
        assert!(apply(&mut Value::Null, "strategy").is_err());
    }
}
