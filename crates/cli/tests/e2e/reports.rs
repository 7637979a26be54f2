//! `kinex report`: the words and the exit code follow the verdict.

use serde_json::json;

use crate::support::{kinex, output};

/// A report of a run with this verdict, as a file in a directory.
fn report(verdict: &str, message: Option<&str>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let summary = json!({
        "experiment": "quick", "stream": "quick", "endpoint": "embedded", "strategy": "Balanced",
        "startedAt": "2026-01-02T03:04:05Z", "seconds": 12.5, "verdict": verdict, "message": message,
        "steps": [],
        "phases": [{
            "name": "steady", "after": "start", "leasesPerWorker": {"quick-consumer-0": 2, "quick-consumer-1": 2},
            "stream": {"total": 4, "open": 4, "closed": 0}, "imbalance": 0, "convergenceSeconds": 1.5,
            "moves": 0, "movesMinimum": 0, "unreadSecondsMax": 2.5,
        }],
        "records": {"produced": 200, "delivered": 200, "missing": 0, "duplicates": 0, "reordered": 0},
        "lineage": {"children": 0, "childrenStartedBeforeParentEnd": 0, "startDelaySecondsMax": null},
        "requests": {}, "versions": {},
    });
    std::fs::write(directory.path().join("summary.json"), summary.to_string()).unwrap();
    directory
}

#[test]
fn the_exit_code_of_a_report_is_that_of_its_verdict() {
    for (verdict, message, code) in [
        ("Pass", None, 0),
        ("Fail", Some("step steady timed out"), 1),
        ("Inconclusive", Some("somebody else scaled"), 1),
        ("Aborted", None, 1),
    ] {
        let report = report(verdict, message);
        // The directory and the file itself are both a report.
        for path in [report.path().to_owned(), report.path().join("summary.json")] {
            let out = output(kinex().arg("report").arg(path));
            let said = String::from_utf8(out.stdout).unwrap();
            assert_eq!(out.status.code(), Some(code), "{verdict}: {said}");
            assert!(said.contains(&format!("verdict: {verdict}")), "{said}");
            assert!(said.contains(message.unwrap_or("2/2")), "{said}");
        }
    }
}

#[test]
fn what_is_no_report_is_refused_with_the_next_step() {
    let empty = tempfile::tempdir().unwrap();
    let out = output(kinex().arg("report").arg(empty.path()));
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("summary.json") && said.contains("--report DIR"), "{said}");
}
