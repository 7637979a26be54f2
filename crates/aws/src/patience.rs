//! Asking again at the start of a program, where an endpoint may come up later than its users.

use std::time::Duration;

use kinex_kcl::ports::{Fault, FaultKind};
use tokio::time::Instant;
use tracing::{info, warn};

/// How long an endpoint that does not answer is asked: services that start together find each other within it, and a
/// mistyped address is reported before its user has gone away.
const PATIENCE: Duration = Duration::from_secs(15);

/// The first pause; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);

/// How often something that is not there yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// Asks again for up to 15 s while the fault is one that may pass: throttled, unreachable, or trouble in the service.
/// What is asked must do no harm when it is done twice.
///
/// # Errors
/// The last fault; at once when asking again cannot help.
pub async fn patiently<T, F, Fut>(ask: F) -> Result<T, Fault>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, Fault>>,
{
    let start = Instant::now();
    let mut next = PAUSE;
    loop {
        let fault = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        let Some(pause) = pause(fault.kind, next, start.elapsed()) else {
            return Err(fault);
        };
        warn!(error = %fault, "asked again in {pause:?}");
        tokio::time::sleep(pause).await;
        next = pause * 2;
    }
}

/// As [`patiently`], and for as long as it takes while what is asked for is not there: for programs whose stream and
/// tables somebody else is about to make.
///
/// # Errors
/// As [`patiently`], but never `Missing`.
pub async fn in_time<T, F, Fut>(ask: F) -> Result<T, Fault>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, Fault>>,
{
    let mut told = false;
    loop {
        match patiently(&ask).await {
            Err(fault) if fault.kind == FaultKind::Missing => {
                if !std::mem::replace(&mut told, true) {
                    info!(error = %fault, "not there yet: waits for it");
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            answer => return answer,
        }
    }
}

/// How long to wait before asking again; `None`: not at all.
fn pause(fault: FaultKind, next: Duration, waited: Duration) -> Option<Duration> {
    let pause = next.min(PAUSE_MAX);
    match fault {
        FaultKind::Throttled | FaultKind::Unreachable | FaultKind::Incomplete | FaultKind::Service => {
            (waited + pause <= PATIENCE).then_some(pause)
        }
        FaultKind::Missing
        | FaultKind::StreamReplaced
        | FaultKind::Denied
        | FaultKind::Rejected
        | FaultKind::Invalid
        | FaultKind::IteratorExpired => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// The pauses between questions that are answered at once, in milliseconds.
    fn pauses(fault: FaultKind) -> Vec<u128> {
        let (mut next, mut waited, mut pauses) = (PAUSE, Duration::ZERO, Vec::new());
        while let Some(pause) = pause(fault, next, waited) {
            pauses.push(pause.as_millis());
            waited += pause;
            next = pause * 2;
        }
        pauses
    }

    #[test]
    fn what_may_pass_is_asked_again_for_fifteen_seconds_and_nothing_else() {
        for kind in [FaultKind::Throttled, FaultKind::Unreachable, FaultKind::Service] {
            assert_eq!(pauses(kind), [200, 400, 800, 1600, 3000, 3000, 3000, 3000], "{kind:?}");
        }
        for kind in [FaultKind::Missing, FaultKind::Denied, FaultKind::Invalid] {
            assert!(pauses(kind).is_empty(), "{kind:?}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_comes_up_late_is_found() {
        let asked = AtomicU32::new(0);
        let answer = patiently(|| async {
            let turn = asked.fetch_add(1, Ordering::Relaxed);
            if turn > 0 {
                Ok(turn)
            } else {
                Err(fault(FaultKind::Unreachable))
            }
        });
        assert_eq!(answer.await.expect("the second answer is good"), 1);
        let denied = patiently(|| async { Err::<(), _>(fault(FaultKind::Denied)) });
        assert_eq!(denied.await.expect_err("never allowed").kind, FaultKind::Denied);
    }

    #[tokio::test]
    async fn what_is_not_there_yet_is_waited_for_where_somebody_makes_it() {
        let asked = AtomicU32::new(0);
        let answer = in_time(|| async {
            let turn = asked.fetch_add(1, Ordering::Relaxed);
            if turn > 1 {
                Ok(turn)
            } else {
                Err(fault(FaultKind::Missing))
            }
        });
        assert_eq!(answer.await.expect("the third answer is good"), 2);
        let denied = in_time(|| async { Err::<(), _>(fault(FaultKind::Denied)) });
        assert_eq!(denied.await.expect_err("never allowed").kind, FaultKind::Denied);
    }

    fn fault(kind: FaultKind) -> Fault {
        Fault {
            kind,
            request: "Ask".into(),
            message: String::new(),
            source: None,
        }
    }
}
