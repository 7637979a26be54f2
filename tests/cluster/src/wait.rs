//! Waiting for a condition, with a limit.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a wait came to: the value, and how long it took.
#[derive(Debug)]
pub struct Waited<T> {
    /// What made the condition true.
    pub value: T,
    /// From the call until it was seen.
    pub after: Duration,
}

/// Looks until `look` gives a value, at most for `limit`. `Err` of `look` is what it saw instead.
///
/// # Panics
/// When the limit is reached, with what was seen last.
pub fn until<T, E: Debug>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> Waited<T> {
    let began = Instant::now();
    loop {
        let seen = match look() {
            Ok(value) => {
                return Waited {
                    value,
                    after: began.elapsed(),
                };
            }
            Err(seen) => seen,
        };
        assert!(
            began.elapsed() < limit,
            "not so within {limit:?}: {what}; seen last: {seen:#?}"
        );
        std::thread::sleep(LOOK_EVERY);
    }
}
