//! One sentence: what this service does for whom.
//!
//! # Symptom
//! None: what users see instead.
//!
//! # Trigger
//! 1. The steps, in order.
//!
//! # Fix
//! What is done otherwise, and why it holds.
//!
//! # Cost
//! What the cure costs.
//!
//! # Start here
//! Where a reader begins.

use axum::{Router, routing::get};

/// One sentence: what it serves.
pub fn app() -> Router {
    // ANCHOR: fix
    Router::new().route("/", get(|| async { "boo" }))
    // ANCHOR_END: fix
}
