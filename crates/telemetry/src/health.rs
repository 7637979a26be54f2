//! What a program still waits for before it is ready, and what of it stands still.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The things that must be there before the program can do its work. A cheap handle; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Health {
    missing: Arc<Mutex<BTreeSet<&'static str>>>,
    checks: Arc<OnceLock<Checks>>,
}

/// What is found out at the moment of a probe.
struct Checks {
    live: Check,
    ready: Check,
}

type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checks")
    }
}

impl Health {
    /// Waits for each of these.
    pub fn waiting_for(things: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            missing: Arc::new(Mutex::new(things.into_iter().collect())),
            checks: Arc::default(),
        }
    }

    /// Asks at each probe: `live` names what stands still in this process, so that only a new one helps; `ready` names what
    /// is missing right now. The first call counts; both must answer at once.
    pub fn check(
        &self,
        live: impl Fn() -> Option<String> + Send + Sync + 'static,
        ready: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        let checks = Checks {
            live: Box::new(live),
            ready: Box::new(ready),
        };
        // A program has one set of checks.
        let _ = self.checks.set(checks);
    }

    /// Says that the thing is there.
    pub fn have(&self, thing: &'static str) {
        self.things().remove(thing);
    }

    /// Says that the thing is not there (any more).
    pub fn lack(&self, thing: &'static str) {
        self.things().insert(thing);
    }

    /// What is not there; ready when there is none.
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = self.things().iter().map(|thing| (*thing).to_owned()).collect();
        missing.extend(self.checks.get().and_then(|checks| (checks.ready)()));
        missing
    }

    /// What stands still; alive when there is none.
    pub fn stalled(&self) -> Option<String> {
        self.checks.get().and_then(|checks| (checks.live)())
    }

    fn things(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
