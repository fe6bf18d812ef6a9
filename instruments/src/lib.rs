//! What finds a ghost in a running service. Each part is put into an axum or tower service by one line, and works without the others.
//!
//! | part | what it tells |
//! |---|---|
//! | [`Logs`] | the last minutes of the log, in memory |
//! | [`Observe`] | each request by its route: status, times to head, first and last byte, and how it ended |
//! | [`Alerts`] | rules for Prometheus: latency, errors, what only grows, probes that disagree with traffic |
//! | [`Bundles`] | an archive of all of it, taken on demand, on SIGQUIT and when panics come in a row |
//! | [`Chain`] | in which layer the time goes: a waterfall of one request, a trace file for Perfetto, a table by layer |
//! | [`Heat`] | when, how slow, how many: a picture of time by latency for each route |
//! | [`Faults`] | what happens when something goes wrong, tried on purpose by a rule file |
//! | [`Status`] | pages under `/debug`: tasks, requests in flight, pools and breakers, behind a token |
//! | [`Tasks`] | what runs, since when and spawned where; what only grows; what a test has left behind |
//!
//! # What stays bounded
//!
//! No part keeps anything for a request that has ended, but for rings of a fixed size. Labels come from the routes of the
//! service, never from what a client sends.

pub mod alerts;
pub mod bundle;
pub mod chain;
pub mod faults;
pub mod heat;
pub mod logs;
pub mod observe;
#[cfg(feature = "prometheus")]
pub mod prometheus;
pub mod redact;
mod routes;
pub mod status;
mod svg;
pub mod tasks;

pub use alerts::Alerts;
pub use bundle::Bundles;
pub use chain::Chain;
pub use faults::Faults;
pub use heat::Heat;
pub use logs::Logs;
pub use observe::Observe;
pub use status::Status;
use std::sync::{Mutex, MutexGuard, PoisonError};
pub use tasks::Tasks;

/// A panic elsewhere leaves what it guards as it was: every change here is a single step.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
