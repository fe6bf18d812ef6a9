use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{ObservedBody, Outcome, Shared, record::Record};

/// The service that [`Observe`](super::Observe) makes.
#[derive(Clone)]
pub struct Observed<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Observed<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, A, B> Service<Request<A>> for Observed<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<ObservedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let route = self.shared.series.route((self.shared.template)(request.uri(), request.extensions()));
        let mut record = Record::new(self.shared.clone(), route, request.method().clone());
        let inner = record.run(|| self.inner.call(request));
        ResponseFuture { inner, record: Some(record) }
    }
}

pin_project! {
    /// The future of [`Observed`].
    pub struct ResponseFuture<F> {
        // Before `inner`: dropped first, it tells the end before what belongs to the request is released.
        record: Option<Record>,
        #[pin]
        inner: F,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ObservedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(record) = this.record else { panic!("a future is not polled after its end") };
        let answer = ready!(record.run(|| this.inner.poll(cx)));
        let mut record = this.record.take().expect("it was there a line ago");
        Poll::Ready(match answer {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                record.head(head.status, &head.headers, body.size_hint().exact());
                let mut body = ObservedBody { record: Some(record), inner: body };
                body.ends_where_the_inner_does();
                Ok(Response::from_parts(head, body))
            }
            Err(error) => {
                record.end(Outcome::Failed);
                Err(error)
            }
        })
    }
}

impl<F> std::fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
