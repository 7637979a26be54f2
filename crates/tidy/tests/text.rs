//! How files read: headers, lengths, links, words that do not belong here.

use std::path::Path;

use kinex_tidy::{files, read, root};

/// Past this a file holds more than one concern.
const LINES_MAX: usize = 800;

#[test]
fn every_rust_file_says_what_it_is_for() {
    for path in files(&[".rs"]) {
        let text = read(&path);
        let first = text.lines().find(|l| !l.trim().is_empty() && !l.starts_with("#!["));
        assert!(
            first.is_some_and(|l| l.starts_with("//!")),
            "{}: begin with a `//!` line",
            path.display()
        );
    }
}

#[test]
fn no_rust_file_outgrows_its_concern() {
    for path in files(&[".rs"]) {
        let lines = read(&path).lines().count();
        assert!(
            lines <= LINES_MAX,
            "{}: {lines} lines; look for the seam",
            path.display()
        );
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for path in files(&[".md"]) {
        let text = read(&path);
        let folder = root().join(path.parent().unwrap_or(Path::new("")));
        for target in targets(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:") || file.is_empty();
            if !outside && !folder.join(file).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// What the inline links and images of a Markdown text point to.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](").filter_map(|(at, _)| {
        let rest = &text[at + 2..];
        rest.split([')', ' ', '\n'])
            .next()
            .filter(|t| !t.is_empty() && !t.contains(['`', '{']))
    })
}

#[test]
fn no_file_names_the_host_of_a_package_registry() {
    // Written in halves, so that this file does not name them either.
    let hosts = [
        ["crates", ".io"],
        ["static.rust", "-lang.org"],
        ["registry.npm", "js.org"],
        ["pypi", ".org"],
        ["proxy.golang", ".org"],
        ["repo.maven.apache", ".org"],
        ["repo1.maven", ".org"],
        ["deb.debian", ".org"],
    ]
    .map(|halves| halves.concat());
    for path in files(&[
        "",
        ".rs",
        ".md",
        ".toml",
        ".yaml",
        ".sh",
        ".json",
        ".xml",
        "Makefile",
        "Dockerfile",
    ]) {
        // The lock file's source lines name the index; cargo writes them.
        if path.ends_with("Cargo.lock") || is_binary(&path) {
            continue;
        }
        let text = read(&path);
        for host in &hosts {
            assert!(!text.contains(host.as_str()), "{} names {host}", path.display());
        }
    }
}

fn is_binary(path: &Path) -> bool {
    std::fs::read(root().join(path)).is_ok_and(|bytes| std::str::from_utf8(&bytes).is_err())
}
