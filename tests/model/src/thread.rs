//! Threads with names: the names stand in the table.

pub use loom::thread::JoinHandle;

/// Starts a thread of the model under the name that the table shows for it.
///
/// A model has five threads at most, the one that runs its closure (`main`) included.
///
/// # Panics
///
/// Outside [`explore`](crate::explore).
#[track_caller]
pub fn spawn<T: Send + 'static>(name: impl Into<String>, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    loom::thread::Builder::new().name(name.into()).spawn(work).expect("loom always starts a thread")
}
