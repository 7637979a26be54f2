//! The image: what the Dockerfile copies is there, its stages exist, and the builder gets what it needs.
//!
//! Nothing here runs Docker. What its last stage holds is made by `deploy/image/root`, which is run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kinex_tidy::{files, read, root};

/// The instructions of the Dockerfile, with continued lines joined.
fn instructions() -> Vec<(String, Vec<String>)> {
    let text = read("Dockerfile".as_ref()).replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().unwrap(), words.collect())
        })
        .collect()
}

/// Whether a path reaches the builder: the last line of `.dockerignore` that names it or a folder above it decides.
fn reaches_builder(path: &Path) -> bool {
    let mut reaches = true;
    for line in read(".dockerignore".as_ref())
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (pattern, verdict) = line.strip_prefix('!').map_or((line, false), |pattern| (pattern, true));
        let named = match (pattern, pattern.strip_prefix("**/")) {
            ("*", _) => true,
            (_, Some(name)) => path.components().any(|part| part.as_os_str() == name),
            (plain, None) => path.starts_with(plain),
        };
        if named {
            reaches = verdict;
        }
    }
    reaches
}

#[test]
fn stages_and_what_they_copy_exist() {
    let mut stages = BTreeSet::new();
    let mut arguments = BTreeSet::new();
    for (instruction, words) in instructions() {
        match instruction.as_str() {
            "ARG" => {
                arguments.insert(words[0].split('=').next().unwrap().to_owned());
            }
            "FROM" => {
                let base = words[0].strip_prefix("${").and_then(|name| name.strip_suffix('}'));
                match base {
                    Some(name) => assert!(arguments.contains(name), "FROM {name}: no such argument"),
                    None => assert!(stages.contains(&words[0]), "FROM {}: no such stage", words[0]),
                }
                if words.get(1).is_some_and(|word| word == "AS") {
                    stages.insert(words[2].clone());
                }
            }
            "COPY" => {
                if let Some(stage) = words[0].strip_prefix("--from=") {
                    assert!(stages.contains(stage), "COPY {stage}: no such stage");
                } else {
                    for source in &words[..words.len() - 1] {
                        assert!(root().join(source).exists(), "COPY {source}: no such file");
                    }
                }
            }
            "RUN" | "LABEL" | "USER" | "WORKDIR" | "ENV" | "EXPOSE" | "ENTRYPOINT" => {}
            other => panic!("an instruction that nobody has thought of: {other}"),
        }
    }
    assert_eq!(stages.into_iter().collect::<Vec<_>>(), ["build", "chef", "plan"]);
}

#[test]
fn it_is_one_program_of_a_plain_user() {
    let of = |name: &str| -> Vec<Vec<String>> {
        let all = instructions()
            .into_iter()
            .filter(|(instruction, _)| instruction == name);
        all.map(|(_, words)| words).collect()
    };
    assert_eq!(of("USER"), [["10001:10001"]]);
    assert_eq!(of("ENTRYPOINT"), [[r#"["/usr/local/bin/kinex"]"#]]);
    let bases: Vec<String> = of("ARG").into_iter().map(|words| words[0].clone()).collect();
    assert_eq!(
        bases,
        [
            "RUST_IMAGE=rust:1.95-slim-bookworm",
            "RUNTIME_IMAGE=scratch",
            "VERSION=dev"
        ]
    );
}

#[test]
fn the_builder_gets_all_that_cargo_reads() {
    // The context as Docker would send it: manifests and what they lead to must be whole.
    let context = tempfile::tempdir().unwrap();
    let wanted = |path: &PathBuf| reaches_builder(path);
    for path in files(&[""]).into_iter().filter(wanted) {
        let copy = context.path().join(&path);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(root().join(&path), &copy).unwrap();
    }
    let out = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--no-deps",
        ])
        .current_dir(context.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for path in files(&[".rs"]).into_iter().filter(wanted) {
        let text = read(&path);
        for name in ["include_str!(\"", "include_bytes!(\""] {
            for (at, _) in text.match_indices(name) {
                let file = text[at + name.len()..].split('"').next().unwrap();
                let included = context.path().join(path.parent().unwrap()).join(file);
                assert!(
                    included.exists(),
                    "{}: {file} does not reach the builder",
                    path.display()
                );
            }
        }
    }
    for path in ["deploy/image/root", "Cargo.lock", "LICENSE"] {
        assert!(context.path().join(path).exists(), "{path}");
    }
    for path in ["README.md", "charts", "docs/report.png", "deploy/experiments"] {
        assert!(
            !context.path().join(path).exists(),
            "{path} would build the program again for nothing"
        );
    }
}

#[test]
fn the_root_of_the_image_holds_what_the_program_needs() {
    let made = tempfile::tempdir().unwrap();
    // Any executable of this machine will do; this one has shared objects.
    let program = std::env::current_exe().unwrap();
    let out = Command::new(root().join("deploy/image/root"))
        .args([program.as_path(), made.path()])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let there = |path: &str| made.path().join(path);
    for path in [
        "usr/local/bin/kinex",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/share/licenses/kinex/LICENSE",
    ] {
        assert!(there(path).is_file(), "{path}");
    }
    assert!(
        std::fs::read_to_string(there("etc/passwd"))
            .unwrap()
            .contains(":10001:10001:")
    );
    assert!(there("tmp").is_dir());
    // The loader of the image itself resolves every object that the program names, with nothing from outside.
    let linked = Command::new("ldd").arg(&program).output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    let objects = linked.split_whitespace().filter(|word| word.starts_with('/'));
    let mut count = 0;
    for object in objects {
        assert!(there(object.trim_start_matches('/')).is_file(), "{object}");
        count += 1;
    }
    assert!(count >= 2, "a program without shared objects proves nothing: {linked}");
}
