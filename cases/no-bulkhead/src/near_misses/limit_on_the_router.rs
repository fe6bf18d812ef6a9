//! Tempting because tower has this limit, and one layer round everything is the whole fix.
//! axum applies it to each of its routes when it is called, or when a connection is accepted: each has a limit of its own.

use std::time::Duration;

use axum::{Router, routing::get};
use tower::limit::ConcurrencyLimitLayer;

/// Serves `orders` below `/orders` and `reports` below `/admin`.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, _wait: Duration) -> Router {
    Router::new()
        .nest("/orders", orders)
        .nest("/admin", reports.layer(ConcurrencyLimitLayer::new(share)))
        .layer(ConcurrencyLimitLayer::new(places))
        .route("/livez", get(async || "alive\n"))
}
