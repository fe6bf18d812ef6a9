//! What the desk knows about a request, for everything that has a hand in it.

use super::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Who asks, and the id under which the logs know the request. Cheap to clone, so that the layer and the
/// handler each hold one.
#[derive(Clone)]
pub(crate) struct RequestContext {
    // ANCHOR: fix
    user: String,
    log_id: u64,
    /// The only thing that requests share: ids are unique among all of them.
    last_log_id: Arc<AtomicU64>,
    // ANCHOR_END: fix
}

impl RequestContext {
    pub(crate) fn new() -> Self {
        Self { user: String::new(), log_id: 0, last_log_id: Arc::new(AtomicU64::new(0)) }
    }

    /// Starts a request of `user` under the next log id.
    pub(crate) fn begin(&mut self, user: &str) {
        self.user = user.to_owned();
        self.log_id = self.last_log_id.fetch_add(1, Ordering::Relaxed) + 1;
    }

    pub(crate) fn user(&self) -> String {
        self.user.clone()
    }

    pub(crate) fn log_id(&self) -> String {
        format!("desk-{}", self.log_id)
    }
}
