//! The slots of the spool, and the lease that one upload has on one of them.

use super::sync::{Arc, Mutex};

/// The numbers of the slots that are free.
#[derive(Clone)]
pub(crate) struct Slots {
    free: Arc<Mutex<Vec<usize>>>,
}

/// One upload's hold on a slot, shared by all who may see the upload end.
pub(crate) struct Lease {
    slots: Slots,
    slot: usize,
    received: Mutex<u64>,
}

impl Slots {
    /// Makes slots 0 to `count` - 1; the lowest is taken first.
    pub(crate) fn new(count: usize) -> Self {
        Self { free: Arc::new(Mutex::new((0..count).rev().collect())) }
    }

    /// Takes a free slot, if there is one.
    pub(crate) fn take(&self) -> Option<Lease> {
        let slot = self.free.lock().unwrap().pop()?;
        Some(Lease { slots: self.clone(), slot, received: Mutex::new(0) })
    }

    fn give_back(&self, slot: usize) {
        self.free.lock().unwrap().push(slot);
    }
}

impl Lease {
    /// The number of the slot.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// Counts bytes that the handler is about to receive.
    pub(crate) fn receive(&self, bytes: u64) {
        *self.received.lock().unwrap() += bytes;
    }

    // ANCHOR: defect
    /// Gives the slot back, and tells the bytes received.
    pub(crate) fn release(&self) -> u64 {
        // ANCHOR: mark-again
        let received = *self.received.lock().unwrap();
        self.slots.give_back(self.slot);
        received
        // ANCHOR_END: mark-again
    }
    // ANCHOR_END: defect
}
