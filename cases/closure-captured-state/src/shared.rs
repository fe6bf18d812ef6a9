//! What the desk knows about a request, for everything that has a hand in it.

use super::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

/// Who asks, and the id under which the logs know the request. Cheap to clone, so that the layer and the
/// handler each hold one.
#[derive(Clone)]
pub(crate) struct RequestContext {
    // ANCHOR: defect
    user: Arc<Mutex<String>>,
    log_id: Arc<AtomicU64>,
    // ANCHOR_END: defect
}

impl RequestContext {
    pub(crate) fn new() -> Self {
        Self { user: Arc::new(Mutex::new(String::new())), log_id: Arc::new(AtomicU64::new(0)) }
    }

    /// Starts a request of `user` under the next log id.
    pub(crate) fn begin(&self, user: &str) {
        *self.user.lock().unwrap() = user.to_owned();
        self.log_id.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn user(&self) -> String {
        self.user.lock().unwrap().clone()
    }

    pub(crate) fn log_id(&self) -> String {
        format!("desk-{}", self.log_id.load(Ordering::Relaxed))
    }
}
