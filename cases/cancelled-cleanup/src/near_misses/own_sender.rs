//! A sweeper that keeps a sender of its own queue, to put a refused lease back into it.
//!
//! It tempts because the queue is then the only place where leases wait. It ends when its last sender is gone, and that is the sweeper's own: the process waits for ever.

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
    time::{Instant, sleep, timeout},
};
use tower::ServiceExt;
use tracing::warn;

/// Puts a lease round each `PUT /documents/{document}` of `routes`.
///
/// A lease is taken by `PUT /locks/{document}` with its id in `x-lease`, and given back by `DELETE`, for which there is
/// `patience`. The process ends when no clone of `drain` is left: whoever has something to clean up keeps one.
pub fn app(routes: Router, locks: Router, patience: Duration, drain: mpsc::Sender<Infallible>) -> Router {
    let (returned, returns) = mpsc::unbounded_channel();
    tokio::spawn(sweep(returned.clone(), returns, drain));
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
    /// When it was to be given back first.
    returned: Option<Instant>,
}

impl Lease {
    fn new(desk: Desk, document: String) -> Self {
        // Random, so that no other process has it either.
        Self { desk, document, id: format!("{:016x}", RandomState::new().hash_one(())), returned: None }
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

    fn is_over(&self) -> bool {
        self.returned.is_some_and(|since| since.elapsed() >= self.desk.patience)
    }
}

/// Asks once; a lease that is refused comes into the queue again, until there is no patience left.
async fn give_back(mut lease: Lease, returned: mpsc::UnboundedSender<Lease>) {
    let since = *lease.returned.get_or_insert_with(Instant::now);
    let left = lease.desk.patience.saturating_sub(since.elapsed());
    let answer = timeout(left, lease.ask(Method::DELETE)).await;
    if matches!(answer, Ok(StatusCode::NO_CONTENT | StatusCode::NOT_FOUND)) {
        return;
    }
    if answer.is_err() || lease.is_over() {
        warn!(document = lease.document, "the lock service did not take the lease back");
        return;
    }
    sleep(lease.desk.patience / 20).await;
    let _ = returned.send(lease);
}

async fn hold_lease(
    State((desk, returned)): State<(Desk, mpsc::UnboundedSender<Lease>)>,
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
    returned: mpsc::UnboundedSender<Lease>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Nobody takes it when the runtime is gone, and then nothing can be given back.
        let _ = self.returned.send(self.lease.clone());
    }
}

/// Gives leases back, each in a task. The sender is for those that the lock service has refused.
async fn sweep(
    returned: mpsc::UnboundedSender<Lease>,
    mut returns: mpsc::UnboundedReceiver<Lease>,
    _drain: mpsc::Sender<Infallible>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            lease = returns.recv() => match lease {
                Some(lease) => drop(tasks.spawn(give_back(lease, returned.clone()))),
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
