//! What the book's page "Test your own layer" shows: a layer as a reader may have one, its first finding, and the layer mended.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::{HeaderValue, Request, Response};
use conform::{Contract, Subject, lab::hammer::Force};
use tower::{Layer, Service};

// ANCHOR: layer
/// Puts `x-stamp` on each answer.
#[derive(Clone)]
struct StampLayer;

#[derive(Clone)]
struct Stamp<S> {
    inner: S,
}

impl<S> Layer<S> for StampLayer {
    type Service = Stamp<S>;

    fn layer(&self, inner: S) -> Stamp<S> {
        Stamp { inner }
    }
}

impl<S, B, R> Service<Request<B>> for Stamp<S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send, Error: Send> + Clone + Send + 'static,
    B: Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let mut answer = inner.call(request).await?;
            answer.headers_mut().insert("x-stamp", HeaderValue::from_static("seen"));
            Ok(answer)
        })
    }
}
// ANCHOR_END: layer

/// The same layer, as it is right.
mod mended {
    use super::*;

    #[derive(Clone)]
    pub(crate) struct StampLayer;

    #[derive(Clone)]
    pub(crate) struct Stamp<S> {
        inner: S,
    }

    impl<S> Layer<S> for StampLayer {
        type Service = Stamp<S>;

        fn layer(&self, inner: S) -> Stamp<S> {
            Stamp { inner }
        }
    }

    impl<S, B, R> Service<Request<B>> for Stamp<S>
    where
        S: Service<Request<B>, Response = Response<R>, Future: Send + 'static>,
    {
        type Response = Response<R>;
        type Error = S::Error;
        type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
            self.inner.poll_ready(cx)
        }

        // ANCHOR: mended
        fn call(&mut self, request: Request<B>) -> Self::Future {
            // This service is the one that is ready, and nothing has to be cloned.
            let answering = self.inner.call(request);
            Box::pin(async move {
                let mut answer = answering.await?;
                answer.headers_mut().insert("x-stamp", HeaderValue::from_static("seen"));
                Ok(answer)
            })
        }
        // ANCHOR_END: mended
    }
}

#[test]
fn the_first_finding() {
    let contract = Contract::transparent().touches("response header x-stamp");
    let report = conform::check(Subject::layer(|| StampLayer), &contract);
    assert!(!report.conforms());
    insta::assert_snapshot!(report.to_string());
}

use mended::StampLayer as MendedLayer;

// ANCHOR: test
#[test]
fn the_stamp_leaves_everything_else_alone() {
    let contract = Contract::transparent().touches("response header x-stamp");
    let report = conform::check(Subject::layer(|| MendedLayer), &contract);
    assert!(report.conforms(), "{report}");
}
// ANCHOR_END: test

// ANCHOR: hammer
#[test]
fn callers_on_two_threads_leave_each_other_alone() {
    let hammered = conform::hammer(Subject::layer(|| MendedLayer), Force::default());
    assert!(!hammered.is_rejected(), "{hammered}");
}
// ANCHOR_END: hammer
