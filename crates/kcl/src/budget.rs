//! The bytes of records that are fetched and not yet processed, over all shards of a worker.
//!
//! Shards are served in the order in which they ask, so that none starves while the others go on. A read reserves the
//! most that it can bring and gives back what it did not need.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::READ_BYTES_MAX;

/// Bytes that may still be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
}

/// Bytes in use; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
}

impl Budget {
    /// `bytes` is at least one read, and fits 32 bits (the settings are checked).
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Waits for room for one read.
    pub(crate) async fn one_read(&self) -> Share {
        let bytes = u32::try_from(READ_BYTES_MAX).expect("10 MiB fit 32 bits");
        let permit = Arc::clone(&self.free).acquire_many_owned(bytes).await;
        Share {
            permit: permit.expect("the semaphore is never closed"),
        }
    }

    #[cfg(test)]
    fn free(&self) -> usize {
        self.free.available_permits()
    }
}

impl Share {
    /// Keeps this much and gives the rest back.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(bytes);
        drop(self.permit.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_read_keeps_only_what_it_brought_and_gives_it_back_in_the_end() {
        let budget = Budget::new(2 * READ_BYTES_MAX);
        let mut context = Context::from_waker(Waker::noop());
        let std::task::Poll::Ready(mut share) = pin!(budget.one_read()).poll(&mut context) else {
            panic!("there is room")
        };
        assert_eq!(budget.free(), READ_BYTES_MAX);
        share.shrink(1_000);
        assert_eq!(budget.free(), 2 * READ_BYTES_MAX - 1_000);
        drop(share);
        assert_eq!(budget.free(), 2 * READ_BYTES_MAX);
    }

    #[test]
    fn readers_are_served_in_the_order_in_which_they_asked() {
        let budget = Budget::new(READ_BYTES_MAX);
        let mut context = Context::from_waker(Waker::noop());
        let (mut first, mut second, mut third) = (
            Box::pin(budget.one_read()),
            Box::pin(budget.one_read()),
            Box::pin(budget.one_read()),
        );
        let std::task::Poll::Ready(share) = first.as_mut().poll(&mut context) else {
            panic!("there is room")
        };
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop(share);
        assert!(
            third.as_mut().poll(&mut context).is_pending(),
            "the second one asked before"
        );
        assert!(second.as_mut().poll(&mut context).is_ready());
    }
}
