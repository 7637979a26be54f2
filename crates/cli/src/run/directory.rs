//! The directory of a run: one run at a time, by a lock that ends with its holder.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use kinex_core::experiment::{Spec, Status};

use crate::endpoint::{LOCK_FILE, RUN_FILE, RunFile};
use crate::exit::{Code, Stop};

/// Others hold the lock for a moment, to see whether a run is at work.
const LOCK_TRIES: u32 = 20;
/// From one try to the next.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The directory, locked.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The kernel lets go of it however this process ends.
    _lock: Option<File>,
    told: bool,
}

impl Directory {
    /// Makes the directory with its logs, and locks it.
    ///
    /// # Errors
    /// When another run is at work there, or it cannot be written to.
    pub(super) fn take(report: Option<&Path>, spec: &Spec) -> anyhow::Result<Self> {
        let path = report.map_or_else(|| named(spec), Path::to_owned);
        let logs = path.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let lock = lock(&path)?;
        // What an earlier run left says nothing about this one.
        for stale in [RUN_FILE, "status.json"] {
            let _ = std::fs::remove_file(path.join(stale));
        }
        Ok(Self {
            path,
            _lock: lock,
            told: false,
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says where the run's endpoints are, for other commands.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn announce(&self, file: &RunFile) -> anyhow::Result<()> {
        let path = self.path.join(RUN_FILE);
        std::fs::write(&path, serde_json::to_string_pretty(file)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes back what was announced.
    pub(super) fn withdraw(&self) {
        let _ = std::fs::remove_file(self.path.join(RUN_FILE));
    }

    /// Stores the status, as a whole or not at all. Nobody goes on from it, so a disk that is full does not end a run;
    /// it is said once.
    pub(super) fn store(&mut self, status: &Status) {
        let path = self.path.join("status.json");
        let draft = path.with_extension("json.new");
        let text = serde_json::to_string_pretty(status).expect("a status is JSON");
        let stored = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &path));
        if let Err(error) = stored
            && !std::mem::replace(&mut self.told, true)
        {
            eprintln!("warning: cannot write {}: {error}; the run goes on", path.display());
        }
    }

    /// Writes the files of the report; what cannot be written is said, and the others are written all the same.
    ///
    /// # Errors
    /// The files that could not be written, in words.
    pub(super) fn write<'a>(&self, files: impl IntoIterator<Item = (&'a str, String)>) -> Result<(), String> {
        let failed = files.into_iter().filter_map(|(name, text)| {
            let error = std::fs::write(self.path.join(name), text).err()?;
            Some(format!("{name}: {error}"))
        });
        let failed: Vec<_> = failed.collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed.join("; "))
        }
    }
}

fn named(spec: &Spec) -> PathBuf {
    let time = jiff::Timestamp::now().to_string();
    let time: String = time.chars().take(19).filter(|c| *c != '-' && *c != ':').collect();
    PathBuf::from("reports").join(format!("{}-{time}", spec.name))
}

fn lock(directory: &Path) -> anyhow::Result<Option<File>> {
    let path = directory.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    let message = format!("another run is at work in {}", directory.display());
    Err(Stop::new(Code::Usage, message)
        .next("wait for its end, or choose another --report DIR")
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let text = "apiVersion: kinex.dev/v1alpha1\nkind: KinesisExperiment\nmetadata: {name: one}\nspec:\n  stream: {name: one, initialShards: 1}\n  steps: [{name: w, waitUntilBalanced: {}}]\n";
        kinex_api::convert(&kinex_api::load(text, "one").unwrap()).unwrap()
    }

    #[test]
    fn directory_of_a_living_run_is_refused_to_a_second_one() {
        let parent = tempfile::tempdir().unwrap();
        let first = Directory::take(Some(parent.path()), &spec()).unwrap();
        let refused = Directory::take(Some(parent.path()), &spec()).unwrap_err();
        assert!(refused.to_string().contains("another run is at work"), "{refused}");
        drop(first);
        Directory::take(Some(parent.path()), &spec()).unwrap();
    }

    #[test]
    fn directory_left_behind_with_a_living_pid_is_taken() {
        let parent = tempfile::tempdir().unwrap();
        // As in a container: the next process has the number of the one that was killed.
        let stale = format!(
            "{{\"pid\": {}, \"stream\": \"s\", \"application\": \"a\"}}",
            std::process::id()
        );
        std::fs::write(parent.path().join(RUN_FILE), stale).unwrap();
        std::fs::write(parent.path().join(LOCK_FILE), "").unwrap();
        Directory::take(Some(parent.path()), &spec()).unwrap();
        assert!(!parent.path().join(RUN_FILE).exists());
    }
}
