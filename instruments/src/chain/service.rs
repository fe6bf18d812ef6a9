use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Chain, Inside, TimedBody, trace::Tracing};

/// The service that [`NamedLayer`](super::NamedLayer) makes.
pub struct Timed<S> {
    inner: S,
    chain: Chain,
    name: &'static str,
    /// When it was first asked whether it is ready, while it is not called.
    asked: Option<u64>,
    ready: Option<u64>,
}

impl<S> Timed<S> {
    pub(super) fn new(inner: S, chain: Chain, name: &'static str) -> Self {
        Self { inner, chain, name, asked: None, ready: None }
    }
}

impl<S: Clone> Clone for Timed<S> {
    /// A clone has not been asked anything.
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.chain.clone(), self.name)
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Timed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timed").field("name", &self.name).field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, A, B> Service<Request<A>> for Timed<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<TimedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.inner.poll_ready(cx) {
            Poll::Pending => {
                self.asked.get_or_insert_with(|| self.chain.shared.now());
                Poll::Pending
            }
            Poll::Ready(Ok(())) => {
                // One that had to wait for nothing is ready when it is called.
                if self.asked.is_some() {
                    self.ready.get_or_insert_with(|| self.chain.shared.now());
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let now = self.chain.shared.now();
        let waited = match (self.asked.take(), self.ready.take()) {
            (Some(asked), Some(ready)) => (asked, ready),
            _ => (now, now),
        };
        let (tracing, span) = match request.extensions_mut().get_mut::<Inside>() {
            Some(inside) => {
                let span = inside.tracing.call(self.name, Some(inside.span), waited, now);
                inside.span = span.unwrap_or(inside.span);
                (inside.tracing.clone(), span)
            }
            None => {
                let tracing = self.chain.begin(&request);
                let span = tracing.call(self.name, None, waited, now);
                request.extensions_mut().insert(Inside { tracing: tracing.clone(), span: 0 });
                (tracing, span)
            }
        };
        let open = span.map(|span| Open { chain: self.chain.clone(), tracing, span, ended: false });
        ResponseFuture { inner: self.inner.call(request), open }
    }
}

/// A call that has not ended. It ends when this is dropped.
pub(super) struct Open {
    chain: Chain,
    tracing: Arc<Tracing>,
    span: usize,
    /// Whether the end has been told already.
    ended: bool,
}

impl Open {
    /// The first byte of the body is there, and perhaps its end: the clock is read once for both.
    pub(super) fn first(&mut self, and_ended: bool) {
        self.ended = and_ended;
        self.tracing.first(self.span, self.chain.shared.now(), and_ended);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.tracing.end(self.span, self.chain.shared.now());
        }
        if self.span == 0 {
            self.chain.end(&self.tracing);
        }
    }
}

pin_project! {
    /// The future of [`Timed`].
    pub struct ResponseFuture<F> {
        // Dropped first: what is inside ends before what is outside.
        #[pin]
        inner: F,
        open: Option<Open>,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<TimedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        let open = this.open.take();
        let answer = answer?;
        if let Some(open) = &open {
            open.tracing.head(open.span, open.chain.shared.now(), answer.status());
        }
        Poll::Ready(Ok(answer.map(|inner| TimedBody::new(inner, open))))
    }
}

impl<F> std::fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
