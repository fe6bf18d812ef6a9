//! It tempts because of one thing.
//!
//! It breaks because of another.

use axum::{Router, routing::get};

/// One sentence: what it serves.
pub fn app() -> Router {
    Router::new().route("/", get(|| async { "Hello" }))
}
