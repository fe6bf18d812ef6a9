//! A wrong core: whoever closes first is found out by a swap, and the bytes are counted beside it.

use super::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

#[derive(Clone)]
pub(crate) struct Slots {
    free: Arc<Mutex<Vec<usize>>>,
}

pub(crate) struct Lease {
    slots: Slots,
    slot: usize,
    received: AtomicU64,
    released: AtomicBool,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self { free: Arc::new(Mutex::new((0..count).rev().collect())) }
    }

    pub(crate) fn take(&self) -> Option<Lease> {
        let slot = self.free.lock().unwrap().pop()?;
        Some(Lease { slots: self.clone(), slot, received: AtomicU64::new(0), released: AtomicBool::new(false) })
    }
}

impl Lease {
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// Whether the slot is still held is known before the bytes are counted.
    pub(crate) fn receive(&self, bytes: u64) -> bool {
        if self.released.load(SeqCst) {
            return false;
        }
        self.received.fetch_add(bytes, SeqCst);
        true
    }

    pub(crate) fn release(&self) -> Option<u64> {
        if self.released.swap(true, SeqCst) {
            return None;
        }
        let received = self.received.load(SeqCst);
        self.slots.free.lock().unwrap().push(self.slot);
        Some(received)
    }
}
