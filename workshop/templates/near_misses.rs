//! Fixes that tempt and do not hold.

use axum::Router;

pub mod still_wrong;

/// Makes an app.
pub type App = fn() -> Router;

/// Every near miss by its name.
pub const ALL: &[(&str, App)] = &[("still-wrong", still_wrong::app)];
