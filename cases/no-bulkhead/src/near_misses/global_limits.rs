//! Tempting because these limits are shared, as their name says, and tower has them ready.
//! They give a place back when the answer has its head, while its body is still being made; and an order waits without end.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;

/// Serves `orders` below `/orders` and `reports` below `/admin`, at most `places` requests at a time in both of them, and at
/// most `share` of these in `reports`.
pub fn app(orders: Router, reports: Router, places: usize, share: usize, _wait: Duration) -> Router {
    let places = GlobalConcurrencyLimitLayer::with_semaphore(Arc::new(Semaphore::new(places)));
    let share = GlobalConcurrencyLimitLayer::new(share);
    Router::new()
        .nest("/orders", orders.layer(places.clone()))
        .nest("/admin", reports.layer(places).layer(share))
        .route("/livez", get(async || "alive\n"))
}
