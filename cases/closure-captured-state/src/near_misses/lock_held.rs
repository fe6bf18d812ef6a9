//! The slot belongs to one request at a time, from its beginning to its end.
//!
//! It tempts because it is a textbook critical section, and tokio's mutex may be held across an `.await`.
//! The desk serves one customer at a time: anyone who comes while the warehouse is slow has to wait.

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::{Mutex, mpsc::UnboundedSender};
use tower::ServiceExt;

use crate::{shared::RequestContext, sync::Arc};

/// The order desk in front of `warehouse`.
///
/// Customers come with `authorization: Bearer <user>`. The warehouse is told the user in `x-user`; each
/// answer carries `x-user` and `x-log-id`, and leaves `(user, log id, status)` in the access log.
pub fn app(warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    let context = RequestContext::new();
    let turn = Arc::new(Mutex::new(()));
    Router::new()
        .route("/orders", get(orders))
        .layer(Extension(context.clone()))
        .layer(from_fn(move |request, next| identify(context.clone(), turn.clone(), access_log.clone(), request, next)))
        .with_state(warehouse)
}

/// Finds out who asks, and puts the name and the log id on the answer and into the access log.
async fn identify(
    context: RequestContext,
    turn: Arc<Mutex<()>>,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let _turn = turn.lock().await;
    context.begin(user);
    let response = next.run(request).await;
    let (user, log_id) = (context.user(), context.log_id());
    // Nobody may be reading the access log any more; the customer still gets the answer.
    let _ = access_log.send((user.clone(), log_id.clone(), response.status()));
    ([("x-user", user), ("x-log-id", log_id)], response).into_response()
}

/// The user's open orders, and the parcels that are on their way.
async fn orders(
    State(warehouse): State<Router>,
    Extension(context): Extension<RequestContext>,
) -> Result<String, StatusCode> {
    let orders = ask(&warehouse, "/orders", &context).await?;
    let parcels = ask(&warehouse, "/parcels", &context).await?;
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
