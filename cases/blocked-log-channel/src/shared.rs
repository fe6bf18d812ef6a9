//! The lines that wait for the shipper, and the door that keeps later ones out.

use std::collections::VecDeque;

use super::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

/// A queue of lines with room for a few.
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<String>>,
    closed: AtomicBool,
    capacity: usize,
    lost: Arc<AtomicU64>,
}

/// What the queue has for whoever takes.
pub(crate) enum Taken {
    Line(String),
    /// Nothing now; something may come.
    Nothing,
    /// Nothing now, and nothing will come.
    Closed,
}

impl Queue {
    /// Makes an open queue in which `capacity` lines may wait; `lost` counts the lines that nobody will write.
    pub(crate) fn new(capacity: usize, lost: Arc<AtomicU64>) -> Self {
        Self { waiting: Mutex::default(), closed: AtomicBool::new(false), capacity, lost }
    }

    /// Takes the line that has waited longest.
    pub(crate) fn take(&self) -> Taken {
        let mut waiting = self.waiting.lock().unwrap();
        match waiting.pop_front() {
            Some(line) => Taken::Line(line),
            None if self.closed.load(SeqCst) => Taken::Closed,
            None => Taken::Nothing,
        }
    }

    // ANCHOR: defect
    /// Puts a line in, or hands it back if there is no room. Behind a closed door it is lost.
    pub(crate) fn offer(&self, line: String) -> Result<(), String> {
        if self.closed.load(SeqCst) {
            self.lose();
            return Ok(());
        }
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.len() == self.capacity {
            return Err(line);
        }
        waiting.push_back(line);
        Ok(())
    }

    /// Closes the door; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
    }
    // ANCHOR_END: defect

    /// Counts a line that nobody will write.
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, SeqCst);
    }
}
