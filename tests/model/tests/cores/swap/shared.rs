//! A slot that whoever ends first gives back.

use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

#[derive(Default)]
pub(crate) struct Slot {
    given_back: AtomicBool,
    free: AtomicUsize,
}

impl Slot {
    pub(crate) fn give_back(&self) {
        if !self.given_back.swap(true, SeqCst) {
            self.free.fetch_add(1, SeqCst);
        }
    }

    pub(crate) fn free(&self) -> usize {
        self.free.load(SeqCst)
    }
}
