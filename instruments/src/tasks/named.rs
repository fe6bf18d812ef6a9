use std::{
    panic::Location,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    List,
    snapshot::{State, Task},
};
use crate::locked;

/// What is known of one task.
pub(crate) struct Entry {
    name: &'static str,
    place: &'static Location<'static>,
    since: Instant,
    /// By `Tasks::spawn`, and not yet polled, perhaps.
    pub(super) spawned: AtomicBool,
    polling: AtomicBool,
    polls: AtomicU64,
}

impl Entry {
    pub(super) fn new(name: &'static str, place: &'static Location<'static>) -> Self {
        Self {
            name,
            place,
            since: Instant::now(),
            spawned: AtomicBool::new(false),
            polling: AtomicBool::new(false),
            polls: AtomicU64::new(0),
        }
    }

    pub(super) fn told(&self, id: u64, millis: impl Fn(Instant) -> u64) -> Task {
        let polls = self.polls.load(Ordering::Relaxed);
        let state = match self.polling.load(Ordering::Relaxed) {
            true => State::Running,
            false if polls == 0 => State::New,
            false => State::Waiting,
        };
        let place = format!("{}:{}:{}", self.place.file().replace('\\', "/"), self.place.line(), self.place.column());
        Task { id, name: self.name.to_owned(), place, age_ms: millis(self.since), state, polls }
    }

    /// Whether the runtime counts it.
    pub(super) fn is_a_task(&self) -> bool {
        self.spawned.load(Ordering::Relaxed) || self.polls.load(Ordering::Relaxed) > 0
    }
}

pin_project! {
    /// A future that is listed until it is dropped. See [`Tasks::named`](super::Tasks::named).
    pub struct Named<F> {
        // Dropped first, so that a task which has ended is one whose values are gone.
        #[pin]
        inner: F,
        listed: Listed,
    }
}

struct Listed {
    id: u64,
    entry: Arc<Entry>,
    list: Arc<List>,
}

impl<F> Named<F> {
    pub(super) fn new(inner: F, id: u64, entry: Arc<Entry>, list: Arc<List>) -> Self {
        Self { inner, listed: Listed { id, entry, list } }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.listed.entry
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let entry = &this.listed.entry;
        entry.polls.fetch_add(1, Ordering::Relaxed);
        entry.polling.store(true, Ordering::Relaxed);
        let polled = this.inner.poll(cx);
        entry.polling.store(false, Ordering::Relaxed);
        polled
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        locked(&self.list.alive).remove(&self.id);
        self.list.ended.notify_waiters();
    }
}

impl<F> std::fmt::Debug for Named<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("name", &self.listed.entry.name).finish_non_exhaustive()
    }
}
