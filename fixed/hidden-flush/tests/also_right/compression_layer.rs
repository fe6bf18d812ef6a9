//! Takes tower-http's layer, with a floor under `async-compression` and a predicate of its own: the
//! default one leaves `text/event-stream` alone.

use axum::Router;
use tower_http::compression::{CompressionLayer, predicate::SizeAbove};

/// Serves `logs`, compressed for clients that accept gzip.
pub fn app(logs: Router) -> Router {
    logs.layer(CompressionLayer::new().compress_when(SizeAbove::default()))
}
