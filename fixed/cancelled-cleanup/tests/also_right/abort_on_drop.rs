//! The whole write is in a task, which is aborted when the client leaves. The guard is in the task.

use std::{collections::hash_map::RandomState, convert::Infallible, hash::BuildHasher, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;
use tracing::warn;

/// Puts a lease round each `PUT /documents/{document}` of `routes`.
///
/// A lease is taken by `PUT /locks/{document}` with its id in `x-lease`, and given back by `DELETE`, for which there is
/// `patience`. The process ends when no clone of `drain` is left: whoever has something to clean up keeps one.
pub fn app(routes: Router, locks: Router, patience: Duration, drain: mpsc::Sender<Infallible>) -> Router {
    routes.layer(from_fn_with_state(Desk { locks, patience, _drain: drain }, hold_lease))
}

#[derive(Clone)]
struct Desk {
    locks: Router,
    patience: Duration,
    /// Held, and never used.
    _drain: mpsc::Sender<Infallible>,
}

/// A lease, taken or about to be.
#[derive(Clone)]
struct Lease {
    desk: Desk,
    document: String,
    id: String,
}

impl Lease {
    fn new(desk: Desk, document: String) -> Self {
        // Random, so that no other process has it either.
        Self { desk, document, id: format!("{:016x}", RandomState::new().hash_one(())) }
    }

    /// What the lock service answers.
    async fn ask(&self, method: Method) -> StatusCode {
        let question = Request::builder()
            .method(method)
            .uri(format!("/locks/{}", self.document))
            .header("x-lease", &self.id)
            .body(Body::empty())
            .expect("a path that has been parsed before");
        let Ok(answer) = self.desk.locks.clone().oneshot(question).await;
        answer.status()
    }

    /// Asks until the lock service has the lease back, or there is no patience left.
    async fn give_back(self) {
        let given_back = async {
            while !matches!(self.ask(Method::DELETE).await, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) {
                sleep(self.desk.patience / 20).await;
            }
        };
        if timeout(self.desk.patience, given_back).await.is_err() {
            warn!(document = self.document, "the lock service did not take the lease back");
        }
    }
}

async fn hold_lease(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let Some(document) = written(&request) else { return next.run(request).await };
    let task = AbortOnDropHandle::new(tokio::spawn(handled(desk, document, request, next)));
    task.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn handled(desk: Desk, document: String, request: Request, next: Next) -> Response {
    let held = Held { lease: Lease::new(desk, document), runtime: Handle::current() };
    match held.lease.ask(Method::PUT).await {
        StatusCode::CREATED => {}
        StatusCode::LOCKED => return StatusCode::LOCKED.into_response(),
        _ => return StatusCode::BAD_GATEWAY.into_response(),
    }
    next.run(request).await
}

/// Gives the lease back when it is dropped, also one that the lock service has not granted: that does no harm.
struct Held {
    lease: Lease,
    runtime: Handle,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The lease brings its clone of `drain` into the task.
        self.runtime.spawn(self.lease.clone().give_back());
    }
}

/// The document that this request writes.
fn written(request: &Request) -> Option<String> {
    let document = request.uri().path().strip_prefix("/documents/")?;
    let is_one = !document.is_empty() && !document.contains('/');
    (request.method() == Method::PUT && is_one).then(|| document.to_owned())
}
