//! What the deadline and the charge agree upon: they come from two threads.

use super::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// What has become of one order.
#[derive(Debug)]
pub(crate) struct Settlement {
    /// Set by whichever comes first: the charge or the deadline.
    settled: AtomicBool,
}

impl Settlement {
    pub(crate) fn new() -> Self {
        Self { settled: AtomicBool::new(false) }
    }

    /// Charges the order unless the deadline came first, and returns whether it has been charged.
    pub(crate) fn commit(&self, charge: impl FnOnce() -> bool) -> bool {
        !self.settled.swap(true, SeqCst) && charge()
    }

    /// Ends the wait at the deadline, and returns whether the client may be told that nothing was charged.
    pub(crate) fn expire(&self) -> bool {
        !self.settled.swap(true, SeqCst)
    }
}
