//! Tempting because a buffer is made to be cloned, and has room for a thousand reservations.
//! It is ready as long as that room lasts, however full the service behind is, and it reports errors in its own words.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{extract::Request, http::HeaderValue, response::Response};
use tower::{BoxError, Layer, Service, ServiceExt, buffer::Buffer};
use tracing::{Instrument, info_span};

/// Where service and client find the id.
const HEADER: &str = "x-request-id";
/// How many requests may wait in the buffer.
const WAITING: usize = 1024;

/// A layer whose services share one sequence of ids.
pub fn layer() -> RequestIdLayer {
    RequestIdLayer { issued: Arc::default() }
}

/// Wraps a service in [`RequestId`].
#[derive(Clone, Debug)]
pub struct RequestIdLayer {
    issued: Arc<AtomicU64>,
}

impl<S> Layer<S> for RequestIdLayer
where
    S: Service<Request, Response = Response, Error = BoxError> + Send + 'static,
    S::Future: Send,
{
    type Service = RequestId<Buffer<Request, S::Future>>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestId { inner: Buffer::new(inner, WAITING), issued: self.issued.clone() }
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
        let inner = self.inner.clone();
        let answer = async move {
            let mut response = inner.oneshot(request).await?;
            response.headers_mut().insert(HEADER, id);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}
