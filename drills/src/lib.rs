//! A drill: four services behind one edge, under load, one of them haunted; a pager's text, a dashboard and a clock.
//!
//! [`Drill::begin`] starts a [field]: the services, the edge and the load, which is a process of its own. What happens is in
//! [`Evidence`](evidence::Evidence), a sample a second; what costs time on the drill's clock is a [look](looks). [`page`] and
//! [`terminal`] show the same to people, and [`answer`] grades what they say it was.
//!
//! Only what an operator could have is shown: what crosses the edge of a service, the runtime's own counters, the calls of its
//! dependency, and its log. What would need the service's help is said to be not visible.

mod also_right;
pub mod answer;
pub mod bundle;
pub mod classify;
pub mod detectors;
pub mod draw;
pub mod drill;
mod edge;
pub mod evidence;
pub mod field;
pub mod load;
mod logs;
pub mod looks;
pub mod matrix;
pub mod page;
mod part;
mod served;
pub mod services;
pub mod terminal;

pub use drill::{Drill, Options};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic elsewhere leaves what it guards as it was: every change here is a single step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
