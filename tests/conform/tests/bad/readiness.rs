//! Readiness asked of the wrong instance, not passed on, or lost.

use std::task::{Context, Poll, Waker};

use axum::{extract::Request, response::Response};
use conform::Subject;
use tower::{Service, ServiceExt, layer::layer_fn, util::MapResponse};

use crate::{
    Bad,
    support::{Calling, Inner},
};

pub(crate) fn all() -> Vec<Bad> {
    vec![
        Bad {
            name: "unready-clone",
            breaks: "called-where-ready",
            subject: Subject::layer(|| layer_fn(|inner| UnreadyClone { inner })),
        },
        Bad {
            name: "asks-a-clone",
            breaks: "ready-is-kept",
            subject: Subject::layer(|| layer_fn(|inner| AsksAClone { inner })),
        },
        Bad {
            name: "queues",
            breaks: "backpressure-passed-on",
            subject: Subject::layer(|| layer_fn(|inner| Queues { inner })),
        },
        Bad {
            name: "says-it-in-the-call",
            breaks: "readiness-error-passed",
            subject: Subject::layer(|| layer_fn(|inner| SaysItInTheCall::<conform::Probe> { inner, error: None })),
        },
        Bad {
            name: "waits-for-recovery",
            breaks: "late-readiness-error-told",
            subject: Subject::layer(|| layer_fn(|inner| WaitsForRecovery { inner, was_ready: false })),
        },
        Bad {
            name: "first-waker",
            breaks: "last-waker-woken",
            subject: Subject::layer(|| layer_fn(|inner| FirstWaker { inner, waker: None })),
        },
    ]
}

/// The unready clone in a layer that also drops a header of the answer.
pub(crate) fn unready_and_forgetful() -> Subject {
    let forget = |mut answer: Response| {
        answer.headers_mut().remove("vary");
        answer
    };
    Subject::layer(move || layer_fn(move |inner| MapResponse::new(UnreadyClone { inner }, forget)))
}

/// Polls one instance and calls another.
#[derive(Clone)]
struct UnreadyClone<S> {
    inner: S,
}

impl<S: Inner> Service<Request> for UnreadyClone<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Calling<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Calling<S> {
        let mut inner = self.inner.clone();
        Box::pin(async move { inner.call(request).await })
    }
}

/// Polls one instance, and waits for another in the call.
#[derive(Clone)]
struct AsksAClone<S> {
    inner: S,
}

impl<S: Inner> Service<Request> for AsksAClone<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Calling<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Calling<S> {
        Box::pin(self.inner.clone().oneshot(request))
    }
}

/// Says that it is ready, and lets the call wait.
#[derive(Clone)]
struct Queues<S> {
    inner: S,
}

impl<S: Inner> Service<Request> for Queues<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Calling<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.inner.poll_ready(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready => ready,
        }
    }

    fn call(&mut self, request: Request) -> Calling<S> {
        let next = self.inner.clone();
        Box::pin(std::mem::replace(&mut self.inner, next).oneshot(request))
    }
}

/// Keeps an error of `poll_ready` for the call.
struct SaysItInTheCall<S: Inner> {
    inner: S,
    error: Option<S::Error>,
}

impl<S: Inner> Clone for SaysItInTheCall<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), error: None }
    }
}

impl<S: Inner> Service<Request> for SaysItInTheCall<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Calling<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx).map(|ready| {
            self.error = ready.err();
            Ok(())
        })
    }

    fn call(&mut self, request: Request) -> Calling<S> {
        match self.error.take() {
            Some(error) => Box::pin(async { Err(error) }),
            None => Box::pin(self.inner.call(request)),
        }
    }
}

/// Takes a service that breaks down for one that is busy.
struct WaitsForRecovery<S> {
    inner: S,
    was_ready: bool,
}

impl<S: Inner> Clone for WaitsForRecovery<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), was_ready: false }
    }
}

impl<S: Inner> Service<Request> for WaitsForRecovery<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Calling<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.inner.poll_ready(cx) {
            Poll::Ready(Err(_)) if self.was_ready => Poll::Pending,
            Poll::Ready(Ok(())) => {
                self.was_ready = true;
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    fn call(&mut self, request: Request) -> Calling<S> {
        self.was_ready = false;
        Box::pin(self.inner.call(request))
    }
}

/// Remembers who asked first, and lets the inner service wake nobody else.
struct FirstWaker<S> {
    inner: S,
    waker: Option<Waker>,
}

impl<S: Inner> Clone for FirstWaker<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), waker: None }
    }
}

impl<S: Inner> Service<Request> for FirstWaker<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Calling<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let waker = self.waker.get_or_insert_with(|| cx.waker().clone()).clone();
        let ready = self.inner.poll_ready(&mut Context::from_waker(&waker));
        if ready.is_ready() {
            self.waker = None;
        }
        ready
    }

    fn call(&mut self, request: Request) -> Calling<S> {
        Box::pin(self.inner.call(request))
    }
}
