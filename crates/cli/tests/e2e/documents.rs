//! What is generated and committed is what the program prints.

use std::collections::BTreeSet;

use crate::support::{Emulator, alone, json, kinex, play_text, root, stdout};

#[test]
fn the_published_schema_is_that_of_the_program() {
    let path = root().join("docs/summary.schema.json");
    let printed = stdout(kinex().arg("schema"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &printed).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(published, printed, "refresh with UPDATE=1");
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            stdout(kinex().args(["completions", shell])).contains("view-dist"),
            "{shell}"
        );
    }
    assert!(stdout(kinex().arg("man")).contains("kinex"));
    let directory = tempfile::tempdir().unwrap();
    stdout(kinex().args(["man", "--directory"]).arg(directory.path()));
    assert!(directory.path().join("kinex-run.1").exists());
}

#[test]
fn the_manifests_of_the_repository_are_valid() {
    let files = std::fs::read_dir(root().join("deploy/experiments")).unwrap();
    let files: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    let validated = json(kinex().arg("validate").args(&files));
    for file in validated["files"].as_array().unwrap() {
        assert_eq!(file["ok"], true, "{file:#}");
    }
}

#[test]
fn the_crd_is_yaml_that_names_the_kind() {
    assert!(stdout(kinex().arg("crd")).contains("kind: KinesisExperiment"));
}

#[test]
fn the_commands_of_the_runbooks_exist() {
    let runbooks = std::fs::read_dir(root().join("docs/runbooks")).unwrap();
    let pages = runbooks.map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for page in pages.chain([root().join("docs/metrics.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("$ kinex ")) {
            let mut words = line.split_whitespace();
            let help = stdout(kinex().arg(words.next().unwrap()).arg("--help"));
            for flag in words.filter(|word| word.starts_with("--")) {
                assert!(
                    help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
                    "{}: {line}: no {flag}",
                    page.display()
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} commands were found");
}

/// `service.Api` of every action of a program's printed policy.
fn allowed(program: &str) -> BTreeSet<String> {
    let policy = json(kinex().args(["iam", program, "--account", "123456789012"]));
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|one| one["Action"].as_array().unwrap());
    actions
        .map(|action| action.as_str().unwrap().replace(':', "."))
        .collect()
}

#[test]
fn the_printed_policies_allow_what_an_experiment_asks_of_aws_and_no_more() {
    let _alone = alone();
    let emulator = Emulator::start(&[]);
    let manifest = "apiVersion: kinex.dev/v1alpha1
kind: KinesisExperiment
metadata: {name: rights}
spec:
  stream: {name: rights, initialShards: 4, creationPolicy: CreateIfMissing, deletionPolicy: Delete}
  replicas: 2
  producer: {recordsPerSecond: 40}
  balance: {stableFor: 1s, timeout: 1m}
  steps:
  - {name: steady, waitUntilBalanced: {}}
  - {name: split, split: {count: 1}}
  - {name: merge, merge: {count: 1}}
  - {name: resize, updateShardCount: {target: 6}}
  - {name: three, scale: {replicas: 3}}
  - {name: even, waitUntilBalanced: {}}
  - {name: verify, assert: {all: [{name: none, expr: 'records.missing == 0'}]}}
";
    play_text(manifest, &["--endpoint-url", &emulator.url]).passed();
    let asked: BTreeSet<String> = emulator.requests().into_keys().collect();
    let allowed: BTreeSet<String> = ["operator", "consumer", "producer"]
        .into_iter()
        .flat_map(allowed)
        .collect();
    let lacking: Vec<_> = asked.difference(&allowed).collect();
    assert!(lacking.is_empty(), "no policy allows {lacking:?}");
    let unused: Vec<_> = allowed.difference(&asked).collect();
    assert!(unused.is_empty(), "nothing needs {unused:?}");
}
