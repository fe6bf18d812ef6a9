//! Writes no service at all: tower-http's layers set the id and copy it to the answer, and `map_request` takes away the one
//! that the client may have sent. Each of them calls the service where it stands.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{extract::Request, http::HeaderValue, response::Response};
use tower::{
    BoxError, ServiceBuilder,
    util::{BoxCloneSyncService, BoxCloneSyncServiceLayer},
};
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};

/// The service behind the layer.
type Inner = BoxCloneSyncService<Request, Response, BoxError>;

/// A layer whose services share one sequence of ids.
pub fn layer() -> BoxCloneSyncServiceLayer<Inner, Request, Response, BoxError> {
    let stack = ServiceBuilder::new()
        .map_request(|mut request: Request| {
            request.headers_mut().remove("x-request-id");
            request
        })
        .layer(SetRequestIdLayer::x_request_id(Sequence::default()))
        .layer(PropagateRequestIdLayer::x_request_id());
    BoxCloneSyncServiceLayer::new(stack)
}

/// The ids, one after the other.
#[derive(Clone, Default)]
struct Sequence(Arc<AtomicU64>);

impl MakeRequestId for Sequence {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let id = HeaderValue::try_from(format!("req-{number:06}")).expect("letters and digits");
        Some(RequestId::new(id))
    }
}
