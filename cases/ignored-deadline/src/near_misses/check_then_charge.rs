//! Each side has a flag and looks at the other's: the closure straight before it charges, and every timed test passes.
//! Looking and charging are two steps. On another thread the deadline comes between them, sees no charge, and says 504.

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

/// The instant at which the client stops waiting.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
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
    async fn ask(&self, method: Method, uri: &Uri, deadline: Deadline) -> Response {
        let left = deadline.left().as_millis() as u64;
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
        deadline: Deadline,
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

/// Answers 504 once the time is up that the client, or else `limit`, allows.
async fn within_budget(State(limit): State<Duration>, mut request: Request, next: Next) -> Response {
    let deadline = Deadline(Instant::now() + granted(request.headers(), limit));
    let settlement = Arc::new(Settlement::new());
    request.extensions_mut().insert(Arc::clone(&settlement));
    request.extensions_mut().insert(deadline);
    let mut answer = pin!(next.run(request));
    if let Ok(answer) = timeout_at(deadline.0, &mut answer).await {
        return answer;
    }
    if !settlement.expire() {
        // The charge was quicker by a hair, so the receipt is all but there.
        return answer.await;
    }
    warn!("the deadline has passed");
    StatusCode::GATEWAY_TIMEOUT.into_response()
}

/// Checks out in the future that the deadline drops: the charge is the last step.
async fn place_order(
    State(shop): State<Shop>,
    Extension(settlement): Extension<Arc<Settlement>>,
    Extension(deadline): Extension<Deadline>,
    Path(order): Path<String>,
    uri: Uri,
) -> Result<String, StatusCode> {
    shop.check_out(order, uri, settlement, deadline).await
}

/// Streams the bank's statement of an order.
async fn statement(State(shop): State<Shop>, Extension(deadline): Extension<Deadline>, uri: Uri) -> Response {
    let answer = shop.ask(Method::GET, &uri, deadline).await;
    answer.map(|body| Body::new(DeadlineBody::new(deadline.left(), body)))
}

/// The tighter of our own limit and the client's.
fn granted(headers: &HeaderMap, limit: Duration) -> Duration {
    let wanted = headers.get(BUDGET).and_then(|value| value.to_str().ok()?.parse().ok());
    wanted.map_or(limit, |milliseconds| limit.min(Duration::from_millis(milliseconds)))
}
