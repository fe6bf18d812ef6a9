//! A slot for each thread.
//!
//! It tempts because two threads can no longer meet in one slot, and no lock is needed.
//! A thread serves another request at every `.await`, and a request may go on elsewhere, where the slot is another's.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

thread_local! {
    /// Who asks, and the id under which the logs know the request that this thread serves.
    static CURRENT: RefCell<(String, u64)> = const { RefCell::new((String::new(), 0)) };
}

/// The user and the log id of the request that this thread serves.
fn current() -> (String, String) {
    CURRENT.with_borrow(|(user, log_id)| (user.clone(), format!("desk-{log_id}")))
}

/// The order desk in front of `warehouse`.
///
/// Customers come with `authorization: Bearer <user>`. The warehouse is told the user in `x-user`; each
/// answer carries `x-user` and `x-log-id`, and leaves `(user, log id, status)` in the access log.
pub fn app(warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    let last_log_id = Arc::new(AtomicU64::new(0));
    Router::new()
        .route("/orders", get(orders))
        .layer(from_fn(move |request, next| identify(last_log_id.clone(), access_log.clone(), request, next)))
        .with_state(warehouse)
}

/// Finds out who asks, and puts the name and the log id on the answer and into the access log.
async fn identify(
    last_log_id: Arc<AtomicU64>,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let log_id = last_log_id.fetch_add(1, Ordering::Relaxed) + 1;
    CURRENT.set((user.to_owned(), log_id));
    let response = next.run(request).await;
    let (user, log_id) = current();
    // Nobody may be reading the access log any more; the customer still gets the answer.
    let _ = access_log.send((user.clone(), log_id.clone(), response.status()));
    ([("x-user", user), ("x-log-id", log_id)], response).into_response()
}

/// The user's open orders, and the parcels that are on their way.
async fn orders(State(warehouse): State<Router>) -> Result<String, StatusCode> {
    let orders = ask(&warehouse, "/orders").await?;
    let parcels = ask(&warehouse, "/parcels").await?;
    Ok(orders + &parcels)
}

/// Asks the warehouse in the name of the user.
async fn ask(warehouse: &Router, path: &'static str) -> Result<String, StatusCode> {
    let (user, log_id) = current();
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
