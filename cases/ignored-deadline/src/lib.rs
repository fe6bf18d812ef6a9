//! A checkout that answers by a deadline: it asks the bank, seals the receipt, then charges the order.
//!
//! # Symptom
//! The client is told 504 and the card is charged all the same. While the bank is slow, the tasks of requests that
//! were answered long ago pile up.
//!
//! # Trigger
//! 1. The bank takes longer than the budget, or the receipt is still being sealed when it is spent.
//! 2. The client is answered 504, believes it and orders again.
//! 3. The bank answers, the receipt is sealed, and the first order is charged.
//!
//! # Cause
//! A timeout drops the future it wraps and nothing else. The handler's future only waits for a task; dropping the
//! handle of a task detaches it, a closure in `spawn_blocking` cannot be stopped at all, the bank is never told how
//! much time there was, and a body that streams on after the head is no longer under the timeout.
//!
//! # Cost
//! Customers pay for orders that they were told had failed, often twice; and an overloaded service goes on with work
//! whose answer nobody waits for.
//!
//! # Start here
//! `within_budget` sets the limit, `place_order` does the work, `Settlement` in `shared.rs` is between them.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    sync::mpsc::UnboundedSender,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tower::ServiceExt;
use tracing::{info, warn};

use self::shared::Settlement;

#[doc(hidden)]
pub mod near_misses;
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
    async fn ask(&self, method: Method, uri: &Uri) -> Response {
        let question = Request::builder()
            .method(method)
            .uri(uri.path())
            .body(Body::empty())
            .expect("a path that has been parsed before");
        let Ok(answer) = self.bank.clone().oneshot(question).await;
        answer
    }

    /// Charges `order` when the bank agrees, and returns the sealed receipt.
    async fn check_out(self, order: String, uri: Uri, settlement: Arc<Settlement>) -> Result<String, StatusCode> {
        let mut answer = self.ask(Method::POST, &uri).await;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            answer = self.ask(Method::POST, &uri).await;
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

// ANCHOR: defect
/// Answers 504 once the time is up that the client, or else `limit`, allows.
async fn within_budget(State(limit): State<Duration>, mut request: Request, next: Next) -> Response {
    // ANCHOR: mark-1
    let deadline = Instant::now() + granted(request.headers(), limit);
    // ANCHOR_END: mark-1
    let settlement = Arc::new(Settlement::new());
    request.extensions_mut().insert(Arc::clone(&settlement));
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

/// Checks out in a task of its own, so that a client who hangs up does not interrupt a payment halfway.
async fn place_order(
    State(shop): State<Shop>,
    Extension(settlement): Extension<Arc<Settlement>>,
    Path(order): Path<String>,
    uri: Uri,
) -> Result<String, StatusCode> {
    // ANCHOR: mark-2-order
    let checkout = tokio::spawn(shop.check_out(order, uri, settlement));
    // ANCHOR_END: mark-2-order
    checkout.await.unwrap_or(Err(StatusCode::INTERNAL_SERVER_ERROR))
}
// ANCHOR_END: defect

/// Streams the bank's statement of an order.
async fn statement(State(shop): State<Shop>, uri: Uri) -> Response {
    shop.ask(Method::GET, &uri).await
}

/// The tighter of our own limit and the client's.
fn granted(headers: &HeaderMap, limit: Duration) -> Duration {
    let wanted = headers.get(BUDGET).and_then(|value| value.to_str().ok()?.parse().ok());
    wanted.map_or(limit, |milliseconds| limit.min(Duration::from_millis(milliseconds)))
}
