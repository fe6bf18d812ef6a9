//! The slots of the spool, and the lease that one upload has on one of them.

use crate::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

/// The numbers of the slots that are free.
#[derive(Clone)]
pub(crate) struct Slots {
    free: Arc<Mutex<Vec<usize>>>,
}

/// One owner's share in an upload's hold on a slot.
#[derive(Clone)]
pub(crate) struct Lease {
    held: Arc<Held>,
}

struct Held {
    slots: Slots,
    slot: usize,
    received: AtomicU64,
    ended: AtomicBool,
}

impl Slots {
    /// Makes slots 0 to `count` - 1; the lowest is taken first.
    pub(crate) fn new(count: usize) -> Self {
        Self { free: Arc::new(Mutex::new((0..count).rev().collect())) }
    }

    /// Takes a free slot, if there is one.
    pub(crate) fn take(&self) -> Option<Lease> {
        let slot = self.free.lock().unwrap().pop()?;
        let held = Held { slots: self.clone(), slot, received: AtomicU64::new(0), ended: AtomicBool::new(false) };
        Some(Lease { held: Arc::new(held) })
    }

    fn give_back(&self, slot: usize) {
        self.free.lock().unwrap().push(slot);
    }
}

impl Lease {
    /// The number of the slot.
    pub(crate) fn slot(&self) -> usize {
        self.held.slot
    }

    /// Counts bytes that the handler is about to receive.
    pub(crate) fn receive(&self, bytes: u64) {
        self.held.received.fetch_add(bytes, SeqCst);
    }

    /// Gives the slot back at the end of the stream, which only the reader can see, and tells the bytes received.
    pub(crate) fn end(&self) -> Option<u64> {
        if self.held.ended.load(SeqCst) {
            return None;
        }
        self.held.ended.store(true, SeqCst);
        Some(self.held.give_back())
    }

    /// Gives the slot back if the stream has not ended and no other owner is left, and tells the bytes received.
    pub(crate) fn leave(&self) -> Option<u64> {
        if self.held.ended.load(SeqCst) {
            return None;
        }
        let last = Arc::strong_count(&self.held) == 1;
        last.then(|| self.held.give_back())
    }
}

impl Held {
    fn give_back(&self) -> u64 {
        self.slots.give_back(self.slot);
        self.received.load(SeqCst)
    }
}
