use std::{collections::BTreeSet, fmt, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{Snapshot, Task, Tasks};

impl Tasks {
    /// Waits until no task runs that `before` does not have, for `deadline` at most. On a paused clock no time is spent on it.
    ///
    /// # Errors
    ///
    /// With the tasks that are left, and where they were spawned.
    pub async fn back_to(&self, before: &Snapshot, deadline: Duration) -> Result<(), Leak> {
        let until = Instant::now() + deadline;
        let known: BTreeSet<u64> = before.tasks.iter().map(|task| task.id).collect();
        loop {
            // Before the look, or an end between the two would be missed.
            let ended = self.list.ended.notified();
            let mut now = self.snapshot();
            now.tasks.retain(|task| !known.contains(&task.id));
            if now.tasks.is_empty() {
                return Ok(());
            }
            if timeout_at(until, ended).await.is_err() {
                return Err(Leak { deadline, before: before.tasks.len(), left: now.tasks });
            }
        }
    }
}

/// Tasks that were left behind.
///
/// ```
/// use std::time::Duration;
/// use instruments::Tasks;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let tasks = Tasks::new();
/// let before = tasks.snapshot();
/// tasks.spawn("notify", std::future::pending::<()>());
/// let leak = tasks.back_to(&before, Duration::from_secs(5)).await.unwrap_err();
/// assert!(leak.to_string().starts_with("5s later 1 task more than before (0): notify, spawned at "));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Leak {
    deadline: Duration,
    before: usize,
    left: Vec<Task>,
}

impl Leak {
    /// The tasks that are left, the oldest first.
    pub fn left(&self) -> &[Task] {
        &self.left
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (many, tasks) = (self.left.len(), if self.left.len() == 1 { "task" } else { "tasks" });
        write!(f, "{:?} later {many} {tasks} more than before ({})", self.deadline, self.before)?;
        for (n, Task { name, place, .. }) in self.left.iter().enumerate() {
            write!(f, "{} {name}, spawned at {place}", if n == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Leak {}
