//! The report of a run: a page for people, an interface for programs, and the raw lines.

pub mod chart;
pub mod csv;
pub mod html;
pub mod markdown;
pub mod recording;
pub mod summary;

#[cfg(test)]
mod sample;

use recording::Recording;

/// Every file of the report, by its name.
///
/// # Errors
/// When the page's template is broken, which a test would have found.
pub fn files(run: &Recording) -> anyhow::Result<[(&'static str, String); 5]> {
    Ok([
        ("summary.json", serde_json::to_string_pretty(&run.summary)? + "\n"),
        ("timeline.csv", csv::timeline(run)),
        ("leases.csv", csv::leases(&run.leases)),
        ("report.md", markdown::page(run)),
        ("report.html", html::page(run)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_every_file_and_its_summary_is_read_back() {
        let run = sample::recording();
        let files = files(&run).unwrap();
        // For a look at the page: KEEP=DIR keeps the report of this made-up run.
        if let Some(directory) = std::env::var_os("KEEP") {
            for (name, text) in &files {
                std::fs::write(std::path::Path::new(&directory).join(name), text).unwrap();
            }
        }
        for (name, text) in &files {
            assert!(!text.is_empty(), "{name}");
        }
        let summary: summary::Summary = serde_json::from_str(&files[0].1).unwrap();
        assert_eq!(summary, run.summary);
    }

    #[test]
    fn dropped_records_show_by_reason_in_every_report() {
        let mut run = sample::recording();
        let records = run.summary.records.as_mut().unwrap();
        records.dropped = [("out-of-range".to_owned(), 310)].into();
        let files = files(&run).unwrap();
        for wanted in ["summary.json", "report.md", "report.html"] {
            let (_, text) = files.iter().find(|(name, _)| *name == wanted).unwrap();
            assert!(text.contains("out-of-range") && text.contains("310"), "{wanted}");
        }
    }
}
