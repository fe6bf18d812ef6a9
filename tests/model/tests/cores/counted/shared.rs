//! A slot that its last owner gives back, or so its author hopes.

use super::sync::Arc;
use super::sync::atomic::{AtomicUsize, Ordering::SeqCst};

#[derive(Default)]
pub(crate) struct Slot {
    owners: Arc<()>,
    free: Arc<AtomicUsize>,
}

impl Slot {
    pub(crate) fn share(&self) -> Self {
        Self { owners: self.owners.clone(), free: self.free.clone() }
    }

    pub(crate) fn give_back(self) -> Arc<AtomicUsize> {
        if Arc::strong_count(&self.owners) == 1 {
            self.free.fetch_add(1, SeqCst);
        }
        self.free
    }
}
