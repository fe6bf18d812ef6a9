//! Tempting because each of the two has a limit of its own, and so a wall between them.
//! axum makes the limit anew for each request, or for each connection: there is no wall, and no limit either.

use std::time::Duration;

use axum::{Router, routing::get};
use tower::limit::ConcurrencyLimitLayer;

/// Serves `orders` below `/orders` and `reports` below `/admin`.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, _wait: Duration) -> Router {
    Router::new()
        .nest("/orders", orders.layer(ConcurrencyLimitLayer::new(places - share)))
        .nest("/admin", reports.layer(ConcurrencyLimitLayer::new(share)))
        .route("/livez", get(async || "alive\n"))
}
