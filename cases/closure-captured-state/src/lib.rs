//! An order desk: `GET /orders` shows a customer their orders and parcels, asked from the warehouse.
//!
//! # Symptom
//! Ada's page lists Bob's parcels, and her request is in the access log under Bob's name. It happens a
//! few times a day, never in a test.
//!
//! # Trigger
//! 1. Ada asks for her orders; the warehouse takes its time.
//! 2. Bob asks for his before Ada has her answer.
//! 3. The warehouse answers Ada's first question, and the desk asks the second.
//!
//! # Cause
//! The closure that is given to `from_fn` captures one `RequestContext`. axum clones the closure for each
//! request, but a clone of an `Arc` is the same cell: all requests write and read one slot. By the time
//! a request reads after an `.await` what it wrote before, another one has overwritten it.
//!
//! # Cost
//! One customer's data in another's hands, and an access log that cannot say whose.
//!
//! # Start here
//! [`app`], then `identify`, then `shared.rs`.

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

use crate::shared::RequestContext;

mod shared;
mod sync {
    pub(crate) use std::sync::{Arc, Mutex, atomic};
}

#[doc(hidden)]
pub mod near_misses;

/// The order desk in front of `warehouse`.
///
/// Customers come with `authorization: Bearer <user>`. The warehouse is told the user in `x-user`; each
/// answer carries `x-user` and `x-log-id`, and leaves `(user, log id, status)` in the access log.
pub fn app(warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    // ANCHOR: defect
    let context = RequestContext::new();
    Router::new()
        .route("/orders", get(orders))
        .layer(Extension(context.clone()))
        .layer(from_fn(move |request, next| identify(context.clone(), access_log.clone(), request, next)))
        // ANCHOR_END: defect
        .with_state(warehouse)
}

// ANCHOR: identify
/// Finds out who asks, and puts the name and the log id on the answer and into the access log.
async fn identify(
    context: RequestContext,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    // ANCHOR: mark-overwrites
    context.begin(user);
    // ANCHOR_END: mark-overwrites
    let response = next.run(request).await;
    let (user, log_id) = (context.user(), context.log_id());
    // Nobody may be reading the access log any more; the customer still gets the answer.
    let _ = access_log.send((user.clone(), log_id.clone(), response.status()));
    ([("x-user", user), ("x-log-id", log_id)], response).into_response()
}
// ANCHOR_END: identify

/// The user's open orders, and the parcels that are on their way.
async fn orders(
    State(warehouse): State<Router>,
    Extension(context): Extension<RequestContext>,
) -> Result<String, StatusCode> {
    let orders = ask(&warehouse, "/orders", &context).await?;
    // ANCHOR: mark-parcels
    let parcels = ask(&warehouse, "/parcels", &context).await?;
    // ANCHOR_END: mark-parcels
    Ok(orders + &parcels)
}

/// Asks the warehouse in the name of the user.
async fn ask(warehouse: &Router, path: &'static str, context: &RequestContext) -> Result<String, StatusCode> {
    let (user, log_id) = (context.user(), context.log_id());
    tracing::info!(log_id, user, "asking for {path}");
    let question =
        Request::get(path).header("x-user", user).body(Body::empty()).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let Ok(answer) = warehouse.clone().oneshot(question).await;
    if !answer.status().is_success() {
        return Err(answer.status());
    }
    let list = to_bytes(answer.into_body(), 64 * 1024).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    String::from_utf8(list.into()).map_err(|_| StatusCode::BAD_GATEWAY)
}

/// The user named by `authorization: Bearer <user>`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
