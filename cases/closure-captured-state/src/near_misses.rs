//! Tempting fixes that do not lay the ghost to rest.

use axum::{Router, http::StatusCode};
use tokio::sync::mpsc::UnboundedSender;

pub mod id_from_clock;
pub mod id_from_len;
pub mod keyed_by_peer;
pub mod lock_held;
pub mod log_from_slot;
pub mod reset_first;
pub mod rwlock_slot;
pub mod thread_local;

/// The order desk, as [`app`](crate::app) makes it.
pub type App = fn(Router, UnboundedSender<(String, String, StatusCode)>) -> Router;

/// The near misses by name.
pub const ALL: &[(&str, App)] = &[
    ("rwlock-slot", rwlock_slot::app),
    ("reset-first", reset_first::app),
    ("thread-local", thread_local::app),
    ("keyed-by-peer", keyed_by_peer::app),
    ("lock-held", lock_held::app),
    ("log-from-slot", log_from_slot::app),
    ("id-from-clock", id_from_clock::app),
    ("id-from-len", id_from_len::app),
];
