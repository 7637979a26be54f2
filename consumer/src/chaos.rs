//! Orders of an experiment that this process carries out on itself, when `--allow-chaos` lets it.
//!
//! `crash` ends the process as a kill does. `freeze MILLIS` stops it as a whole; the [`guard`] beside it lets it go on. A
//! word behind the order tells two of the same kind apart (`freeze 30000 step-3`): the same text is obeyed once by a
//! process, however often it is written, and never by another process of the same name.
//!
//! A process that is about to stop puts [`FROZEN`] before the order, and takes the order back when it goes on: whoever
//! gave it then knows how things stand.

pub mod guard;

use std::collections::BTreeSet;
use std::time::Duration;

use kinex_core::lease::Process;
use kinex_core::worker::{FROZEN, WorkerWrite};
use kinex_kcl::ports::LeaseStore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use self::guard::Guard;
use crate::identity::Identity;

/// How soon an order is seen; two more reads per second, by processes that allow it only.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What an order says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// End like a process that was killed.
    Crash,
    /// Stand still for so long.
    Freeze(Duration),
}

impl Order {
    /// `None`: not an order for this process.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        match (words.next()?, words.next()) {
            ("crash", _) => Some(Self::Crash),
            ("freeze", Some(millis)) => millis.parse().ok().map(Duration::from_millis).map(Self::Freeze),
            _ => None,
        }
    }
}

/// Looks for orders to this incarnation until cancelled.
pub(crate) async fn obey<S: LeaseStore>(store: S, identity: Identity, stop: CancellationToken) {
    let mut guard = Guard::start();
    let mut obeyed = BTreeSet::new();
    let mut frozen_until = None;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let row = match store.worker(&identity.worker).await {
            // The row of an earlier process of this name may hold an order that is none of ours.
            Ok(row) => row.filter(|row| row.incarnation == identity.incarnation),
            Err(error) => {
                debug!(%error, "orders not read");
                continue;
            }
        };
        if frozen_until.is_some_and(|until| Instant::now() >= until) {
            frozen_until = None;
            answer(&store, &identity, None).await;
            continue;
        }
        let Some(text) = row.filter(|row| !row.frozen()).and_then(|row| row.order) else {
            continue;
        };
        if !obeyed.insert(text.clone()) {
            continue;
        }
        match Order::parse(&text) {
            Some(Order::Crash) => crash(),
            Some(Order::Freeze(lasting)) => match &mut guard {
                Ok(guard) => {
                    // Said before it is done: afterwards there is nobody to say it.
                    answer(&store, &identity, Some(format!("{FROZEN} {text}"))).await;
                    warn!(millis = lasting.as_millis(), "ordered to freeze");
                    frozen_until = Some(Instant::now() + lasting);
                    if let Err(error) = guard.freeze(lasting) {
                        error!(%error, "ordered to freeze, but the process that would wake this one is gone");
                        frozen_until = Some(Instant::now());
                    }
                }
                Err(error) => error!(%error, "cannot freeze as ordered"),
            },
            None => warn!(order = text, "not an order that is known"),
        }
    }
}

/// Says in the own row how things stand. A row that cannot be written says less, and nothing that is wrong for long.
async fn answer<S: LeaseStore>(store: &S, identity: &Identity, order: Option<String>) {
    let process = Process {
        worker: identity.worker.clone(),
        incarnation: identity.incarnation.clone(),
    };
    if let Err(error) = store.write_worker(&WorkerWrite::Order { process, order }).await {
        warn!(%error, "the order's state could not be written");
    }
}

/// As pid 1 of a container without an init process the signal is ignored; abort then ends the process all the same.
fn crash() {
    warn!("ordered to crash");
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_its_words() {
        let cases = [
            ("crash", Some(Order::Crash)),
            ("crash run-1/step", Some(Order::Crash)),
            ("freeze 2000", Some(Order::Freeze(Duration::from_secs(2)))),
            ("freeze 2000 run-1/step", Some(Order::Freeze(Duration::from_secs(2)))),
            ("freeze", None),
            ("freeze soon", None),
            ("freeze -1", None),
            ("dance", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Order::parse(text), expected, "{text:?}");
        }
    }
}
