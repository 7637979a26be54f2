//! The report of a run: one directory with a page for people, an interface for programs, and the raw lines.

pub(crate) mod chart;
pub(crate) mod csv;
pub(crate) mod diff;
pub(crate) mod html;
pub(crate) mod markdown;
pub(crate) mod recording;
pub(crate) mod summary;

#[cfg(test)]
pub(crate) mod sample;

use std::path::Path;

use anyhow::Context;

use recording::Recording;
use summary::Summary;

/// Writes every file of the report into the directory, which is made when missing.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(directory: &Path, run: &Recording) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let files = [
        ("summary.json", serde_json::to_string_pretty(&run.summary)? + "\n"),
        ("timeline.csv", csv::timeline(run)),
        ("leases.csv", csv::leases(&run.leases)),
        ("report.md", markdown::page(run)),
        ("report.html", html::page(run)?),
    ];
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Reads the summary of a report, given its directory or the file itself.
///
/// # Errors
/// When there is none, or it is not one.
pub(crate) fn read(path: &Path) -> anyhow::Result<Summary> {
    let file = if path.is_dir() {
        path.join("summary.json")
    } else {
        path.to_owned()
    };
    let advice = "give the directory of a report, as `kinex run --report DIR` writes it";
    let text = std::fs::read_to_string(&file).map_err(|source| {
        crate::exit::Stop::usage(format!("cannot read {}", file.display()))
            .next(advice)
            .source(source)
    })?;
    serde_json::from_str(&text).map_err(|source| {
        crate::exit::Stop::usage(format!("{} is no summary of a run", file.display()))
            .next(advice)
            .source(source)
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_report_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        // For a look at the page: KEEP=DIR keeps the report of this made-up run.
        let kept = std::env::var_os("KEEP").map(std::path::PathBuf::from);
        let directory = kept.as_deref().unwrap_or(directory.path());
        let run = sample::recording();
        write(directory, &run).unwrap();
        assert_eq!(read(directory).unwrap(), run.summary);
        for name in ["report.html", "report.md", "timeline.csv", "leases.csv"] {
            assert!(directory.join(name).metadata().unwrap().len() > 0, "{name}");
        }
    }
}
