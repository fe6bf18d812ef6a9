//! Takes tower-http's layer, with a floor under `async-compression` and a predicate of its own: the
//! default one leaves `text/event-stream` alone. The layer polls a body again after its end, and
//! gets one that is fused.

use axum::{Router, body::Body, middleware::map_response, response::Response};
use http_body_util::BodyExt;
use tower_http::compression::{CompressionLayer, predicate::SizeAbove};

/// Serves `logs`, compressed for clients that accept gzip.
pub fn app(logs: Router) -> Router {
    let fused = async |response: Response| response.map(|body| Body::new(body.fuse()));
    logs.layer(map_response(fused)).layer(CompressionLayer::new().compress_when(SizeAbove::default()))
}
