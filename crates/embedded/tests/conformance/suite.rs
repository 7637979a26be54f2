//! What a check is, and how its outcome is told.

use std::fmt::{self, Display};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use tokio::sync::Semaphore;

/// A check that takes longer hangs.
const CHECK_WITHIN: Duration = Duration::from_secs(60);
/// Checks that run at a time: they mostly wait for streams to become ACTIVE. No more than five streams may be CREATING.
const TOGETHER: usize = 4;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Checked = Result<Facts, Failure>;

/// A named fact about an API and the requests that find out whether it holds.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) run: Pin<Box<dyn Future<Output = Checked>>>,
}

/// `checks![context; "fact" => function, ...]`
macro_rules! checks {
    ($at:expr; $($name:literal => $function:path,)*) => {
        vec![$(crate::suite::Check { name: $name, run: Box::pin($function(Clone::clone($at))) },)*]
    };
}
pub(crate) use checks;

/// The parts of a fact: which held, and which did not.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    held: usize,
    failed: Vec<String>,
}

impl Facts {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One part: whether it holds.
    pub(crate) fn holds(&mut self, holds: bool, what: impl Display) {
        if holds {
            self.held += 1;
        } else {
            self.failed.push(what.to_string());
        }
    }

    /// One part: two values are the same.
    pub(crate) fn same<T: PartialEq + fmt::Debug>(&mut self, found: T, expected: T, what: &str) {
        self.holds(
            found == expected,
            format_args!("{what}: {found:?} instead of {expected:?}"),
        );
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Partly,
    No,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Partly => "partly",
            Self::No => "no",
        })
    }
}

/// What a check found.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) why: String,
}

/// The checks of a service.
pub(crate) struct Checks {
    /// Run several at a time: each keeps to streams and tables of its own.
    pub(crate) together: Vec<Check>,
    /// Run one after the other, after the others.
    pub(crate) alone: Vec<Check>,
}

impl Checks {
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.together
            .iter()
            .chain(&self.alone)
            .map(|check| check.name)
            .collect()
    }
}

/// Runs all checks, as local tasks.
pub(crate) async fn run(checks: Checks) -> Vec<Finding> {
    tokio::task::LocalSet::new().run_until(run_locally(checks)).await
}

async fn run_locally(checks: Checks) -> Vec<Finding> {
    let Checks { together, alone } = checks;
    let at_a_time = Rc::new(Semaphore::new(TOGETHER));
    let mut running = Vec::new();
    for check in together {
        let turns = Rc::clone(&at_a_time);
        running.push(tokio::task::spawn_local(async move {
            let _turn = turns.acquire().await;
            find_out(check).await
        }));
    }
    let mut findings = Vec::new();
    for finding in running {
        findings.push(finding.await.expect("what a check does is caught in a task of its own"));
    }
    for check in alone {
        findings.push(find_out(check).await);
    }
    findings
}

async fn find_out(check: Check) -> Finding {
    let Check { name, run } = check;
    let (outcome, why) = match tokio::time::timeout(CHECK_WITHIN, tokio::task::spawn_local(run)).await {
        Err(_) => (Outcome::No, format!("no end after {CHECK_WITHIN:?}")),
        Ok(Err(panic)) => (Outcome::No, panic.to_string()),
        Ok(Ok(Err(error))) => (Outcome::No, chain(error.as_ref())),
        Ok(Ok(Ok(Facts { failed, .. }))) if failed.is_empty() => (Outcome::Ok, String::new()),
        Ok(Ok(Ok(Facts { held: 0, failed }))) => (Outcome::No, failed.join("; ")),
        Ok(Ok(Ok(Facts { failed, .. }))) => (Outcome::Partly, failed.join("; ")),
    };
    Finding { name, outcome, why }
}

/// The error's name as the service gives it; `ok` for a success.
pub(crate) fn code<T, E, R>(result: Result<T, SdkError<E, R>>) -> String
where
    E: ProvideErrorMetadata + fmt::Debug,
    R: fmt::Debug,
{
    match result {
        Ok(_) => "ok".to_owned(),
        Err(SdkError::ServiceError(error)) => error.err().code().unwrap_or("nameless").to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// Asks again until the answer is `Some`, for 20 s at most.
pub(crate) async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let asking = async {
        loop {
            if let Some(found) = ask().await? {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .map_err(|_| format!("never: {what}"))?
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
