//! A right core with two flags: each side raises its own before it reads the other's.

use super::sync::atomic::{AtomicBool, Ordering::SeqCst};

#[derive(Debug)]
pub(crate) struct Settlement {
    charging: AtomicBool,
    expired: AtomicBool,
}

impl Settlement {
    pub(crate) fn new() -> Self {
        Self { charging: AtomicBool::new(false), expired: AtomicBool::new(false) }
    }

    pub(crate) fn commit(&self, charge: impl FnOnce() -> bool) -> bool {
        self.charging.store(true, SeqCst);
        !self.expired.load(SeqCst) && charge()
    }

    pub(crate) fn expire(&self) -> bool {
        self.expired.store(true, SeqCst);
        !self.charging.load(SeqCst)
    }
}
