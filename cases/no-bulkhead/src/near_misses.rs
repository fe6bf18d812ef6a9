//! Tempting wrong fixes, each a whole `lib.rs`.

use std::time::Duration;

use axum::Router;

pub mod larger_limit;

/// The signature of [`app`](crate::app).
pub type App = fn(Router, Router, usize, usize, Duration) -> Router;

/// Each near miss by its name.
pub const ALL: &[(&str, App)] = &[("larger-limit", larger_limit::app)];
