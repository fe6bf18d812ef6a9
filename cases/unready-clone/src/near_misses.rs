//! Tempting fixes that are still wrong.

use axum::{extract::Request, response::Response};
use tower::{
    BoxError,
    util::{BoxCloneSyncService, BoxCloneSyncServiceLayer},
};

/// The service behind the layer: boxed, and each clone of it with a readiness of its own.
pub type Inner = BoxCloneSyncService<Request, Response, BoxError>;

/// Makes a layer, boxed because each near miss has types of its own.
pub type App = fn() -> BoxCloneSyncServiceLayer<Inner, Request, Response, BoxError>;

/// Every near miss, under the name that it has in `case.toml`.
pub const ALL: &[(&str, App)] = &[];
