//! How many use a feed. The last to leave stops it.

use crate::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// One board's feed: it runs while somebody uses it, and once it has stopped it never runs again.
pub(crate) struct Feed {
    users: AtomicUsize,
}

impl Feed {
    /// A feed with its first user: the reader who opens it. The task that fills it works for them, and isn't counted.
    pub(crate) fn open() -> Self {
        Self { users: AtomicUsize::new(1) }
    }

    /// Counts one more, unless the feed has stopped.
    pub(crate) fn join(&self) -> bool {
        if self.users.load(SeqCst) == 0 {
            return false;
        }
        self.users.fetch_add(1, SeqCst);
        true
    }

    /// Counts one less. Tells the last one to stop the feed.
    pub(crate) fn leave(&self) -> bool {
        self.users.fetch_sub(1, SeqCst) == 1
    }
}
