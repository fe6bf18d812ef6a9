//! A layer that gives each request an id: for the service behind it, for what is logged meanwhile, and for the client.
//!
//! # Symptom
//! The release that puts a concurrency limit behind this layer answers nobody: each request ends in a closed connection,
//! and the panic's place is in tower. Without the limit all is well, and no test has failed.
//!
//! # Trigger
//! 1. A service that lets only so many requests in, such as tower's `ConcurrencyLimit`, is behind the layer, in one
//!    stack with it.
//! 2. A request comes.
//!
//! # Cause
//! `poll_ready` reserves a place with `self.inner`, and a reservation belongs to the instance that made it. The call then goes
//! to a clone, which has none. The place stays with `self.inner`, and is never used.
//!
//! # Cost
//! All requests, if the service behind insists on its contract. If it does not, more of them than the limit allows,
//! and only under load.
//!
//! # Start here
//! `RequestId::poll_ready` and `RequestId::call`: which service is asked, and which is called?

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{extract::Request, http::HeaderValue, response::Response};
use tower::{Layer, Service};
use tracing::{Instrument, info_span};

#[doc(hidden)]
pub mod near_misses;

/// Where service and client find the id.
const HEADER: &str = "x-request-id";

/// A layer whose services share one sequence of ids.
pub fn layer() -> RequestIdLayer {
    RequestIdLayer { issued: Arc::default() }
}

/// Wraps a service in [`RequestId`].
#[derive(Clone, Debug)]
pub struct RequestIdLayer {
    issued: Arc<AtomicU64>,
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestId<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestId { inner, issued: self.issued.clone() }
    }
}

/// Puts an id on each request and on its answer, in the place of one that the client may have sent.
#[derive(Clone, Debug)]
pub struct RequestId<S> {
    inner: S,
    issued: Arc<AtomicU64>,
}

impl<S> RequestId<S> {
    fn issue(&self) -> HeaderValue {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("req-{number:06}")).expect("letters and digits")
    }
}

impl<S> Service<Request> for RequestId<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    // ANCHOR: defect
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // ANCHOR: mark-ready
        self.inner.poll_ready(cx)
        // ANCHOR_END: mark-ready
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = self.issue();
        let span = info_span!("request", id = ?id);
        request.headers_mut().insert(HEADER, id.clone());
        // The answer may come long after this call has returned, so that the future needs a service of its own.
        // ANCHOR: mark-call
        let mut inner = self.inner.clone();
        // ANCHOR_END: mark-call
        let answer = async move {
            // Called in here and not outside, so that what it logs is logged in the span.
            // ANCHOR: mark-panic
            let mut response = inner.call(request).await?;
            // ANCHOR_END: mark-panic
            response.headers_mut().insert(HEADER, id);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
    // ANCHOR_END: defect
}
