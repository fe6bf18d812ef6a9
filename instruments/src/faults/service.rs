use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use super::{
    Faults, FaultyBody,
    rules::{Fault, Then},
};

/// The service that [`Faults`] makes.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    pub(super) inner: S,
    pub(super) faults: Faults,
}

impl<S, A, B> Service<Request<A>> for Faulty<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<FaultyBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let fault = self.faults.on.as_ref().and_then(|on| {
            let route = (self.faults.template)(request.uri(), request.extensions());
            on.rules().fault(route, request.method(), request.headers())
        });
        let Fault { delay, then } = fault.unwrap_or_default();
        if let Some(fault) = fault {
            count(fault);
        }
        let (mut waiting, mut inner) = (None, None);
        match (then, delay) {
            // Without the service.
            (Then::Refuse(_) | Then::Panic, _) => {}
            (_, None) => inner = Some(self.inner.call(request)),
            (_, Some(_)) => {
                // This instance is the one that is ready: it waits with the request, and the clone takes its place.
                let clone = self.inner.clone();
                waiting = Some((mem::replace(&mut self.inner, clone), request));
            }
        }
        ResponseFuture { delay: delay.map(sleep), waiting, inner, then }
    }
}

fn count(Fault { delay, then }: Fault) {
    let kind = match then {
        Then::Nothing => "delayed",
        Then::Refuse(_) => "refused",
        Then::Reset => "reset",
        Then::StallAfter(_) => "stalled",
        Then::CutAfter(_) => "cut",
        Then::Panic => "panicked",
    };
    metrics::counter!("faults_injected_total", "kind" => kind).increment(1);
    let delay_ms = delay.map(|delay| delay.as_millis() as u64);
    tracing::info!(target: "instruments::faults", kind, delay_ms, "a fault, on purpose");
}

pin_project! {
    /// The future of [`Faulty`].
    pub struct ResponseFuture<S, A>
    where
        S: Service<Request<A>>,
    {
        #[pin]
        delay: Option<Sleep>,
        waiting: Option<(S, Request<A>)>,
        #[pin]
        inner: Option<S::Future>,
        then: Then,
    }
}

impl<S, A, B> Future for ResponseFuture<S, A>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<FaultyBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(delay) = this.delay.as_mut().as_pin_mut() {
            ready!(delay.poll(cx));
            this.delay.set(None);
            if let Some((mut service, request)) = this.waiting.take() {
                this.inner.set(Some(service.call(request)));
            }
        }
        if let Some(inner) = this.inner.as_pin_mut() {
            let answer = ready!(inner.poll(cx))?;
            return Poll::Ready(Ok(answer.map(|body| FaultyBody::new(body, *this.then))));
        }
        match *this.then {
            Then::Refuse(status) => {
                let mut answer = Response::new(FaultyBody::empty());
                *answer.status_mut() = status;
                answer.headers_mut().insert("x-fault", HeaderValue::from_static("refused"));
                Poll::Ready(Ok(answer))
            }
            _ => panic!("a rule of the fault layer says so"),
        }
    }
}

impl<S: Service<Request<A>>, A> std::fmt::Debug for ResponseFuture<S, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
