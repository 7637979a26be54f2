//! `kinex report`: what a run came to, from its report.

use std::path::Path;

use kinex_stage::report::summary::Summary;

use crate::exit::{Code, Stop};
use crate::output::{Format, show};

/// Prints the closing words of the run; the exit code is that of its verdict.
pub(crate) fn run(report: &Path, output: Format) -> anyhow::Result<Code> {
    let summary = read(report)?;
    show(output, &summary)?;
    Ok(match summary.verdict.as_str() {
        "Pass" => Code::Done,
        _ => Code::VerdictFailed,
    })
}

/// Reads the summary of a report, given its directory or the file itself.
pub(super) fn read(path: &Path) -> anyhow::Result<Summary> {
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
