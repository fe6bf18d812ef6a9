//! Does it with a `tokio::task_local!` that is scoped round the rest of the request, and random log ids.

use std::hash::{BuildHasher, Hasher, RandomState};

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

tokio::task_local! {
    /// Who asks, and the id under which the logs know the request.
    static CURRENT: (String, String);
}

/// The order desk in front of `warehouse`.
///
/// Customers come with `authorization: Bearer <user>`. The warehouse is told the user in `x-user`; each
/// answer carries `x-user` and `x-log-id`, and leaves `(user, log id, status)` in the access log.
pub fn app(warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    Router::new()
        .route("/orders", get(orders))
        .layer(from_fn(move |request, next| identify(access_log.clone(), request, next)))
        .with_state(warehouse)
}

/// Finds out who asks, and puts the name and the log id on the answer and into the access log.
async fn identify(access_log: UnboundedSender<(String, String, StatusCode)>, request: Request, next: Next) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    // std seeds each of its hashers at random: enough for an id, and no crate to depend on.
    let log_id = format!("{:016x}", RandomState::new().build_hasher().finish());
    let user = user.to_owned();
    let response = CURRENT.scope((user.clone(), log_id.clone()), next.run(request)).await;
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
    let (user, log_id) = CURRENT.get();
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
