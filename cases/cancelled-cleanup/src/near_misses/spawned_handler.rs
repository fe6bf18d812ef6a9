//! All of it in a task, which no client can break off.
//!
//! It tempts because every line of it is run, however the client fares. So is the handler: nobody can stop it any more.

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
    sync::mpsc,
    time::{sleep, timeout},
};
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
    let task = tokio::spawn(handled(Lease::new(desk, document), request, next));
    task.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The answer, when the lease has been given back.
async fn handled(lease: Lease, request: Request, next: Next) -> Response {
    match lease.ask(Method::PUT).await {
        StatusCode::CREATED => {}
        StatusCode::LOCKED => return StatusCode::LOCKED.into_response(),
        _ => return StatusCode::BAD_GATEWAY.into_response(),
    }
    // In a task of its own, so that a panic comes out as an error.
    let answer = tokio::spawn(next.run(request)).await;
    lease.give_back().await;
    answer.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The document that this request writes.
fn written(request: &Request) -> Option<String> {
    let document = request.uri().path().strip_prefix("/documents/")?;
    let is_one = !document.is_empty() && !document.contains('/');
    (request.method() == Method::PUT && is_one).then(|| document.to_owned())
}
