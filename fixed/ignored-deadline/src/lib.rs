//! A checkout that answers by a deadline: it asks the bank, seals the receipt, then charges the order.
//!
//! # Symptom
//! None: a client that is told 504 has not been charged, and by then no asynchronous task of its request is left.
//!
//! # Trigger
//! 1. The bank takes longer than the budget, or the receipt is still being sealed when it is spent.
//! 2. The client is answered 504, believes it and orders again.
//! 3. Whatever the bank answers and whenever the receipt is sealed, the first order is not charged.
//!
//! # Fix
//! The deadline is one instant. All that can be dropped is dropped at that instant, whether or not the client still waits;
//! the bank is told what is left of the time, and so is the body that outlives the head. The closure that cannot be
//! stopped has to win a swap before it charges, against the deadline, which has to win the same one before it says 504.
//!
//! # Cost
//! One swap an order, and a clock read for each question to the bank. A closure that has lost still runs to its end.
//!
//! # Start here
//! `within_budget` sets the limit, `place_order` does the work, `Settlement` in `shared.rs` is between them.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    sync::mpsc::UnboundedSender,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tower::ServiceExt;
use tower_http::timeout::DeadlineBody;
use tracing::{info, warn};

use self::shared::Settlement;

mod shared;

mod sync {
    pub(crate) use std::sync::atomic;
}

/// The milliseconds for which the client is going to wait.
const BUDGET: &str = "x-budget-ms";

/// Serves `POST /orders/{order}` and `GET /statements/{order}`, and lets no client wait longer than `budget`.
pub fn app(
    bank: Router,
    seal: Arc<dyn Fn(&str) -> String + Send + Sync>,
    ledger: UnboundedSender<String>,
    budget: Duration,
) -> Router {
    Router::new()
        .route("/orders/{order}", post(place_order))
        .route("/statements/{order}", get(statement))
        .layer(from_fn_with_state(budget, within_budget))
        // An order goes on to its end or its deadline in a task of its own, though its client may hang up.
        .layer(from_fn(async |request: Request, next: Next| match *request.method() {
            Method::POST => tokio::spawn(next.run(request))
                .await
                .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()),
            _ => next.run(request).await,
        }))
        .with_state(Shop { bank, seal, ledger })
}

/// What a checkout needs; it is cloned for each request.
#[derive(Clone)]
struct Shop {
    bank: Router,
    seal: Arc<dyn Fn(&str) -> String + Send + Sync>,
    ledger: UnboundedSender<String>,
}

impl Shop {
    /// Asks the bank the same question as the client asked us.
    async fn ask(&self, method: Method, uri: &Uri, deadline: Instant) -> Response {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as u64;
        if left == 0 {
            return StatusCode::GATEWAY_TIMEOUT.into_response();
        }
        let question = Request::builder()
            .method(method)
            .uri(uri.path())
            .header(BUDGET, left)
            .body(Body::empty())
            .expect("a path that has been parsed before");
        let Ok(answer) = self.bank.clone().oneshot(question).await;
        answer
    }

    /// Charges `order` when the bank agrees, and returns the sealed receipt.
    async fn check_out(
        self,
        order: String,
        uri: Uri,
        settlement: Arc<Settlement>,
        deadline: Instant,
    ) -> Result<String, StatusCode> {
        let mut answer = self.ask(Method::POST, &uri, deadline).await;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            answer = self.ask(Method::POST, &uri, deadline).await;
        }
        if !answer.status().is_success() {
            return Err(answer.status());
        }
        let sealed = spawn_blocking(move || {
            let receipt = (self.seal)(&order);
            let charged = settlement.commit(|| self.ledger.send(order).is_ok());
            charged.then_some(receipt)
        });
        let receipt = sealed.await.ok().flatten().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        info!(path = uri.path(), "charged");
        Ok(receipt)
    }
}

// ANCHOR: fix
/// Answers 504 once the time is up that the client, or else `limit`, allows.
async fn within_budget(State(limit): State<Duration>, mut request: Request, next: Next) -> Response {
    let deadline = Instant::now() + granted(request.headers(), limit);
    let settlement = Arc::new(Settlement::new());
    request.extensions_mut().insert(Arc::clone(&settlement));
    // ANCHOR: mark-2
    request.extensions_mut().insert(deadline);
    // ANCHOR_END: mark-2
    let mut answer = pin!(next.run(request));
    if let Ok(answer) = timeout_at(deadline, &mut answer).await {
        return answer;
    }
    if !settlement.expire() {
        // The charge was quicker by a hair, so the receipt is all but there.
        return answer.await;
    }
    warn!("the deadline has passed");
    // ANCHOR: mark-gone
    StatusCode::GATEWAY_TIMEOUT.into_response()
    // ANCHOR_END: mark-gone
}

/// Checks out in the future that the deadline drops: the charge is the last step.
async fn place_order(
    State(shop): State<Shop>,
    Extension(settlement): Extension<Arc<Settlement>>,
    Extension(deadline): Extension<Instant>,
    Path(order): Path<String>,
    uri: Uri,
) -> Result<String, StatusCode> {
    // ANCHOR: mark-1-order
    shop.check_out(order, uri, settlement, deadline).await
    // ANCHOR_END: mark-1-order
}
// ANCHOR_END: fix

/// Streams the bank's statement of an order.
async fn statement(State(shop): State<Shop>, Extension(deadline): Extension<Instant>, uri: Uri) -> Response {
    let answer = shop.ask(Method::GET, &uri, deadline).await;
    let left = deadline.saturating_duration_since(Instant::now());
    answer.map(|body| Body::new(DeadlineBody::new(left, body)))
}

/// The tighter of our own limit and the client's.
fn granted(headers: &HeaderMap, limit: Duration) -> Duration {
    let wanted = headers.get(BUDGET).and_then(|value| value.to_str().ok()?.parse().ok());
    wanted.map_or(limit, |milliseconds| limit.min(Duration::from_millis(milliseconds)))
}
