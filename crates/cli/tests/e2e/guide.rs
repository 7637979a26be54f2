//! The guide's whole experiment.

use serde_json::json;

use crate::support::{alone, play, root};

#[test]
fn the_guides_experiment_passes() {
    let _alone = alone();
    let manifest = root().join("deploy/experiments/rebalance.yaml");
    let played = play(&manifest, &["--set", "balance.stableFor=3s"]);
    played.passed();
    let mut first = played.counts(0);
    first.sort_unstable();
    assert_eq!(first, [6, 7, 7]);
    assert_eq!(played.counts(1), [10, 10, 10]);
    assert_eq!(played.counts(2), [6, 6, 6, 6, 6]);
    let phases = &played.summary["phases"];
    assert_eq!(phases[1]["stream"], json!({ "total": 40, "open": 30, "closed": 10 }));
    for phase in phases.as_array().unwrap() {
        assert_eq!(phase["moves"], phase["movesMinimum"], "{phase:#}");
    }
    assert_eq!(phases[2]["moves"], 12);
    let lineage = &played.summary["lineage"];
    assert_eq!(lineage["children"], 20);
    assert_eq!(lineage["childrenStartedBeforeParentEnd"], 20);
    let records = &played.summary["records"];
    assert_eq!(
        (&records["missing"], &records["duplicates"]),
        (&json!(0), &json!(0)),
        "{records:#}"
    );
    assert!(played.number("/records/produced") > 100.0, "{records:#}");
    conforms(&played.summary);
    for name in ["report.html", "report.md", "timeline.csv", "leases.csv", "status.json"] {
        assert!(played.directory.path().join(name).exists(), "{name}");
    }
    assert!(!played.directory.path().join("run.json").exists());
}

/// The summary is as its published schema says.
fn conforms(summary: &serde_json::Value) {
    let schema = std::fs::read_to_string(root().join("docs/summary.schema.json")).unwrap();
    let schema = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator.iter_errors(summary).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
