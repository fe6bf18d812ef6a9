//! What the deadline and the charge agree upon: they come from two threads.

use crate::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// What has become of one order.
#[derive(Debug)]
pub(crate) struct Settlement {
    /// Set at the deadline.
    expired: AtomicBool,
    /// Set by the charge.
    charged: AtomicBool,
}

impl Settlement {
    pub(crate) fn new() -> Self {
        Self { expired: AtomicBool::new(false), charged: AtomicBool::new(false) }
    }

    /// Whether the order is still wanted.
    pub(crate) fn is_open(&self) -> bool {
        !self.expired.load(SeqCst)
    }

    /// Charges the order, and returns whether it has been charged.
    pub(crate) fn commit(&self, charge: impl FnOnce() -> bool) -> bool {
        self.charged.store(true, SeqCst);
        charge()
    }

    /// Ends the wait at the deadline, and returns whether the client may be told that nothing was charged.
    pub(crate) fn expire(&self) -> bool {
        self.expired.store(true, SeqCst);
        !self.charged.load(SeqCst)
    }
}
