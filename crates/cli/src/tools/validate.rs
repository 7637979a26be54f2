//! `kinex validate` and `crd`: manifests without a cluster.

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Code;
use crate::output::{Format, Shown, line, show, table};

/// What was found in each file.
#[derive(Debug, Serialize)]
struct Validated {
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
struct File {
    file: String,
    ok: bool,
    said: String,
}

impl Shown for Validated {
    fn text(&self, _wide: bool) -> String {
        let rows = self.files.iter().map(|file| {
            vec![
                file.file.clone(),
                if file.ok { "ok" } else { "REFUSED" }.to_owned(),
                file.said.clone(),
            ]
        });
        table(["file", "", ""], rows.collect())
    }
}

/// Validates files; exit code 2 when any is refused.
pub(crate) fn validate(files: &[PathBuf], output: Format) -> anyhow::Result<Code> {
    let files: Vec<_> = files
        .iter()
        .map(|path| {
            let spec = crate::run::load(path);
            File {
                file: path.display().to_string(),
                ok: spec.is_ok(),
                said: match spec {
                    Ok(spec) => format!("{} with {} steps", spec.name, spec.steps.len()),
                    Err(error) => format!("{error:#}"),
                },
            }
        })
        .collect();
    let sound = files.iter().all(|file| file.ok);
    show(output, &Validated { files })?;
    Ok(if sound { Code::Done } else { Code::Usage })
}

/// Prints the CustomResourceDefinition.
pub(crate) fn crd() -> anyhow::Result<Code> {
    line(kinex_api::crd_yaml().trim_end())?;
    Ok(Code::Done)
}
