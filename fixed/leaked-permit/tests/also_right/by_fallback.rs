//! Answers from the fallback and not from a route.

use axum::Router;

/// One sentence: what it serves.
pub fn app() -> Router {
    Router::new().fallback(|| async { "boo" })
}
