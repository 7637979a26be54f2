//! Which crate may know which.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Crate -> the crates of this repository that it may use outside its tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("kinex-api", &["kinex-core"]),
    ("kinex-aws", &["kinex-core", "kinex-kcl"]),
    (
        "kinex-cli",
        &[
            "kinex-api",
            "kinex-aws",
            "kinex-consumer",
            "kinex-core",
            "kinex-embedded",
            "kinex-kcl",
            "kinex-operator",
            "kinex-producer",
            "kinex-sim",
            "kinex-stage",
            "kinex-telemetry",
        ],
    ),
    ("kinex-cluster-tests", &[]),
    (
        "kinex-consumer",
        &["kinex-aws", "kinex-core", "kinex-kcl", "kinex-telemetry"],
    ),
    ("kinex-core", &[]),
    ("kinex-embedded", &[]),
    ("kinex-kcl", &["kinex-core"]),
    (
        "kinex-operator",
        &[
            "kinex-api",
            "kinex-aws",
            "kinex-core",
            "kinex-kcl",
            "kinex-stage",
            "kinex-telemetry",
        ],
    ),
    ("kinex-producer", &["kinex-aws", "kinex-core", "kinex-telemetry"]),
    ("kinex-sim", &["kinex-core"]),
    ("kinex-stage", &["kinex-aws", "kinex-core", "kinex-kcl"]),
    ("kinex-telemetry", &[]),
    ("kinex-tidy", &[]),
];

/// Crates outside that only one crate of ours may use.
const RESERVED: &[(&str, &str)] = &[("aws-sdk-", "kinex-aws"), ("dynoxide-rs", "kinex-embedded")];

/// What may never stand below a pure crate.
const NOT_IN_CORE: &[&str] = &["tokio", "axum", "kube", "rustix", "uuid", "tracing"];

fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(kinex_tidy::root())
        .output()
        .expect("cargo starts");
    assert!(
        out.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let all: Value = serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON");
    all["packages"]
        .as_array()
        .cloned()
        .expect("the metadata lists the packages")
}

fn name(package: &Value) -> &str {
    package["name"].as_str().expect("a package has a name")
}

/// Names of the dependencies of a package, those of its tests left out.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"]
        .as_array()
        .expect("a package lists its dependencies");
    all.iter().filter(|d| d["kind"] != "dev").map(name).collect()
}

#[test]
fn every_arrow_between_crates_is_in_the_table() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(name).collect();
    let listed: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, listed, "the table names every crate, and no other");
    for package in &packages {
        let name = name(package);
        let (_, allowed) = ARROWS.iter().find(|(n, _)| *n == name).unwrap();
        for dependency in dependencies(package).iter().filter(|d| d.starts_with("kinex-")) {
            assert!(allowed.contains(dependency), "{name} must not know {dependency}");
        }
    }
}

#[test]
fn the_sdk_and_the_database_each_have_one_user() {
    for package in packages() {
        let name = name(&package);
        for dependency in dependencies(&package) {
            for (prefix, user) in RESERVED {
                assert!(
                    !dependency.starts_with(prefix) || name == *user,
                    "{name} must not use {dependency}"
                );
            }
        }
    }
}

#[test]
fn the_core_has_nothing_that_waits_below_it() {
    let packages = packages();
    let core = packages.iter().find(|p| name(p) == "kinex-core").unwrap();
    for dependency in dependencies(core) {
        assert!(
            !NOT_IN_CORE.contains(&dependency),
            "kinex-core must not use {dependency}"
        );
    }
}

#[test]
fn dependencies_are_declared_once_in_the_workspace() {
    for manifest in kinex_tidy::files(&["Cargo.toml"]) {
        if manifest.components().count() == 1 {
            continue;
        }
        let text = kinex_tidy::read(&manifest);
        let mut inside = false;
        for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim())) {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if inside && line.contains('=') && !line.starts_with('#') {
                let shared = line.contains("workspace = true");
                assert!(
                    shared,
                    "{}:{number}: `{line}`: declare it in the root manifest",
                    manifest.display()
                );
            }
        }
    }
}
