//! Tempting because it makes the exchange that the documentation of `Service` asks for, and the future owns only an answer.
//! After the exchange `self.inner` is the clone, and it is the one that is called.

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

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = self.issue();
        let span = info_span!("request", id = ?id);
        request.headers_mut().insert(HEADER, id.clone());
        // Taken out with its readiness, so that it can be called.
        let mut ready = self.inner.clone();
        mem::swap(&mut ready, &mut self.inner);
        let answer = span.in_scope(|| self.inner.call(request));
        let answer = async move {
            let mut response = answer.await?;
            response.headers_mut().insert(HEADER, id);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}
