//! Tempting fixes that do not lay the ghost to rest.

use std::time::Duration;

use axum::{Router, http::StatusCode};
use tokio::sync::mpsc::UnboundedSender;

pub mod by_hand;
pub mod catch_all;
pub mod end_of_body;
pub mod guard_too_late;
pub mod headers_repeated;
pub mod inside_the_deadline;
pub mod last_opened;
pub mod no_hints;
pub mod partners_outside;
pub mod recovery_outside;
pub mod route_layer;
pub mod spawned;
pub mod two_guards;
pub mod written_twice;

/// The reading room, as [`app`](crate::app) makes it.
pub type App = fn(Router, Router, UnboundedSender<(String, String, Option<StatusCode>)>, usize, Duration) -> Router;

/// The near misses by name.
pub const ALL: &[(&str, App)] = &[
    ("by-hand", by_hand::app),
    ("written-twice", written_twice::app),
    ("route-layer", route_layer::app),
    ("partners-outside", partners_outside::app),
    ("inside-the-deadline", inside_the_deadline::app),
    ("recovery-outside", recovery_outside::app),
    ("spawned", spawned::app),
    ("end-of-body", end_of_body::app),
    ("headers-repeated", headers_repeated::app),
    ("catch-all", catch_all::app),
    ("last-opened", last_opened::app),
    ("two-guards", two_guards::app),
    ("no-hints", no_hints::app),
    ("guard-too-late", guard_too_late::app),
];
