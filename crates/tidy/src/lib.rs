//! Rules of this repository, as tests.
//!
//! What a reviewer would otherwise have to remember: which crate may know which, where dependencies are declared, how
//! long a file may grow, that links lead somewhere. There is no code here besides what the tests share.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate lies in crates/");
    crates.parent().expect("crates/ lies in the root").to_path_buf()
}

/// Every file that belongs to the repository and ends in one of `endings`, as paths below the root, sorted.
///
/// Build output, run output and hidden folders are left out.
pub fn files(endings: &[&str]) -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let path = entry.expect("an entry of the repository can be read").path();
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | "logs" | "reports" | "node_modules") && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(
                    path.strip_prefix(&root)
                        .expect("it was found below the root")
                        .to_path_buf(),
                );
            }
        }
    }
    found.sort();
    found
}

/// The text of a file below the root.
pub fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
