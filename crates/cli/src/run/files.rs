//! The limit on open files: a run serves the endpoints of its whole fleet from one process.

use kinex_core::experiment::Spec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::exit::{Code, Stop};

/// What a run has open without any worker, and what each worker adds: its log and its connections. Runs of 3 and 12 workers
/// had 64 and 116 files open at most.
const BASE: u64 = 40;
const PER_WORKER: u64 = 8;

/// Raises the soft limit on open files to the hard one.
///
/// # Errors
/// When that is less than the run's fleet needs. Later it would show as a connection that is never answered.
pub(super) fn raise_limit(spec: &Spec) -> Result<(), Stop> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // A system may refuse: then the soft limit counts.
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    // `None` is no limit.
    let limit = if raised.is_ok() { maximum } else { current };
    let workers = spec.fleet_sizes().map(|(_, workers)| workers).max().unwrap_or_default();
    let needed = BASE + PER_WORKER * u64::from(workers);
    match limit {
        Some(limit) if limit < needed => Err(Stop::new(
            Code::Failed,
            format!("this process may open {limit} files, and a fleet of {workers} needs {needed}"),
        )
        .next(format!("allow more with `ulimit -n {needed}`, then run it again"))),
        _ => Ok(()),
    }
}
