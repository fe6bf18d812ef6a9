//! Tempting fixes that are still wrong.

use axum::{extract::Request, response::Response};
use tower::{
    BoxError,
    util::{BoxCloneSyncService, BoxCloneSyncServiceLayer},
};

pub mod always_ready;
pub mod oneshot_on_a_clone;
pub mod place_given_back;
pub mod readiness_remembered;
pub mod shared_behind_a_mutex;
pub mod swapped_back;
pub mod wrapped_in_a_buffer;

/// The service behind the layer: each clone of it has a readiness of its own.
pub type Inner = BoxCloneSyncService<Request, Response, BoxError>;

/// What each near miss exports, in a box, because each has types of its own.
pub type App = fn() -> BoxCloneSyncServiceLayer<Inner, Request, Response, BoxError>;

/// Every near miss, under the name that it has in `case.toml`.
pub const ALL: &[(&str, App)] = &[
    ("oneshot-on-a-clone", || BoxCloneSyncServiceLayer::new(oneshot_on_a_clone::layer())),
    ("always-ready", || BoxCloneSyncServiceLayer::new(always_ready::layer())),
    ("place-given-back", || BoxCloneSyncServiceLayer::new(place_given_back::layer())),
    ("swapped-back", || BoxCloneSyncServiceLayer::new(swapped_back::layer())),
    ("shared-behind-a-mutex", || BoxCloneSyncServiceLayer::new(shared_behind_a_mutex::layer())),
    ("wrapped-in-a-buffer", || BoxCloneSyncServiceLayer::new(wrapped_in_a_buffer::layer())),
    ("readiness-remembered", || BoxCloneSyncServiceLayer::new(readiness_remembered::layer())),
];
