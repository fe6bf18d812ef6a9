//! One sentence: what this service does for whom.
//!
//! # Symptom
//! What on-call sees. No cause yet.
//!
//! # Trigger
//! 1. The steps, in order.
//!
//! # Cause
//! Why it happens.
//!
//! # Cost
//! What it costs the users and the people on call.
//!
//! # Start here
//! Where a reader begins.

use axum::{Router, routing::get};

#[doc(hidden)]
pub mod near_misses;

/// One sentence: what it serves.
pub fn app() -> Router {
    // ANCHOR: defect
    Router::new().route("/", get(|| async { "hello" }))
    // ANCHOR_END: defect
}
