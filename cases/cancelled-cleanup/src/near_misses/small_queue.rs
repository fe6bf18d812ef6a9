//! The guard sends its lease to a sweeper, through a bounded queue.
//!
//! It tempts because an unbounded queue is a leak that waits, and `try_send` is all that `Drop` can do with a bounded one. What doesn't fit is lost: a hundred that leave at once are more than sixteen.

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
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::ServiceExt;
use tracing::warn;

/// Puts a lease round each `PUT /documents/{document}` of `routes`.
///
/// A lease is taken by `PUT /locks/{document}` with its id in `x-lease`, and given back by `DELETE`, for which there is
/// `patience`. The process ends when no clone of `drain` is left: whoever has something to clean up keeps one.
pub fn app(routes: Router, locks: Router, patience: Duration, drain: mpsc::Sender<Infallible>) -> Router {
    let (returned, returns) = mpsc::channel(16);
    tokio::spawn(sweep(returns, drain));
    routes.layer(from_fn_with_state((Desk { locks, patience }, returned), hold_lease))
}

#[derive(Clone)]
struct Desk {
    locks: Router,
    patience: Duration,
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

async fn hold_lease(
    State((desk, returned)): State<(Desk, mpsc::Sender<Lease>)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(document) = written(&request) else { return next.run(request).await };
    let held = Held { lease: Lease::new(desk, document), returned };
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
    returned: mpsc::Sender<Lease>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.returned.try_send(self.lease.clone());
    }
}

/// Gives leases back, each in a task, until nobody can return one any more.
async fn sweep(mut returns: mpsc::Receiver<Lease>, _drain: mpsc::Sender<Infallible>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            lease = returns.recv() => match lease {
                Some(lease) => drop(tasks.spawn(lease.give_back())),
                None => break,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    tasks.join_all().await;
}

/// The document that this request writes.
fn written(request: &Request) -> Option<String> {
    let document = request.uri().path().strip_prefix("/documents/")?;
    let is_one = !document.is_empty() && !document.contains('/');
    (request.method() == Method::PUT && is_one).then(|| document.to_owned())
}
