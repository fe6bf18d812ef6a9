//! Tasks that can be named: what runs, since when, spawned where, and whether only the number grows.
//!
//! ```
//! use instruments::Tasks;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let tasks = Tasks::new();
//! let flushing = tasks.spawn("flush", async { /* … */ });
//!
//! let snapshot = tasks.snapshot();
//! assert_eq!(snapshot.tasks[0].name, "flush");
//! assert!(snapshot.tasks[0].place.contains(".rs:"));
//! # flushing.await.unwrap();
//! # assert!(tasks.snapshot().tasks.is_empty());
//! # }
//! ```
//!
//! # What only grows
//!
//! ```
//! use std::time::Duration;
//! use instruments::Tasks;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # let tasks = Tasks::new();
//! let before = tasks.snapshot();
//! for _ in 0..3 {
//!     tasks.spawn("notify", std::future::pending::<()>());
//! }
//! let difference = before.difference(&tasks.snapshot());
//! assert_eq!(difference.only_growing(3).count(), 1);
//! assert_eq!(difference.only_growing(4).count(), 0);
//! # }
//! ```
//!
//! # As a test of your own
//!
//! ```
//! use std::time::Duration;
//! use instruments::Tasks;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let tasks = Tasks::new();
//! let before = tasks.snapshot();
//! tasks.spawn("audit", tokio::time::sleep(Duration::from_secs(2)));
//! tasks.back_to(&before, Duration::from_secs(5)).await.expect("nothing is left behind");
//! # }
//! ```
//!
//! # What it does not see
//!
//! A task that was spawned otherwise is counted, by [`RuntimeMetrics::num_alive_tasks`](tokio::runtime::RuntimeMetrics), and has no
//! name: stable tokio tells no more. What runs within a task, in a `join!` or a `FuturesUnordered`, is not a task.

mod leak;
mod named;
mod snapshot;

use std::{
    collections::BTreeMap,
    fmt,
    panic::Location,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::Instant};

pub use leak::Leak;
pub use named::Named;
pub use snapshot::{Difference, Group, Snapshot, State, Task, UnreadableSnapshot};

use crate::locked;
use named::Entry;

/// The tasks of a service, or of a part of it. A clone is the same list. See the [module docs](self).
#[derive(Clone)]
pub struct Tasks {
    list: Arc<List>,
}

pub(crate) struct List {
    start: Instant,
    next: AtomicU64,
    alive: Mutex<BTreeMap<u64, Arc<Entry>>>,
    /// The gauges that were set: one whose tasks have all ended goes back to 0. Names are in the code, and few.
    published: Mutex<BTreeMap<String, u64>>,
    /// Told whenever a task ends.
    ended: Notify,
}

impl Tasks {
    /// An empty list. Its clock begins now.
    pub fn new() -> Self {
        let list = List {
            start: Instant::now(),
            next: AtomicU64::new(1),
            alive: Mutex::default(),
            published: Mutex::default(),
            ended: Notify::new(),
        };
        Self { list: Arc::new(list) }
    }

    /// Spawns a task as [`tokio::spawn`] does, and lists it until its future is dropped.
    ///
    /// # Panics
    ///
    /// Outside a runtime, as [`tokio::spawn`] does.
    #[track_caller]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let named = self.named(name, future);
        named.entry().spawned.store(true, Ordering::Relaxed);
        tokio::spawn(named)
    }

    /// Lists a future that something else spawns: a `JoinSet`, a `TaskTracker`, a runtime's handle.
    ///
    /// ```
    /// use instruments::Tasks;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let tasks = Tasks::new();
    /// let mut set = tokio::task::JoinSet::new();
    /// set.spawn(tasks.named("fetch", async { 7 }));
    /// assert_eq!(set.join_next().await.unwrap().unwrap(), 7);
    /// # }
    /// ```
    #[track_caller]
    pub fn named<F: Future>(&self, name: &'static str, future: F) -> Named<F> {
        let id = self.list.next.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry::new(name, Location::caller()));
        locked(&self.list.alive).insert(id, entry.clone());
        Named::new(future, id, entry, self.list.clone())
    }

    /// What runs now, the oldest first: one consistent view of the list.
    pub fn snapshot(&self) -> Snapshot {
        let alive = locked(&self.list.alive);
        let now = Instant::now();
        let runtime = Handle::try_current().ok().map(|handle| handle.metrics().num_alive_tasks() as u64);
        let millis = |from: Instant| now.saturating_duration_since(from).as_millis() as u64;
        let tasks = alive.iter().map(|(id, entry)| entry.told(*id, millis)).collect();
        let listed = alive.values().filter(|entry| entry.is_a_task()).count() as u64;
        Snapshot {
            schema: snapshot::SCHEMA,
            at_ms: millis(self.list.start),
            unnamed: runtime.map(|alive| alive.saturating_sub(listed)),
            tasks,
        }
    }
}

impl Tasks {
    /// Sets the gauge `tasks_alive` for each name that has had a task, with the label `name`; what the list does not know is
    /// `unnamed`. Call it when the metrics are read: a spawn then costs nothing for it.
    pub fn publish(&self) {
        let snapshot = self.snapshot();
        let mut alive = locked(&self.list.published);
        alive.values_mut().for_each(|count| *count = 0);
        for task in &snapshot.tasks {
            match alive.get_mut(task.name.as_str()) {
                Some(count) => *count += 1,
                None => drop(alive.insert(task.name.clone(), 1)),
            }
        }
        if let Some(unnamed) = snapshot.unnamed {
            alive.insert("unnamed".to_owned(), unnamed);
        }
        metrics::describe_gauge!("tasks_alive", metrics::Unit::Count, "Tasks that have not ended, by name.");
        for (name, count) in &*alive {
            metrics::gauge!("tasks_alive", "name" => name.clone()).set(*count as f64);
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("alive", &locked(&self.list.alive).len()).finish_non_exhaustive()
    }
}
