//! Keeps user and log id in locals of the layer, and tells the handler by request headers that the layer overwrites.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

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
    mut request: Request,
    next: Next,
) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Ok(user) = HeaderValue::from_str(user) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let log_id = HeaderValue::from(last_log_id.fetch_add(1, Ordering::Relaxed));
    // What a client sends under these names is gone from here on.
    request.headers_mut().insert("x-user", user.clone());
    request.headers_mut().insert("x-log-id", log_id.clone());
    let response = next.run(request).await;
    // Nobody may be reading the access log any more; the customer still gets the answer.
    let _ = access_log.send((text(&user), text(&log_id), response.status()));
    ([("x-user", user), ("x-log-id", log_id)], response).into_response()
}

/// The user's open orders, and the parcels that are on their way.
async fn orders(State(warehouse): State<Router>, headers: HeaderMap) -> Result<String, StatusCode> {
    let orders = ask(&warehouse, "/orders", &headers).await?;
    let parcels = ask(&warehouse, "/parcels", &headers).await?;
    Ok(orders + &parcels)
}

/// Asks the warehouse in the name of the user.
async fn ask(warehouse: &Router, path: &'static str, headers: &HeaderMap) -> Result<String, StatusCode> {
    let (user, log_id) = (text(&headers["x-user"]), text(&headers["x-log-id"]));
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

/// The text of a header that the layer has set.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The user named by `authorization: Bearer <user>`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}
