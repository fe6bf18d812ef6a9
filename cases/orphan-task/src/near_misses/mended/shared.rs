//! The core of those near misses whose mistake is elsewhere: only readers are counted.

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
        self.users.fetch_update(SeqCst, SeqCst, |users| (users > 0).then_some(users + 1)).is_ok()
    }

    /// Counts one less. Tells the last one to stop the feed.
    pub(crate) fn leave(&self) -> bool {
        self.users.fetch_sub(1, SeqCst) == 1
    }
}
