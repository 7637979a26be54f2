//! What the driver tells the consumer of one hold: the end of its window, to drain, to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kinex_core::member::StopReason;
use kinex_core::time::Moment;
use tokio::sync::Notify;

/// Shared by the driver's thread, which writes, and the consumer, which looks before each delivery.
#[derive(Debug)]
pub(crate) struct Control {
    /// Nanoseconds on the clock of the library.
    until: AtomicU64,
    orders: Mutex<Orders>,
    changed: Notify,
    /// The call of the processor in flight, and when it began.
    call: Mutex<Option<(&'static str, Moment)>>,
}

/// Orders that the consumer has not seen yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) drain: bool,
    pub(crate) resume: bool,
    pub(crate) stop: Option<StopReason>,
}

impl Control {
    pub(crate) fn new(until: Moment) -> Self {
        Self {
            until: AtomicU64::new(nanos(until)),
            orders: Mutex::default(),
            changed: Notify::new(),
            call: Mutex::default(),
        }
    }

    /// The end of the window.
    pub(crate) fn until(&self) -> Moment {
        Moment::after_origin(Duration::from_nanos(self.until.load(Ordering::Acquire)))
    }

    /// The window is longer now.
    pub(crate) fn extend(&self, until: Moment) {
        self.until.fetch_max(nanos(until), Ordering::AcqRel);
        self.changed.notify_one();
    }

    pub(crate) fn drain(&self) {
        self.order(|orders| orders.drain = true);
    }

    pub(crate) fn stop(&self, reason: StopReason) {
        self.order(|orders| orders.stop = Some(reason));
    }

    pub(crate) fn resume(&self) {
        self.order(|orders| orders.resume = true);
    }

    /// The call of the processor in flight, and when it began.
    pub(crate) fn call(&self) -> Option<(&'static str, Moment)> {
        *self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the processor is called for; `None` when it has come back.
    pub(crate) fn set_call(&self, call: Option<(&'static str, Moment)>) {
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }

    /// The orders since the last call.
    pub(crate) fn take(&self) -> Orders {
        std::mem::take(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when something has changed since it returned before.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn order(&self, set: impl FnOnce(&mut Orders)) {
        set(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

fn nanos(moment: Moment) -> u64 {
    u64::try_from(moment.since_origin().as_nanos()).unwrap_or(u64::MAX)
}
