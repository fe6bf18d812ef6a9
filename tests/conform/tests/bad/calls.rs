//! Calls that are serialised, mixed up, moved to another task, or not given up.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Method, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use conform::{Subject, lab::SourceError};
use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tower::{BoxError, Service, ServiceBuilder, layer::layer_fn};

use crate::{
    Bad,
    support::{Inner, app},
};

pub(crate) fn all() -> Vec<Bad> {
    vec![
        app("shadows", "lets-through", async |request: Request, next: Next| {
            let mut shadow = Request::new(Body::empty());
            *shadow.method_mut() = request.method().clone();
            *shadow.uri_mut() = request.uri().clone();
            drop(next.clone().run(shadow).await);
            next.run(request).await
        }),
        app("known-methods", "methods-pass", async |request: Request, next: Next| {
            let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS, Method::CONNECT];
            if !known.contains(request.method()) && request.uri().path() == "/probe/1" {
                return StatusCode::METHOD_NOT_ALLOWED.into_response();
            }
            next.run(request).await
        }),
        one_at_a_time(),
        app("late", "calls-overlap", async |request, next: Next| {
            tokio::time::sleep(Duration::from_millis(7)).await;
            next.run(request).await
        }),
        captured_slot(),
        app("spawns-with-abort", "same-task", async |request, next: Next| {
            AbortOnDrop(tokio::spawn(next.run(request))).await
        }),
        app("spawns-and-detaches", "same-task", async |request, next: Next| {
            tokio::spawn(next.run(request)).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        }),
        Bad {
            name: "keeps-futures",
            breaks: "cancel-reaches-inner",
            subject: Subject::layer(|| layer_fn(|inner| KeepsFutures { inner, from: 1 })),
        },
        Bad {
            name: "finishes-what-has-begun",
            breaks: "cancelled-at-each-step",
            subject: Subject::layer(|| layer_fn(|inner| KeepsFutures { inner, from: 3 })),
        },
        app("watchdog", "nothing-left-running", async |request, next: Next| {
            tokio::spawn(tokio::time::sleep(Duration::from_secs(3600)));
            next.run(request).await
        }),
        Bad {
            name: "error-as-text",
            breaks: "service-error-unchanged",
            subject: Subject::layer(|| {
                ServiceBuilder::new().then(async |result: Result<Response, SourceError>| {
                    result.map_err(|error| BoxError::from(error.to_string()))
                })
            }),
        },
        app("swallows-panics", "survives-a-panic", async |request, next: Next| {
            AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_default()
        }),
    ]
}

fn one_at_a_time() -> Bad {
    let subject = Subject::app(|routes: Router| {
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        routes.layer(from_fn(move |request, next: Next| {
            let lock = lock.clone();
            async move {
                let _held = lock.lock().await;
                next.run(request).await
            }
        }))
    });
    Bad { name: "one-at-a-time", breaks: "calls-overlap", subject }
}

fn captured_slot() -> Bad {
    let subject = Subject::app(|routes: Router| {
        let slot = Arc::new(Mutex::new(None));
        routes.layer(from_fn(move |request: Request, next: Next| {
            let slot = slot.clone();
            async move {
                *slot.lock().expect("never poisoned") = request.headers().get("x-marker").cloned();
                let mut answer = next.run(request).await;
                if let Some(marker) = slot.lock().expect("never poisoned").clone() {
                    answer.headers_mut().insert("x-marker", marker);
                }
                answer
            }
        }))
    });
    Bad { name: "captured-slot", breaks: "requests-isolated", subject }
}

struct AbortOnDrop(JoinHandle<Response>);

impl Future for AbortOnDrop {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps futures that are given up after so many polls: somebody may want the answer.
#[derive(Clone)]
struct KeepsFutures<S> {
    inner: S,
    from: usize,
}

type Boxed<S> =
    Pin<Box<dyn Future<Output = Result<<S as Service<Request>>::Response, <S as Service<Request>>::Error>> + Send>>;

struct Kept<S: Inner> {
    future: Option<Boxed<S>>,
    polls: usize,
    from: usize,
}

impl<S: Inner> Service<Request> for KeepsFutures<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Kept<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Kept<S> {
        Kept { future: Some(Box::pin(self.inner.call(request))), polls: 0, from: self.from }
    }
}

impl<S: Inner> Future for Kept<S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls += 1;
        let answer = self.future.as_mut().expect("polled after its end").as_mut().poll(cx);
        if answer.is_ready() {
            self.future = None;
        }
        answer
    }
}

impl<S: Inner> Drop for Kept<S> {
    fn drop(&mut self) {
        if self.polls >= self.from && !std::thread::panicking() {
            std::mem::forget(self.future.take());
        }
    }
}
