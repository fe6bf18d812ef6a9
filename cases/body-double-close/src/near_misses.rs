//! Tempting fixes that are still wrong.

use axum::Router;
use tokio::sync::mpsc::UnboundedSender;

pub mod drain_in_background;
pub mod drained_under_lock;
pub mod forgotten_guard;
pub mod last_owner;
pub mod load_then_store;
pub mod release_at_end;
pub mod release_on_drop;
pub mod set_of_slots;

/// What each near miss exports, and [`crate::app`] is, too.
pub type App = fn(usize, Router, UnboundedSender<(usize, u64, String)>) -> Router;

/// Every near miss, under the name that it has in `case.toml`.
pub const ALL: &[(&str, App)] = &[
    ("load-then-store", load_then_store::app),
    ("last-owner", last_owner::app),
    ("release-on-drop", release_on_drop::app),
    ("release-at-end", release_at_end::app),
    ("set-of-slots", set_of_slots::app),
    ("drained-under-lock", drained_under_lock::app),
    ("drain-in-background", drain_in_background::app),
    ("forgotten-guard", forgotten_guard::app),
];
