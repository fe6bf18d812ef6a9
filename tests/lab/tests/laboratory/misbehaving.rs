//! Apps that do what an app under test must not do. They are here and not beside their tests so that the lines of their
//! panics, which stand in snapshots, seldom move.

use std::{
    convert::Infallible,
    future::{pending, ready},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{Router, body::Body, extract::Request, response::Response, routing};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tower::{Service, service_fn};

pub(crate) fn healthy() -> Router {
    Router::new().route("/", routing::get(|| async { "boo" }))
}

pub(crate) fn panics_when_made() -> Router {
    panic!("in the factory")
}

pub(crate) fn panics_in_call() -> Router {
    Router::new().fallback_service(PanicsInCall)
}

#[derive(Clone)]
struct PanicsInCall;

impl Service<Request> for PanicsInCall {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        assert!(request.uri().path().is_empty(), "in call");
        ready(Ok(Response::default()))
    }
}

pub(crate) fn panics_in_body() -> Router {
    Router::new().route("/", routing::get(|| async { Body::new(PanicsInPollFrame { polled: 0 }) }))
}

struct PanicsInPollFrame {
    polled: usize,
}

impl http_body::Body for PanicsInPollFrame {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polled += 1;
        match self.polled {
            1 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"one\n"))))),
            2 => {
                // The first frame reaches the client before the second one panics.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => panic!("in poll_frame"),
        }
    }
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in Drop")
    }
}

pub(crate) fn panics_when_dropped() -> Router {
    let waits = |_: Request| async {
        let _held = PanicsInDrop;
        pending::<Result<Response, Infallible>>().await
    };
    Router::new().fallback_service(service_fn(waits))
}

pub(crate) fn panics_with_the_runtime() -> Router {
    let spawns = || async {
        tokio::spawn(async {
            let _held = PanicsInDrop;
            pending::<()>().await
        });
        "spawned"
    };
    Router::new().route("/", routing::get(spawns))
}

pub(crate) fn panics_in_a_spawned_task() -> Router {
    let spawns = || async {
        tokio::spawn(async { panic!("in a detached task") });
        "spawned"
    };
    Router::new().route("/", routing::get(spawns))
}

pub(crate) fn panics_in_a_blocking_task() -> Router {
    let blocks = || async {
        let failed = tokio::task::spawn_blocking(|| panic!("in spawn_blocking")).await.is_err();
        failed.to_string()
    };
    Router::new().route("/", routing::get(blocks))
}

pub(crate) fn panics_with_a_payload_that_panics() -> Router {
    let throws = || async {
        std::panic::panic_any(PanicsInDrop);
        #[expect(unreachable_code, reason = "axum asks what the handler returns")]
        ""
    };
    Router::new().route("/", routing::get(throws))
}

pub(crate) fn panics_in_the_standard_library() -> Router {
    // Not the caller's place: the sum is std's own.
    let overflows = || async { [u64::MAX, 1].iter().sum::<u64>().to_string() };
    Router::new().route("/", routing::get(overflows))
}

pub(crate) fn never_answers() -> Router {
    Router::new().route("/", routing::get(pending::<Response>))
}

/// Answers with `body`, once, and logs when its part of the answer is dropped.
pub(crate) fn logging_until_dropped(body: Body) -> Router {
    struct LogsInDrop;
    impl Drop for LogsInDrop {
        fn drop(&mut self) {
            tracing::warn!("dropped");
        }
    }
    let held = std::sync::Mutex::new(Some(body));
    let answer = move || {
        let body = held.lock().ok().and_then(|mut held| held.take());
        let logs = LogsInDrop;
        let body = body.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held = &logs;
                frame
            }))
        });
        ready(body.unwrap_or_default())
    };
    let answer = std::sync::Arc::new(answer);
    Router::new().route("/", routing::get(move || answer()))
}
