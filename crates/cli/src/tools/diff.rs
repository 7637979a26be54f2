//! `kinex diff`: two reports side by side.

use std::path::Path;

use kinex_stage::report::summary::Summary;

use super::comparison::Comparison;
use crate::exit::{Code, Stop};
use crate::output::{Format, show};

/// Prints the comparison.
pub(crate) fn run(a: &Path, b: &Path, output: Format) -> anyhow::Result<Code> {
    let (first, second) = (read(a)?, read(b)?);
    let (a, b) = (a.display().to_string(), b.display().to_string());
    show(output, &Comparison::of((&a, &first), (&b, &second)))?;
    Ok(Code::Done)
}

/// Reads the summary of a report, given its directory or the file itself.
fn read(path: &Path) -> anyhow::Result<Summary> {
    let file = if path.is_dir() {
        path.join("summary.json")
    } else {
        path.to_owned()
    };
    let advice = "give the directory of a report, as `kinex run --report DIR` writes it";
    let refuse = |what: String, source: anyhow::Error| Stop::usage(what).next(advice).source(source);
    let text = std::fs::read_to_string(&file)
        .map_err(|source| refuse(format!("cannot read {}", file.display()), source.into()))?;
    let summary = serde_json::from_str(&text)
        .map_err(|source| refuse(format!("{} is no summary of a run", file.display()), source.into()))?;
    Ok(summary)
}
