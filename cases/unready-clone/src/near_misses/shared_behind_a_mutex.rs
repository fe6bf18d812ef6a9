//! Tempting because there is no clone any more: each future locks the one service, asks it, and calls it.
//! The lock is held until the answer has come, so one call runs at a time, whatever the service allows.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{extract::Request, http::HeaderValue, response::Response};
use tokio::sync::Mutex;
use tower::{Layer, Service, ServiceExt};
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
        RequestId { inner: Arc::new(Mutex::new(inner)), issued: self.issued.clone() }
    }
}

/// Puts an id on each request and on its answer, in the place of one that the client may have sent.
#[derive(Clone, Debug)]
pub struct RequestId<S> {
    inner: Arc<Mutex<S>>,
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
    S: Service<Request, Response = Response> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Whoever holds the lock asks it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = self.issue();
        let span = info_span!("request", id = ?id);
        request.headers_mut().insert(HEADER, id.clone());
        let inner = self.inner.clone();
        let answer = async move {
            let mut inner = inner.lock().await;
            let mut response = inner.ready().await?.call(request).await?;
            response.headers_mut().insert(HEADER, id);
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}
