//! The lines that wait for the shipper, and the door that keeps later ones out.

use std::collections::VecDeque;

use super::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::SeqCst},
};

/// A queue of lines with room for a few.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    capacity: usize,
    lost: Arc<AtomicU64>,
}

/// What the lock guards.
#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<String>,
    closed: bool,
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
        Self { waiting: Mutex::default(), capacity, lost }
    }

    /// Takes the line that has waited longest.
    pub(crate) fn take(&self) -> Taken {
        let mut waiting = self.waiting.lock().unwrap();
        match waiting.lines.pop_front() {
            Some(line) => Taken::Line(line),
            None if waiting.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }

    // ANCHOR: fix
    /// Puts a line in. If there is no room, or the door is closed, the line is lost.
    pub(crate) fn offer(&self, line: String) {
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.closed || waiting.lines.len() == self.capacity {
            return self.lose();
        }
        waiting.lines.push_back(line);
    }

    /// Closes the door; what waits can still be taken.
    pub(crate) fn close(&self) {
        self.waiting.lock().unwrap().closed = true;
    }
    // ANCHOR_END: fix

    /// Counts a line that nobody will write.
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, SeqCst);
    }
}
