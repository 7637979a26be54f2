//! What a program still waits for before it is ready.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The things that must be there before the program can do its work. A cheap handle; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeSet<&'static str>>>);

impl Health {
    /// Waits for each of these.
    pub fn waiting_for(things: impl IntoIterator<Item = &'static str>) -> Self {
        Self(Arc::new(Mutex::new(things.into_iter().collect())))
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
    pub fn missing(&self) -> Vec<&'static str> {
        self.things().iter().copied().collect()
    }

    fn things(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
