//! What the README tells a reader to type.

use std::process::Command;

use crate::support::{kinex, output, root, stdout};

/// The lines behind `$ ` in the README's consoles.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .map(str::to_owned)
        .collect();
    assert!(lines.len() > 4, "the README shows commands");
    lines
}

#[test]
fn every_kinex_command_of_the_readme_is_understood() {
    for line in commands() {
        let Some(arguments) = line.strip_prefix("kinex ") else {
            continue;
        };
        // Behind arguments that are wrong, --help is an error.
        let said = output(kinex().args(arguments.split_whitespace()).arg("--help"));
        assert!(
            said.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}

#[test]
fn every_make_target_of_the_readme_exists() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let targets: Vec<&str> = text
        .split("`make ")
        .skip(1)
        .filter_map(|rest| rest.split(['`', ' ']).next())
        .collect();
    assert!(targets.len() > 10, "the README names targets: {targets:?}");
    for target in targets {
        let mut make = Command::new("make");
        let said = output(
            make.current_dir(root())
                .args(["--no-print-directory", "--dry-run", target]),
        );
        assert!(
            said.status.success(),
            "make {target}: {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}

#[test]
fn the_quick_manifest_of_the_readme_is_valid() {
    let shown = commands();
    let line = shown.iter().find(|line| line.starts_with("kinex validate")).unwrap();
    let arguments = line.split_whitespace().skip(1);
    assert!(stdout(kinex().args(arguments)).contains("ok"));
}
