//! A layer that gives each request an id: for the service behind it, for what is logged meanwhile, and for the client.
//!
//! # Symptom
//! None: behind a limit as many requests run as it allows, the others wait, and each is answered.
//!
//! # Trigger
//! 1. A service that lets only so many requests in, such as tower's `ConcurrencyLimit`, is behind the layer, in one
//!    stack with it.
//! 2. A request comes.
//!
//! # Fix
//! `call` takes the very instance that `poll_ready` has asked, with its reservation, and leaves a clone in its place. The
//! clone has reserved nothing, and is asked itself before the next call.
//!
//! # Cost
//! One clone of the service for each request, as before.
//!
//! # Start here
//! `RequestId::call`: what it takes, and what it leaves.

use std::{
    mem,
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

    // ANCHOR: fix
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // ANCHOR: mark-ready
        self.inner.poll_ready(cx)
        // ANCHOR_END: mark-ready
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = self.issue();
        let span = info_span!("request", id = ?id);
        request.headers_mut().insert(HEADER, id.clone());
        // The clone has reserved nothing, so it stays, and the one that is ready goes with the future.
        // ANCHOR: mark-call
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        // ANCHOR_END: mark-call
        let answer = async move {
            // Called in here and not outside, so that what it logs is logged in the span.
            // ANCHOR: mark-called
            let mut response = inner.call(request).await?;
            // ANCHOR_END: mark-called
            response.headers_mut().insert(HEADER, id);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
    // ANCHOR_END: fix
}
