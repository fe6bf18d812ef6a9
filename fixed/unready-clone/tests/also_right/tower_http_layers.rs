//! Writes next to no service: tower-http's layers set the id and copy it to the answer, and `map_request` and `map_response`
//! take away the one that the client or the service may have sent. Only the span is ours. Each calls the service where it
//! stands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{extract::Request, http::HeaderValue, response::Response};
use tower::{
    BoxError, Service, ServiceBuilder,
    layer::layer_fn,
    util::{BoxCloneSyncService, BoxCloneSyncServiceLayer},
};
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tracing::{Instrument, info_span, instrument::Instrumented};

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
        .layer(PropagateRequestIdLayer::x_request_id())
        .map_response(|mut response: Response| {
            response.headers_mut().remove("x-request-id");
            response
        })
        .layer(layer_fn(InSpan));
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

/// Calls the service in a span with the id of the request, which is on it by now.
#[derive(Clone)]
struct InSpan<S>(S);

impl<S: Service<Request>> Service<Request> for InSpan<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let span = info_span!("request", id = ?request.headers().get("x-request-id"));
        span.in_scope(|| self.0.call(request)).instrument(span)
    }
}
