//! The slot behind one lock.

use super::sync::{Arc, RwLock};

/// Who asks, and the id under which the logs know the request. Cheap to clone, so that the layer and the
/// handler each hold one.
#[derive(Clone)]
pub(crate) struct RequestContext {
    current: Arc<RwLock<(String, u64)>>,
}

impl RequestContext {
    pub(crate) fn new() -> Self {
        Self { current: Arc::new(RwLock::new((String::new(), 0))) }
    }

    /// Starts a request of `user` under the next log id.
    pub(crate) fn begin(&self, user: &str) {
        let mut current = self.current.write().unwrap();
        *current = (user.to_owned(), current.1 + 1);
    }

    pub(crate) fn user(&self) -> String {
        self.current.read().unwrap().0.clone()
    }

    pub(crate) fn log_id(&self) -> String {
        format!("desk-{}", self.current.read().unwrap().1)
    }
}
