//! The request has a context of its own, and the slot is left to the access log.
//!
//! It tempts because handler and answer are right now, and the line for the access log was right whenever it was tried.
//! The line is written after the `.await`: it names the customer who came last.

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

use crate::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

/// Who asks, and the id under which the logs know the request.
#[derive(Clone, Default)]
struct RequestContext {
    user: String,
    log_id: u64,
}

impl RequestContext {
    fn user(&self) -> String {
        self.user.clone()
    }

    fn log_id(&self) -> String {
        format!("desk-{}", self.log_id)
    }
}

/// What the layer keeps: the last log id, and the context that goes into the access log.
#[derive(Clone, Default)]
struct Desk {
    last_log_id: Arc<AtomicU64>,
    current: Arc<Mutex<RequestContext>>,
}

/// The order desk in front of `warehouse`.
///
/// Customers come with `authorization: Bearer <user>`. The warehouse is told the user in `x-user`; each
/// answer carries `x-user` and `x-log-id`, and leaves `(user, log id, status)` in the access log.
pub fn app(warehouse: Router, access_log: UnboundedSender<(String, String, StatusCode)>) -> Router {
    let desk = Desk::default();
    Router::new()
        .route("/orders", get(orders))
        .layer(from_fn(move |request, next| identify(desk.clone(), access_log.clone(), request, next)))
        .with_state(warehouse)
}

/// Finds out who asks, and puts the name and the log id on the answer and into the access log.
async fn identify(
    desk: Desk,
    access_log: UnboundedSender<(String, String, StatusCode)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(user) = bearer(request.headers()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let context =
        RequestContext { user: user.to_owned(), log_id: desk.last_log_id.fetch_add(1, Ordering::Relaxed) + 1 };
    *desk.current.lock().unwrap() = context.clone();
    request.extensions_mut().insert(context.clone());
    let response = next.run(request).await;
    let entry = desk.current.lock().unwrap().clone();
    // Nobody may be reading the access log any more; the customer still gets the answer.
    let _ = access_log.send((entry.user(), entry.log_id(), response.status()));
    ([("x-user", context.user()), ("x-log-id", context.log_id())], response).into_response()
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
