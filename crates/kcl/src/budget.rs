//! The memory of records that are being read or wait for their processors, over all shards of a worker.
//!
//! Half of it is divided among the shards: a shard without anything in hand can always read, whatever the others hold.
//! The other half goes to whoever needs more than its part, in the order in which they ask.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::read_size::READ_PEAK_MAX;

/// The memory of a worker; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    state: Arc<Mutex<State>>,
}

/// The part of one shard, for as long as it is read.
#[derive(Debug)]
pub(crate) struct Slot {
    budget: Budget,
    shard: u64,
}

/// Bytes in use; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    slot: Arc<Slot>,
    bytes: usize,
}

#[derive(Debug)]
struct State {
    bytes_max: usize,
    /// What each shard uses.
    used: BTreeMap<u64, usize>,
    next_shard: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    slot: Arc<Slot>,
    wanted: usize,
    grant: oneshot::Sender<Share>,
}

/// What came of a change, to be carried out without the lock: dropping a share or a slot takes it again.
#[derive(Debug, Default)]
struct Served {
    grants: Vec<(oneshot::Sender<Share>, Share)>,
    /// They have stopped waiting.
    gone: Vec<Waiting>,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                bytes_max,
                used: BTreeMap::new(),
                next_shard: 0,
                waiting: VecDeque::new(),
            })),
        }
    }

    /// The part of a shard that is going to be read.
    pub(crate) fn slot(&self) -> Arc<Slot> {
        let mut state = self.state();
        let shard = state.next_shard;
        state.next_shard += 1;
        state.used.insert(shard, 0);
        Arc::new(Slot {
            budget: self.clone(),
            shard,
        })
    }

    /// Changes what a shard uses, and serves those that wait for it.
    fn settle(&self, change: impl FnOnce(&mut State)) {
        let served = {
            let mut state = self.state();
            change(&mut state);
            state.serve()
        };
        for (grant, share) in served.grants {
            // Whoever has stopped waiting gives its share back right here.
            let _ = grant.send(share);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Waits for memory for one read: what is wanted, or more of this shard's own part; when the shard has nothing in hand
    /// and the others use everything else, its own part at once. Cancel safe.
    pub(crate) async fn reserve(self: &Arc<Self>, wanted: usize) -> Share {
        let granted = {
            let mut state = self.budget.state();
            let first = state.waiting.is_empty();
            match state.room(self.shard, wanted, first) {
                Some(bytes) => {
                    state.add(self.shard, bytes);
                    return Share {
                        slot: Arc::clone(self),
                        bytes,
                    };
                }
                None => {
                    let (grant, granted) = oneshot::channel();
                    state.waiting.push_back(Waiting {
                        slot: Arc::clone(self),
                        wanted,
                        grant,
                    });
                    granted
                }
            }
        };
        granted.await.expect("whoever waits is served in the end")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let shard = self.shard;
        self.budget.settle(|state| {
            state.used.remove(&shard);
        });
    }
}

impl Share {
    /// How much may be used.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// It turned out to be this much. More than was granted is taken without waiting: it is in memory already.
    pub(crate) fn set(&mut self, bytes: usize) {
        let (shard, before) = (self.slot.shard, std::mem::replace(&mut self.bytes, bytes));
        self.slot.budget.settle(|state| {
            state.sub(shard, before);
            state.add(shard, bytes);
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl State {
    /// What is each shard's own.
    fn part(&self) -> usize {
        self.bytes_max / 2 / self.used.len().max(1)
    }

    /// What is left of the half that belongs to nobody.
    fn common(&self) -> usize {
        let part = self.part();
        let lent: usize = self.used.values().map(|used| used.saturating_sub(part)).sum();
        (self.bytes_max / 2).saturating_sub(lent)
    }

    /// How much a shard gets now, if anything. Only the first in line gets of the common half.
    fn room(&self, shard: u64, wanted: usize, first: bool) -> Option<usize> {
        let used = self.used.get(&shard).copied().unwrap_or(0);
        let own = self.part().saturating_sub(used).min(READ_PEAK_MAX);
        if own >= wanted {
            return Some(own);
        }
        if first && wanted - own <= self.common() {
            return Some(wanted);
        }
        (used == 0).then_some(own)
    }

    fn serve(&mut self) -> Served {
        let (mut served, mut first) = (Served::default(), true);
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.grant.is_closed() {
                served.gone.push(waiting);
                continue;
            }
            match self.room(waiting.slot.shard, waiting.wanted, first) {
                Some(bytes) => {
                    self.add(waiting.slot.shard, bytes);
                    let share = Share {
                        slot: waiting.slot,
                        bytes,
                    };
                    served.grants.push((waiting.grant, share));
                }
                None => {
                    first = false;
                    self.waiting.push_back(waiting);
                }
            }
        }
        served
    }

    fn add(&mut self, shard: u64, bytes: usize) {
        if let Some(used) = self.used.get_mut(&shard) {
            *used += bytes;
        }
    }

    fn sub(&mut self, shard: u64, bytes: usize) {
        if let Some(used) = self.used.get_mut(&shard) {
            *used = used.saturating_sub(bytes);
        }
    }
}

/// What an allocator makes of a request for so many bytes.
pub(crate) fn allocated(bytes: usize) -> usize {
    (bytes + size_of::<usize>()).next_multiple_of(16).max(32)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MIB: usize = 1024 * 1024;

    type Reserving<'a> = Pin<Box<dyn Future<Output = Share> + 'a>>;

    /// What is there now, if anything.
    fn poll(reserving: &mut Reserving<'_>) -> Option<Share> {
        match reserving.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(share) => Some(share),
            Poll::Pending => None,
        }
    }

    fn now(slot: &Arc<Slot>, wanted: usize) -> Share {
        poll(&mut (Box::pin(slot.reserve(wanted)) as Reserving<'_>)).expect("there is room")
    }

    #[test]
    fn a_read_keeps_only_what_it_brought_and_gives_it_back_in_the_end() {
        let budget = Budget::new(40 * MIB);
        let slot = budget.slot();
        let mut share = now(&slot, 30 * MIB);
        assert_eq!(budget.state().common(), 10 * MIB);
        share.set(MIB);
        assert_eq!(budget.state().common(), 20 * MIB);
        drop(share);
        assert_eq!(budget.state().used[&slot.shard], 0);
    }

    #[test]
    fn a_shard_with_nothing_in_hand_reads_at_once_whatever_the_others_hold() {
        let budget = Budget::new(40 * MIB);
        let (slow, hung, third) = (budget.slot(), budget.slot(), budget.slot());
        let held: Vec<_> = [&slow, &hung].map(|slot| now(slot, 16 * MIB)).into();
        assert!(budget.state().common() < 2 * MIB);
        assert_eq!(now(&third, 20 * MIB).bytes(), 20 * MIB / 3);
        drop(held);
        assert_eq!(now(&third, 20 * MIB).bytes(), 20 * MIB);
    }

    #[test]
    fn a_shard_with_records_in_hand_waits_for_more_until_it_or_another_is_done() {
        let budget = Budget::new(20 * MIB);
        let (first, second) = (budget.slot(), budget.slot());
        let in_hand = now(&first, 10 * MIB);
        let other = now(&second, 10 * MIB);
        let mut ahead: Reserving<'_> = Box::pin(first.reserve(4 * MIB));
        assert!(poll(&mut ahead).is_none());
        drop(other);
        assert_eq!(poll(&mut ahead).expect("another is done").bytes(), 4 * MIB);
        let mut ahead: Reserving<'_> = Box::pin(first.reserve(9 * MIB));
        assert!(poll(&mut ahead).is_none());
        drop(in_hand);
        assert!(poll(&mut ahead).is_some(), "its own are done");
    }

    #[test]
    fn the_common_half_goes_to_those_that_wait_in_the_order_in_which_they_asked() {
        let budget = Budget::new(20 * MIB);
        let (first, second, third) = (budget.slot(), budget.slot(), budget.slot());
        let mut held: Vec<_> = [&first, &second, &third].map(|slot| now(slot, 6 * MIB)).into();
        let mut large: Reserving<'_> = Box::pin(first.reserve(9 * MIB));
        let mut small: Reserving<'_> = Box::pin(second.reserve(MIB));
        assert!(poll(&mut large).is_none());
        assert!(poll(&mut small).is_none(), "the first one asked before");
        held.remove(2);
        assert!(poll(&mut small).is_none());
        drop(held);
        assert!(poll(&mut large).is_some());
        assert!(poll(&mut small).is_some());
    }

    #[test]
    fn whoever_stops_waiting_leaves_nothing_behind() {
        let budget = Budget::new(20 * MIB);
        let (first, second) = (budget.slot(), budget.slot());
        let held = [now(&first, 10 * MIB), now(&second, 10 * MIB)];
        let mut given_up: Reserving<'_> = Box::pin(first.reserve(10 * MIB));
        assert!(poll(&mut given_up).is_none());
        drop(given_up);
        drop(held);
        assert_eq!(budget.state().used.values().sum::<usize>(), 0);
        assert!(budget.state().waiting.is_empty());
        drop(first);
        assert_eq!(budget.state().used.len(), 1, "its part goes to the others");
    }

    #[test]
    fn two_hundred_idle_shards_never_wait_for_each_other() {
        let budget = Budget::new(64 * MIB);
        let slots: Vec<_> = (0..200).map(|_| budget.slot()).collect();
        let shares: Vec<_> = slots.iter().map(|slot| now(slot, 16 * 1024)).collect();
        assert_eq!(budget.state().common(), 32 * MIB);
        drop(shares);
    }
}
