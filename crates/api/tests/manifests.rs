//! The manifests in `deploy/experiments`: the good ones are accepted, each bad one is refused with exactly the error in its header.
//!
//! `UPDATE=1 cargo test -p kinex-api --test manifests` writes the headers anew.

use std::path::{Path, PathBuf};

use kinex_api::{Placed, convert, load};
use kinex_core::experiment::{Action, preset};

const EXPECT: &str = "# expect: ";

fn folder(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/experiments")
        .join(below)
}

fn manifests(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (std::fs::read_to_string(&path).expect("a manifest is text"), path))
        .collect();
    found.sort_by(|a, b| a.1.cmp(&b.1));
    found
}

#[test]
fn the_manifests_for_use_are_accepted() {
    let good = manifests(&folder(""));
    assert!(good.len() >= 5, "{good:?}");
    for (text, path) in good {
        let manifest = load(&text, &path.display().to_string()).unwrap_or_else(|error| panic!("{error}"));
        let spec = convert(&manifest).unwrap();
        assert!(!spec.steps.is_empty(), "{}", path.display());
    }
}

#[test]
fn the_spelled_out_manifest_does_what_its_preset_does() {
    let kinds = |name: &str| -> Vec<Action> {
        let text = std::fs::read_to_string(folder(name)).unwrap();
        convert(&load(&text, name).unwrap())
            .unwrap()
            .steps
            .into_iter()
            .map(|step| step.action)
            .collect()
    };
    let same = |a: &Action, b: &Action| match (a, b) {
        (Action::Split { count: one, .. }, Action::Split { count: other, .. }) => one == other,
        (Action::Scale { replicas: one }, Action::Scale { replicas: other }) => one == other,
        (a, b) => a.kind() == b.kind(),
    };
    let (spelled, named) = (kinds("rebalance.yaml"), kinds("rebalance-preset.yaml"));
    assert!(
        spelled.len() == named.len() && spelled.iter().zip(&named).all(|(a, b)| same(a, b)),
        "{spelled:?} {named:?}"
    );
}

#[test]
fn the_assertions_of_every_preset_are_accepted() {
    for wanted in preset::Preset::ALL {
        let text = format!(
            "{{apiVersion: kinex.dev/v1alpha1, kind: KinesisExperiment, metadata: {{name: named}}, spec: {{preset: {}, stream: {{name: named}}}}}}",
            wanted.as_str()
        );
        load(&text, "text").unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_bad_manifest_is_refused_with_exactly_its_error() {
    let update = std::env::var_os("UPDATE").is_some();
    let bad = manifests(&folder("invalid"));
    assert!(bad.len() >= 12);
    for (text, path) in bad {
        if update {
            std::fs::write(&path, with_header(&text)).unwrap();
            continue;
        }
        let wanted: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(EXPECT)).collect();
        assert!(!wanted.is_empty(), "{} has no header", path.display());
        assert_eq!(refused(&text), wanted, "{}", path.display());
    }
}

#[test]
fn an_error_is_shown_with_the_line_and_a_mark_below_it() {
    let text = "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {name: abc}\nspec:\n  stream: {name: b}\n  replica: 3\n  preset: scale-only\n";
    let error = load(text, "a.yaml").unwrap_err().to_string();
    let wanted =
        "a.yaml:6:3: spec.replica: unknown field `replica`; did you mean `replicas`?\n  |\n6 |   replica: 3\n  |   ^";
    assert_eq!(error, wanted);
}

fn refused(text: &str) -> Vec<String> {
    let problems = load(text, "text")
        .map(|_| Vec::new())
        .unwrap_or_else(|error| error.problems);
    problems
        .into_iter()
        .map(
            |Placed {
                 problem, line, column, ..
             }| format!("{line}:{column}: {problem}"),
        )
        .collect()
}

/// The lines of a header move what is below them, so it is made twice.
fn with_header(text: &str) -> String {
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with(EXPECT))
        .map(|line| format!("{line}\n"))
        .collect();
    let head = |problems: &[String]| {
        problems
            .iter()
            .map(|problem| format!("{EXPECT}{problem}\n"))
            .collect::<String>()
    };
    let first = head(&refused(&body)) + &body;
    head(&refused(&first)) + &body
}
